"""Reads job records and counts them: from where to read, what to distrust, what is younger than the counters.

One read has a day of records at most, or the overlap where that is longer. What lies further back comes in slices.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

import structlog

from bursar_agent.schedulers.base import Scheduler, UsageRead
from bursar_agent.slices import IsOurs, Slices, Trust, clipped, ended_from
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.units import DAY, HOUR

BAD_RECORDS_SECONDS = HOUR
MOST_AHEAD_SECONDS = 300
Amount = defaultdict[str, defaultdict[str, int]]

log = structlog.get_logger(__name__)


def _amounts() -> Amount:
    return defaultdict(lambda: defaultdict(int))


@dataclass(slots=True)
class Recent:
    """Unit-seconds by account and resource, from the records of one read; see `plan.Figures`."""

    after_observation: Amount = field(default_factory=_amounts)
    after_watermark: Amount = field(default_factory=_amounts)
    remaining: Amount = field(default_factory=_amounts)
    committed: Amount = field(default_factory=_amounts)
    recent: Amount = field(default_factory=_amounts)
    bad_rows: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """What a job record was when it was counted."""

    start: int
    end: int
    rest: tuple[object, ...]


class UsageReader:
    """One cluster's feed of job records. ``overlap_seconds`` are read again each time, for records that come late.

    ``wide_reads`` is odd while hours from before ``old_until`` are being read again, and another number after that.
    """

    def __init__(self, book: UsageBook, overlap_seconds: int, lag_seconds: int) -> None:
        self._book = book
        self._overlap, self._lag = overlap_seconds, lag_seconds
        self._known: dict[str, _Known] | None = None  # before the first read since the start
        self._slices, self._trust = Slices(book), Trust()
        self._bad_since: int | None = None
        self.wide_reads = 0
        self.recent = Recent()

    async def read(self, scheduler: Scheduler, is_ours: IsOurs, first: int, observed_at: int) -> UsageRead:
        """Read and count; DistrustedRead where the records can't be right. ``first``: use before it is nobody's business."""
        self._turn_back(observed_at)
        oldest, latest = self._oldest(), _hour(observed_at - max(self._overlap, DAY))
        since = max(latest, _hour(first) if oldest is None else oldest)
        found = await scheduler.usage(since)
        jobs = self._slices.ours(found, is_ours)
        slots = {key: rows for key, rows in slots_of(clipped(jobs, since)).items() if key.hour >= since}
        watermark = found.watermark if self._is_complete(found, observed_at) else None
        if oldest is not None:
            await self._read_again(scheduler, is_ours, found, oldest)
        self._trust.check(*self._book.allocated(slots, since))
        open_from = min((job.start for job in found.jobs), default=None)
        self._book.record(slots, since, watermark, open_from, ended_from(found))
        self._trust.done()
        self._known = {job.key: _known(job) for job in found.jobs}
        self.recent = self._recent(jobs, found, observed_at)
        return found

    async def read_back(self, scheduler: Scheduler, is_ours: IsOurs, first: int, may_go_on: Callable[[], bool]) -> None:
        """Lead the books further back, to the hour of ``first``; one slice in any case, more as long as that may go on."""
        book, bottom = self._book, _hour(first)
        book.wanted_from = bottom
        while book.covered_from is not None and book.covered_from > bottom:
            part = await self._slices.read(scheduler, is_ours, book.covered_from, bottom)
            self._slices.count(part, Trust())
            if not may_go_on():
                return

    def _turn_back(self, now: int) -> None:
        """A watermark that is to come was seen while the clock was ahead: the last day is read again."""
        mark = self._book.watermark
        if mark is not None and mark > now + MOST_AHEAD_SECONDS:
            log.warning("the clock was ahead; what is complete since then is read again", watermark=mark, now=now)
            self._book.turn_back(now - max(self._overlap, DAY))
            self.wide_reads += 2

    async def _read_again(self, scheduler: Scheduler, is_ours: IsOurs, found: UsageRead, oldest: int) -> None:
        """From ``oldest`` on, and further back where a record from there on is not what was counted."""
        missing, starts = dict(self._known or {}), [oldest]
        note = partial(self._compare, missing=missing, starts=starts)
        note(found)
        until = found.since
        while until > oldest:
            until = await self._count_before(scheduler, is_ours, until, oldest, note)
        starts += [known.start for known in missing.values() if known.end > oldest]
        bottom = max(self._book.covered_from or 0, _hour(min(starts)))
        if until > bottom:
            self.wide_reads += 1
            try:
                while until > bottom:
                    until = await self._count_before(scheduler, is_ours, until, bottom, lambda part: None)
            finally:
                self.wide_reads += 1

    async def _count_before(
        self, scheduler: Scheduler, is_ours: IsOurs, until: int, bottom: int, note: Callable[[UsageRead], None]
    ) -> int:
        part = await self._slices.read(scheduler, is_ours, until, bottom)
        note(part.found)
        self._slices.count(part, self._trust)
        return part.since

    def _compare(self, found: UsageRead, missing: dict[str, _Known], starts: list[int]) -> None:
        """Strike what was found off the list of what is ``missing``, and note the seconds at which it differs."""
        for job in found.jobs:
            missing.pop(job.key, None)
            differs = self._news_from(job)
            if differs is not None:
                starts.append(differs)

    def is_covered(self, first: int | None) -> bool:
        """Whether the books lead back to there; nothing has to be there of an account without a beginning."""
        return first is None or (self._book.covered_from is not None and self._book.covered_from <= first)

    @property
    def is_at_rest(self) -> bool:
        """Whether there was a read since the start, and no older hours are being read right now."""
        return self._known is not None and self.wide_reads % 2 == 0

    @property
    def old_until(self) -> int | None:
        """The hour before which records are not read any more as a rule; None where nothing was complete yet."""
        return None if self._book.watermark is None else _hour(self._book.watermark - self._overlap)

    def _oldest(self) -> int | None:
        """The full hour from which everything is read again, at or before the watermark less the overlap.

        After a start nobody knows what became of the records that the last read had: they are all read again.
        """
        book = self._book
        if book.covered_from is None or self.old_until is None:
            return book.covered_from
        oldest = self.old_until
        if self._known is None and book.open_from is not None:
            oldest = min(oldest, _hour(book.open_from))
        return max(book.covered_from, oldest)

    def _is_complete(self, found: UsageRead, observed_at: int) -> bool:
        """Unreadable records hold the watermark back for an hour: they may be mended; one odd job must not stop it for ever."""
        if not found.bad_rows:
            self._bad_since = None
            return True
        if self._bad_since is None:
            self._bad_since = observed_at
        return observed_at - self._bad_since >= BAD_RECORDS_SECONDS

    def _news_from(self, job: JobUse) -> int | None:
        """First second at which the record is not what was counted.

        A job that was suspended and goes on grows where it stopped, which may be long ago."""
        known = (self._known or {}).get(job.key)
        if known is None or (known.start, known.rest) != (job.start, _known(job).rest):
            return job.start if known is None else min(known.start, job.start)
        return None if known.end == job.end else min(known.end, job.end)

    def _recent(self, jobs: Iterable[JobUse], found: UsageRead, observed_at: int) -> Recent:
        sums = Recent(bad_rows=found.bad_rows)
        watermark = self._book.watermark if self._book.watermark is not None else found.since
        for job in jobs:
            # Of a job that was suspended only the length is known: as if it had all been before it ran.
            began, ended = job.start + job.suspended_seconds, job.end + job.suspended_seconds
            for target, start, end in (
                (sums.after_observation, observed_at, found.time),
                (sums.after_watermark, watermark, found.time),
                (sums.recent, observed_at - self._lag, observed_at),
            ):
                _add(target, job, max(0, min(ended, end) - max(began, start)))
            runs = job.running or ended > observed_at
            if job.limit_seconds is not None and runs and job.start <= observed_at:
                _add(sums.remaining, job, max(0, began + job.limit_seconds - observed_at))
            if job.limit_seconds is not None and job.running:
                _add(sums.committed, job, max(0, began + job.limit_seconds - found.time))
        return sums


def _add(target: Amount, job: JobUse, seconds: int) -> None:
    if seconds:
        for resource, units in job.allocated.items():
            target[job.account][resource] += units * seconds * job.factor_thousandths // 1000


def _hour(second: int) -> int:
    return second // HOUR * HOUR


def _known(job: JobUse) -> _Known:
    rest = (job.account, job.user, job.refunded, job.factor_thousandths, tuple(sorted(job.allocated.items())))
    return _Known(job.start, job.end, rest)

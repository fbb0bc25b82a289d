"""Reads job records and counts them: from where to read, what to distrust, what is younger than the counters."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from bursar_agent.schedulers.base import Scheduler, UsageRead
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, slots_of
from bursar_domain.units import HOUR

LOWER_READS_BEFORE_BELIEF = 3
BAD_RECORDS_SECONDS = HOUR
Amount = defaultdict[str, defaultdict[str, int]]


class DistrustedRead(Exception):
    """Records show less use than before and nothing explains it: nothing is counted, and nothing may be written."""


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
    """One cluster's feed of job records. ``overlap_seconds`` are read again each time, for records that come late."""

    def __init__(self, book: UsageBook, overlap_seconds: int, lag_seconds: int) -> None:
        self._book = book
        self._overlap, self._lag = overlap_seconds, lag_seconds
        self._known: dict[str, _Known] | None = None  # before the first read since the start
        self._lower: list[tuple[int, int]] = []
        self._bad_since: int | None = None
        self.recent = Recent()

    async def read(self, scheduler: Scheduler, is_ours: Callable[[JobUse], bool], first: int, observed_at: int) -> UsageRead:
        """Read and count; DistrustedRead where the records can't be right. ``first``: use before it is nobody's business."""
        since = self._since(first)
        found = await scheduler.usage(since)
        differs = self._differs_from(found)
        if differs is not None and differs // HOUR * HOUR < since:
            since = differs // HOUR * HOUR
            found = await scheduler.usage(since)
        jobs = [job for job in found.jobs if is_ours(job)]
        slots = {key: rows for key, rows in slots_of(_clipped(jobs, since)).items() if key.hour >= since}
        self._check(slots, since)
        watermark = found.watermark if self._is_complete(found, observed_at) else None
        self._book.record(slots, since, watermark, min((job.start for job in found.jobs), default=None))
        self._known = {job.key: _known(job) for job in found.jobs}
        self.recent = self._recent(jobs, found, observed_at)
        return found

    def _since(self, first: int) -> int:
        """The full hour at or before the watermark less the overlap; from the first second on where that is not covered.

        After a start nobody knows what became of the records that the last read had: they are all read again.
        """
        book = self._book
        if book.watermark is None or book.covered_from is None or first < book.covered_from:
            return first // HOUR * HOUR
        since = book.watermark - self._overlap
        if self._known is None and book.open_from is not None:
            since = min(since, book.open_from)
        return max(book.covered_from, since // HOUR * HOUR)

    def _is_complete(self, found: UsageRead, observed_at: int) -> bool:
        """Unreadable records hold the watermark back for an hour: they may be mended; one odd job must not stop it for ever."""
        if not found.bad_rows:
            self._bad_since = None
            return True
        if self._bad_since is None:
            self._bad_since = observed_at
        return observed_at - self._bad_since >= BAD_RECORDS_SECONDS

    def _differs_from(self, found: UsageRead) -> int | None:
        """First second at which a record is not what was counted, where that lies before the read."""
        news = [at for job in found.jobs if (at := self._news_from(job)) is not None and at < found.since]
        keys = {job.key for job in found.jobs}
        known = self._known or {}
        gone = [k.start for key, k in known.items() if key not in keys and k.end > found.since and k.start < found.since]
        return min(news + gone, default=None)

    def _news_from(self, job: JobUse) -> int | None:
        """A job that was suspended and goes on grows where it stopped, which may be long ago."""
        known = (self._known or {}).get(job.key)
        if known is None or (known.start, known.rest) != (job.start, _known(job).rest):
            return job.start if known is None else min(known.start, job.start)
        return None if known.end == job.end else min(known.end, job.end)

    def _check(self, slots: Mapping[SlotKey, Mapping[RowKey, Amounts]], since: int) -> None:
        """Less use than before is believed only when it is seen again and again."""
        before, now = self._book.allocated(slots, since)
        if now >= before:
            self._lower.clear()
            return
        self._lower.append((since, now))
        if len(self._lower) < LOWER_READS_BEFORE_BELIEF:
            raise DistrustedRead(f"job records show {now} unit-seconds where {before} were counted; waiting for another read")
        self._lower.clear()

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


def _clipped(jobs: Iterable[JobUse], since: int) -> Iterable[JobUse]:
    """The same slots from ``since`` on with less work: what lies before is cut off where that changes no rounding."""
    for job in jobs:
        is_cut = job.start < since and job.factor_thousandths % 1000 == 0
        yield replace(job, start=min(since, job.end)) if is_cut else job


def _known(job: JobUse) -> _Known:
    rest = (job.account, job.user, job.refunded, job.factor_thousandths, tuple(sorted(job.allocated.items())))
    return _Known(job.start, job.end, rest)

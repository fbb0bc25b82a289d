"""Older job records, read backwards in slices: as many hours at a time as some thousand records lie in."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from bursar_agent.schedulers.base import Scheduler, SchedulerError, UsageRead
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagefile import Rows
from bursar_domain.buckets import JobUse, SlotKey, slots_of
from bursar_domain.units import HOUR

FIRST_HOURS: Final = 6
MOST_RECORDS: Final = 20_000
LOWER_READS_BEFORE_BELIEF: Final = 3
IsOurs = Callable[[JobUse], bool]


class DistrustedRead(Exception):
    """Records show less use than before and nothing explains it: nothing is counted, and nothing may be written."""


class Trust:
    """Less use than before is believed only when it is seen again and again."""

    def __init__(self) -> None:
        self._seen = 0
        self._is_given = False

    def check(self, before: int, now: int) -> None:
        """DistrustedRead unless it was seen often enough; then the rest of the same read is believed, too."""
        if now >= before or self._is_given:
            return
        self._seen += 1
        if self._seen < LOWER_READS_BEFORE_BELIEF:
            raise DistrustedRead(f"job records show {now} unit-seconds where {before} were counted; waiting for another read")
        self._is_given = True

    def done(self) -> None:
        """All of the read was taken."""
        self._seen, self._is_given = 0, False


@dataclass(frozen=True, slots=True)
class Slice:
    """What the records say of the hours in ``[since, until)``."""

    since: int
    until: int
    slots: Mapping[SlotKey, Rows]
    found: UsageRead


class Slices:
    """Reads a book's older hours."""

    def __init__(self, book: UsageBook) -> None:
        self._book = book
        self._hours = FIRST_HOURS

    async def read(self, scheduler: Scheduler, is_ours: IsOurs, until: int, bottom: int, most_hours: int = 2**40) -> Slice:
        """The slice that ends at ``until`` and begins at ``bottom`` or later."""
        since = max(bottom, until - min(self._hours, most_hours) * HOUR)
        try:
            found = await scheduler.usage(since, until)
        except SchedulerError:
            self._hours = max(1, self._hours // 2)
            raise
        self._fit(len(found.jobs), (until - since) // HOUR)
        slots = slots_of(clipped(self.ours(found, is_ours), since, until))
        return Slice(since, until, {key: rows for key, rows in slots.items() if since <= key.hour < until}, found)

    def ours(self, found: UsageRead, is_ours: IsOurs) -> list[JobUse]:
        """The jobs that count. Accounts that were counted once stay ours, or what they used would seem gone."""
        return [job for job in found.jobs if is_ours(job) or self._book.knows(job.account)]

    def _fit(self, records: int, hours: int) -> None:
        """So that the next one has about as many records as are good for memory and for the scheduler's database."""
        if records > MOST_RECORDS:
            self._hours = max(1, hours // 2)
        elif records < MOST_RECORDS // 4 and hours >= self._hours:
            self._hours *= 2

    def count(self, part: Slice, trust: Trust) -> int:
        """Put it in the place of what was counted; how many slots changed."""
        trust.check(*self._book.allocated(part.slots, part.since, part.until))
        return self._book.record_slice(part.slots, part.since, part.until, ended_from(part.found))


def ended_from(found: UsageRead) -> int:
    """When the first of the jobs ended whose records are there; the second of the read where none did."""
    return min((job.end + job.suspended_seconds for job in found.jobs if not job.running), default=found.time)


def clipped(jobs: Iterable[JobUse], since: int, until: int | None = None) -> Iterable[JobUse]:
    """The same slots in these hours with less work: what lies outside is cut off where that changes no rounding."""
    for job in jobs:
        if job.factor_thousandths % 1000 or (job.start >= since and (until is None or job.end <= until)):
            yield job
        else:
            end = job.end if until is None else max(job.start, min(job.end, until))
            yield replace(job, start=min(max(job.start, since), end), end=end)

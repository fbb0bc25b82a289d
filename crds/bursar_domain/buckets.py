"""Usage slots: what a job costs, cut into quarter hours, kept per (cluster, account, UTC hour).

A report carries whole slots and a slot replaces, it never adds: the greater version ``(epoch, seq)`` wins, so that reports
may come twice, late and in any order. Amounts are unit-seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from bursar_domain.units import HOUR, QUARTER

QUARTERS = HOUR // QUARTER
REFUNDED_STATES = frozenset({"NODE_FAIL", "BOOT_FAIL"})
Quarters = tuple[int, int, int, int]
NOTHING: Quarters = (0, 0, 0, 0)


class SlotKey(NamedTuple):
    """Which slot: the scheduler account and the first second of the UTC hour."""

    account: str
    hour: int


class RowKey(NamedTuple):
    """Which row of a slot."""

    user: str
    resource: str


class SlotVersion(NamedTuple):
    """`epoch` is the agent's rebuild number, `seq` the journalled number of the read; compared in that order."""

    epoch: int
    seq: int


class Amounts(NamedTuple):
    """Unit-seconds of the four quarters of the hour: allocated in all, and the part that is refunded."""

    allocated: Quarters = NOTHING
    refunded: Quarters = NOTHING

    @property
    def charged(self) -> int:
        """Unit-seconds that count against a grant."""
        return sum(self.allocated) - sum(self.refunded)


Slot = Mapping[RowKey, Amounts]


@dataclass(frozen=True, slots=True)
class JobUse:
    """One attempt of one job, as the scheduler's accounting has it.

    ``allocated`` maps a Bursar resource to whole units held (AllocTRES, memory in MiB); ``start`` and ``end`` are epoch
    seconds, half open; a running job ends at the second of the read. ``factor_thousandths`` is the QOS UsageFactor.
    """

    key: str
    account: str
    user: str
    start: int
    end: int
    allocated: Mapping[str, int]
    state: str = "COMPLETED"
    factor_thousandths: int = 1000
    running: bool = False
    limit_seconds: int | None = None
    suspended_seconds: int = 0

    @property
    def refunded(self) -> bool:
        """Whether the machine's fault ended it, so that nobody pays."""
        return self.state in REFUNDED_STATES

    def cost(self, resource: str) -> int:
        """Unit-seconds of the whole attempt."""
        return _cumulative(self.allocated.get(resource, 0), max(0, self.end - self.start), self.factor_thousandths)


def split(start: int, end: int) -> Iterable[tuple[int, int, int]]:
    """Cut ``[start, end)`` at quarter hours: (hour, quarter index, seconds)."""
    at = start
    while at < end:
        stop = min(end, (at // QUARTER + 1) * QUARTER)
        yield at // HOUR * HOUR, at % HOUR // QUARTER, stop - at
        at = stop


def _cumulative(units: int, seconds: int, factor: int) -> int:
    return units * seconds * factor // 1000


def slots_of(jobs: Iterable[JobUse]) -> dict[SlotKey, dict[RowKey, Amounts]]:
    """All slots that these jobs touch.

    A fractional usage factor is applied to the running total of the job and differenced, so that the quarters of a job add
    up to its cost exactly.
    """
    sums: defaultdict[SlotKey, defaultdict[RowKey, _Row]] = defaultdict(lambda: defaultdict(_Row))
    for job in jobs:
        _add(sums, job)
    return {key: {row: cell.amounts() for row, cell in rows.items()} for key, rows in sums.items()}


@dataclass(slots=True)
class _Row:
    allocated: list[int] = field(default_factory=lambda: [0] * QUARTERS)
    refunded: list[int] = field(default_factory=lambda: [0] * QUARTERS)

    def amounts(self) -> Amounts:
        a, r = self.allocated, self.refunded
        return Amounts((a[0], a[1], a[2], a[3]), (r[0], r[1], r[2], r[3]))


def _add(sums: defaultdict[SlotKey, defaultdict[RowKey, _Row]], job: JobUse) -> None:
    before = 0
    for hour, quarter, seconds in split(job.start, job.end):
        rows = sums[SlotKey(job.account, hour)]
        after = before + seconds
        for resource, units in job.allocated.items():
            factor = job.factor_thousandths
            amount = _cumulative(units, after, factor) - _cumulative(units, before, factor)
            cell = rows[RowKey(job.user, resource)]
            cell.allocated[quarter] += amount
            if job.refunded:
                cell.refunded[quarter] += amount
        before = after

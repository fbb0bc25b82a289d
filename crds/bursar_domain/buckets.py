"""Usage slots: what a job costs, cut into quarter hours, kept per (cluster, account, UTC hour).

A report carries whole slots and a slot replaces, it never adds: the greater version ``(epoch, seq)`` wins, so that reports
may come twice, late and in any order. Amounts are unit-seconds.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from bursar_domain.units import HOUR, QUARTER

QUARTERS = HOUR // QUARTER
WHOLE = 1000  # thousandths of a usage factor of 1
REFUNDED_STATES = frozenset({"NODE_FAIL", "BOOT_FAIL"})
Quarters = tuple[int, int, int, int]
NOTHING: Quarters = (0, 0, 0, 0)
_WIDTH = 96  # bits of a quarter where four are packed: unit-seconds of more than any machine, however often they are added
_MASK = (1 << _WIDTH) - 1
_PLACES = tuple(1 << _WIDTH * quarter for quarter in range(QUARTERS))
_FROM = tuple(sum(_PLACES[quarter:]) for quarter in range(QUARTERS + 1))
"""A second in every quarter from this one on."""


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
    factor_thousandths: int = WHOLE
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
    return units * seconds * factor // WHOLE


def slots_of(jobs: Iterable[JobUse]) -> dict[SlotKey, dict[RowKey, Amounts]]:
    """All slots that these jobs touch; a row that would be 0 is left out. One pass: any stream of jobs will do.

    A fractional usage factor is applied to the running total of the job and differenced, so that the quarters of a job add
    up to its cost exactly.
    """
    used: defaultdict[tuple[str, str], _Use] = defaultdict(_Use)
    refunds: defaultdict[tuple[str, str], _Use] = defaultdict(_Use)
    for job in jobs:
        owner = job.account, job.user
        used[owner].add(job)
        if job.state in REFUNDED_STATES:
            refunds[owner].add(job)
    return _slots(used, refunds)


class _Use:
    """What one user of one account used, by resource and number of the hour, its four quarters packed into one integer.

    Integers are all that a bucket costs before it is whole: lists would take longer to make and to look through for garbage
    than everything else. ``_steps``: where the units held through whole hours change.
    """

    __slots__ = ("_hours", "_steps")

    def __init__(self) -> None:
        self._hours: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._steps: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))

    def add(self, job: JobUse) -> None:
        start, end, rates = job.start, job.end, job.allocated
        if end <= start:
            return
        if job.factor_thousandths != WHOLE:
            whole = _whole_rates(rates, job.factor_thousandths)
            if whole is None:
                self._add_fractions(job)
                return
            rates = whole
        first, last = start // QUARTER, (end - 1) // QUARTER
        (hour, quarter), (last_hour, last_quarter) = divmod(first, QUARTERS), divmod(last, QUARTERS)
        if first == last:
            self._add_seconds(rates, hour, (end - start) * _PLACES[quarter])
            return
        head, tail = ((first + 1) * QUARTER - start) * _PLACES[quarter], (end - last * QUARTER) * _PLACES[last_quarter]
        if hour == last_hour:
            self._add_seconds(rates, hour, head + QUARTER * (_FROM[quarter + 1] - _FROM[last_quarter]) + tail)
            return
        self._add_seconds(rates, hour, head + QUARTER * _FROM[quarter + 1])
        self._add_seconds(rates, last_hour, QUARTER * (_FROM[0] - _FROM[last_quarter]) + tail)
        if last_hour - hour > 1:
            for resource, units in rates.items():
                steps = self._steps[resource]
                steps[hour + 1] += units
                steps[last_hour] -= units

    def _add_seconds(self, rates: Mapping[str, int], hour: int, seconds: int) -> None:
        """The same seconds of every resource; those of the four quarters packed."""
        for resource, units in rates.items():
            hours = self._hours[resource]
            hours[hour] = hours.get(hour, 0) + units * seconds

    def _add_fractions(self, job: JobUse) -> None:
        for resource, units in job.allocated.items():
            hours, before, amount = self._hours[resource], 0, 0
            for hour, quarter, seconds in split(job.start, job.end):
                before += seconds
                after = _cumulative(units, before, job.factor_thousandths)
                number = hour // HOUR
                hours[number] = hours.get(number, 0) + (after - amount) * _PLACES[quarter]
                amount = after

    def hours(self) -> Mapping[str, Mapping[int, int]]:
        """By resource, with the steps carried out; to be asked once."""
        for resource, steps in self._steps.items():
            hours, units, at = self._hours[resource], 0, 0
            for hour in sorted(steps):
                if units:
                    full = units * QUARTER * _FROM[0]
                    for number in range(at, hour):
                        hours[number] = hours.get(number, 0) + full
                units, at = units + steps[hour], hour
        return self._hours


def _whole_rates(allocated: Mapping[str, int], factor: int) -> dict[str, int] | None:
    """Units times usage factor where none of them has a fraction."""
    if any(units * factor % WHOLE for units in allocated.values()):
        return None
    return {resource: units * factor // WHOLE for resource, units in allocated.items()} if factor else {}


def _slots(
    used: Mapping[tuple[str, str], _Use], refunds: Mapping[tuple[str, str], _Use]
) -> dict[SlotKey, dict[RowKey, Amounts]]:
    by_account: defaultdict[str, dict[int, dict[RowKey, Amounts]]] = defaultdict(dict)
    for (account, user), use in used.items():
        slots, refunded = by_account[account], refunds.get((account, user))
        back = refunded.hours() if refunded else {}
        for resource, hours in use.hours().items():
            _put(slots, RowKey(user, resource), hours, back.get(resource, {}))
    return {SlotKey(account, number * HOUR): rows for account, slots in by_account.items() for number, rows in slots.items()}


def _put(slots: dict[int, dict[RowKey, Amounts]], row: RowKey, hours: Mapping[int, int], refunded: Mapping[int, int]) -> None:
    """One row of every slot it has something in."""
    for number, packed in hours.items():
        if packed:
            amounts = Amounts(_unpacked(packed), _unpacked(refunded[number]) if number in refunded else NOTHING)
            rows = slots.get(number)
            if rows is None:
                slots[number] = {row: amounts}
            else:
                rows[row] = amounts


def _unpacked(packed: int) -> Quarters:
    return packed & _MASK, packed >> _WIDTH & _MASK, packed >> 2 * _WIDTH & _MASK, packed >> 3 * _WIDTH

"""The fold: one account's use put down to the windows of its allocations. Operator, gateway and agent all call this.

Use comes as sums between `cuts`; there the active set and every room are fixed, so a sum folds as its quarters would. In
order of time each sum goes to the active allocations that list the resource, earliest end first (then uid) by the ends
as they stood at that time, so that an end that is moved moves nothing that was put down before: first into
their room, then in the same order into their grace; the rest is overdraft of the last-ending one, or `unfunded` where none
is active. What a window was overdrawn by burdens the next one where debts are kept; what it left comes back only as a
`CarryOver` entry. Amounts are unit-seconds.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from bursar_domain.entries import Entry
from bursar_domain.terms import Terms, Window
from bursar_domain.units import QUARTER

FIRST: Final = -(2**62)
Use = Mapping[str, Iterable[tuple[int, int]]]


class Correction(NamedTuple):
    """A closed slot turned out to be ``amount`` more (or less) in one ``quarter``; posted in the quarter ``at``."""

    resource: str
    quarter: int
    amount: int
    at: int


def corrections_in(entry: Entry) -> Iterable[Correction]:
    """What a Correction's entry changes of each quarter and resource, over all users."""
    sums: dict[tuple[str, int], int] = {}
    for row in entry.rows:
        for index, (used, back) in enumerate(zip(row.allocated, row.refunded, strict=True)):
            at = row.resource, row.hour + index * QUARTER
            sums[at] = sums.get(at, 0) + used - back
    return (Correction(name, quarter, amount, entry.at) for (name, quarter), amount in sums.items() if amount)


@dataclass(slots=True)
class WindowBooks:
    """One resource of one window: what it had at the second asked for, and what was put down to it.

    ``credited`` is what corrections of earlier windows gave back here; ``grace`` is tolerated beyond the room.
    """

    granted: int = 0
    carried: int = 0
    adjusted: int = 0
    credited: int = 0
    debt: int = 0
    grace: int = 0
    used: int = 0
    overdraft: int = 0

    @property
    def room(self) -> int:
        """What may be used, grace not counted."""
        return self.granted + self.carried + self.adjusted + self.credited - self.debt

    @property
    def booked(self) -> int:
        """Used and overdrawn."""
        return self.used + self.overdraft

    @property
    def left(self) -> int:
        """Room less what is booked; below zero where it is overdrawn."""
        return self.room - self.booked

    @property
    def left_over(self) -> int:
        """``left`` of accounting.md: granted and adjusted, less own use (use beyond what was carried in), less debt."""
        own = max(0, self.booked - self.carried)
        return self.granted + self.adjusted + self.credited - own - self.debt


def cuts(terms: Iterable[Terms], corrections: Collection[Correction] = ()) -> tuple[int, ...]:
    """The seconds between which use may be summed before it is folded."""
    found = {at for item in terms for at in item.boundaries()}
    reduced = {(item.resource, item.quarter) for item in corrections if item.amount < 0}
    for item in corrections:
        if (item.resource, item.quarter) in reduced:
            found |= {item.quarter, item.quarter + QUARTER, item.at}
    return tuple(sorted(found))


@dataclass(slots=True)
class _Charge:
    """Unit-seconds put down to a window, or to its overdraft; to nobody where ``lane`` is None."""

    lane: "_Lane | None"
    amount: int
    window: int = 0
    over: bool = False


@dataclass(slots=True)
class _Lane:
    """One resource of one allocation while it is folded."""

    terms: Terms
    resource: str
    used: list[int] = field(default_factory=list)
    overdraft: list[int] = field(default_factory=list)
    credited: list[int] = field(default_factory=list)
    debts: list[int] = field(default_factory=lambda: [0])

    def __post_init__(self) -> None:
        count = len(self.terms.windows)
        self.used, self.overdraft, self.credited = [0] * count, [0] * count, [0] * count

    def books(self, index: int, at: int) -> WindowBooks:
        """The window with what it has at a second."""
        return self._books(index, self.terms.windows[index], at)

    def _books(self, index: int, window: Window, at: int) -> WindowBooks:
        step, name = window.at(at), self.resource
        granted = step.granted.get(name, 0)
        return WindowBooks(
            granted=granted,
            carried=step.carried.get(name, 0),
            adjusted=step.adjusted.get(name, 0),
            credited=self.credited[index],
            debt=self.debt(index),
            grace=max(0, granted) * self.terms.overuse_percent // 100,
            used=self.used[index],
            overdraft=self.overdraft[index],
        )

    def debt(self, index: int) -> int:
        """What earlier windows were overdrawn by; fixed once the window is looked at, for no earlier use comes after."""
        while len(self.debts) <= index:
            before = len(self.debts) - 1
            last = self.terms.windows[before].end
            left = self._books(before, self.terms.windows[before], last).left_over
            self.debts.append(max(0, -left) if self.terms.carries_debt else 0)
        return self.debts[index]

    def take(self, at: int, amount: int, *, with_grace: bool) -> _Charge:
        """As much of the amount as finds room now."""
        index = self.terms.index(at)
        books = self.books(index, at)
        room = books.room - books.used + (books.grace if with_grace else 0)
        taken = min(amount, max(0, room))
        self.used[index] += taken
        return _Charge(self, taken, index)

    def overdraw(self, at: int, amount: int) -> _Charge:
        """What nobody has room for."""
        index = self.terms.index(at)
        self.overdraft[index] += amount
        return _Charge(self, amount, index, over=True)

    def give_back(self, charge: _Charge, amount: int, at: int) -> None:
        """Undo a charge in its own window while that runs, else credit the window that runs."""
        index = self.terms.index(at)
        if index != charge.window:
            self.credited[index] += amount
        elif charge.over:
            self.overdraft[index] -= amount
        else:
            self.used[index] -= amount


class AccountBooks:
    """What came of a fold; figures of a window are as of the second that is asked for."""

    def __init__(self, terms: Sequence[Terms], lanes: Mapping[tuple[str, str], _Lane], unfunded: Mapping[str, int]) -> None:
        self.terms: Mapping[str, Terms] = {item.uid: item for item in terms}
        self.unfunded = unfunded
        self._lanes = lanes

    def window(self, uid: str, index: int, at: int | None = None) -> dict[str, WindowBooks]:
        """Resource -> books of a window of an allocation, with what it has at ``at`` (absent: at its end)."""
        terms = self.terms[uid]
        second = terms.until(index) if at is None else at
        return {name: self._lanes[uid, name].books(index, second) for name in sorted(terms.resources)}

    def current(self, uid: str, now: int) -> dict[str, WindowBooks]:
        """Resource -> books of the window that holds ``now`` (the first one before the start, the last one after the end)."""
        return self.window(uid, self.terms[uid].index(now), now)

    def booked(self, uid: str) -> dict[str, int]:
        """Resource -> used and overdrawn in all windows."""
        lanes = ((name, self._lanes[uid, name]) for name in sorted(self.terms[uid].resources))
        return {name: sum(lane.used) + sum(lane.overdraft) for name, lane in lanes}

    def active(self, now: int) -> list[Terms]:
        """Allocations to which use of ``now`` may be put down."""
        return [item for item in self.terms.values() if item.is_active(now)]

    def left_at(self, now: int, resource: str, *, with_grace: bool = True) -> int:
        """Sum over the active allocations that list the resource of room, with grace, less what is booked.

        A debt of one reduces the sum, since the ceiling of the account is one.
        """
        total = 0
        for item in self.active(now):
            if resource in item.resources:
                books = self._lanes[item.uid, resource].books(item.index(now), now)
                total += books.left + (books.grace if with_grace else 0)
        return total


def fold(terms: Sequence[Terms], use: Use, corrections: Sequence[Correction] = ()) -> AccountBooks:
    """Put an account's use down: resource -> (first second, unit-seconds), summed between `cuts` or finer.

    Conserves: booked over all windows and ``unfunded`` add up to the use, less what corrections credited to other windows
    or left with allocations that were over.
    """
    ordered = sorted(terms, key=lambda item: (item.open_until, item.uid))
    borders = cuts(ordered, corrections)
    lanes = {(item.uid, name): _Lane(item, name) for item in ordered for name in item.resources}
    unfunded: dict[str, int] = {}
    for name in sorted({name for item in ordered for name in item.resources} | set(use) | {c.resource for c in corrections}):
        listing = [lanes[item.uid, name] for item in ordered if name in item.resources]
        own = [item for item in corrections if item.resource == name]
        rest = _fold_resource(listing, _segments(use.get(name, ()), own, borders), _posted(own, borders))
        if rest:
            unfunded[name] = rest
    return AccountBooks(ordered, lanes, unfunded)


def _segments(use: Iterable[tuple[int, int]], corrections: Iterable[Correction], borders: Sequence[int]) -> dict[int, int]:
    """Sums between borders, without what corrections added to (or took from) the quarters that they concern."""
    sums: dict[int, int] = {}
    for at, amount in (*use, *((item.quarter, -item.amount) for item in corrections)):
        first = _border(borders, at)
        sums[first] = sums.get(first, 0) + amount
    return sums


def _border(borders: Sequence[int], at: int) -> int:
    """Where the segment that holds a second begins."""
    index = bisect_right(borders, at)
    return borders[index - 1] if index else FIRST


def _posted(corrections: Iterable[Correction], borders: Sequence[int]) -> dict[int, list[Correction]]:
    """Corrections by the segment in which they are posted, in order."""
    found: dict[int, list[Correction]] = {}
    for item in sorted(corrections, key=lambda item: item.at):
        found.setdefault(_border(borders, item.at), []).append(item)
    return found


def _fold_resource(lanes: Sequence[_Lane], sums: Mapping[int, int], posted: Mapping[int, Sequence[Correction]]) -> int:
    """Fold one resource; what stays unfunded. ``slots``: what was charged for each quarter that is corrected, in order."""
    slots = {item.quarter: list[_Charge]() for items in posted.values() for item in items}
    unfunded = 0
    for at in sorted({*sums, *posted}):
        for item in posted.get(at, ()):
            if item.amount < 0:
                unfunded -= _take_back(slots[item.quarter], -item.amount, item.at)
            else:
                slots[item.quarter] += (found := _put(lanes, at, item.amount))
                unfunded += _unpaid(found)
        found = _put(lanes, at, sums.get(at, 0))
        unfunded += _unpaid(found)
        if at in slots:
            slots[at] += found
    return unfunded


def _unpaid(charges: Iterable[_Charge]) -> int:
    return sum(charge.amount for charge in charges if charge.lane is None)


def _put(lanes: Sequence[_Lane], at: int, amount: int) -> list[_Charge]:
    """Put one sum down: the charges in order, the last one to nobody where nobody is there for it."""
    active = _active(lanes, at)
    charges: list[_Charge] = []
    for with_grace in (False, True):
        for lane in active:
            if amount > 0:
                charges.append(lane.take(at, amount, with_grace=with_grace))
                amount -= charges[-1].amount
    if amount > 0:
        charges.append(active[-1].overdraw(at, amount) if active else _Charge(None, amount))
    return charges


def _active(lanes: Sequence[_Lane], at: int) -> list[_Lane]:
    """Those to which use of a second may be put down, in the order of then: as they come, unless an end was moved since."""
    active = [lane for lane in lanes if lane.terms.is_active(at)]
    if any(lane.terms.past_ends for lane in active):
        active.sort(key=lambda lane: lane.terms.place(at))
    return active


def _take_back(charges: Iterable[_Charge], amount: int, at: int) -> int:
    """Take back what a slot was charged, last charge first; the part that nobody had paid for.

    An allocation that is over keeps its charge, and nobody else is given the hours.
    """
    unfunded = 0
    for charge in reversed(list(charges)):
        given = min(amount, charge.amount)
        amount -= given
        charge.amount -= given
        if charge.lane is None:
            unfunded += given
        elif given and charge.lane.terms.is_active(at):
            charge.lane.give_back(charge, given, at)
    return unfunded

"""Statements, decided: what an account had at the start, what came and went, what it had at the end. No I/O, no clock.

For each resource of each allocation, in unit-seconds, to the last one:

    closing = opening + granted + carried + adjusted + transferred + refunded
              - charged - corrections - kept + unfunded - expired - debt

A balance is what the windows that run have left just before a second, below zero where they are overdrawn.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

from bursar_api.balance import known_before
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import AccountBooks, WindowBooks, fold
from bursar_domain.terms import BY_HAND, Terms
from bursar_ledger.accounts import AccountReading

Key = tuple[str, str]
"""Allocation's uid (empty: none was active) and resource."""


@dataclass(slots=True)
class Line:
    """One resource. ``granted`` to ``refunded`` gave room (below zero: took it), ``refunded`` by hand.

    ``booked`` was put down to the allocation, what was given back taken off; of an account it is ``charged``, the use of the
    time as it was booked when its hours closed, ``corrections`` of any hours that were posted in the time, and ``kept``, what
    those took off and stays with allocations that were over; less ``unfunded``, which was put down to nobody. ``expired`` ended
    with a window. ``debt`` was set against later windows, less what windows ended overdrawn by.
    """

    opening: int = 0
    granted: int = 0
    carried: int = 0
    adjusted: int = 0
    transferred: int = 0
    refunded: int = 0
    booked: int = 0
    unfunded: int = 0
    expired: int = 0
    debt: int = 0
    closing: int = 0

    def add(self, other: "Line") -> None:
        """Every figure."""
        for item in fields(self):
            setattr(self, item.name, getattr(self, item.name) + getattr(other, item.name))

    @property
    def difference(self) -> int:
        """0 when it adds up."""
        came = self.opening + self.granted + self.carried + self.adjusted + self.transferred + self.refunded
        return came - self.booked - self.expired - self.debt - self.closing


class Period(NamedTuple):
    """``[start, end)`` on quarter hours; ``start`` None: from the beginning."""

    start: int | None
    end: int


def lines(reading: AccountReading, entries: Sequence[Entry], period: Period) -> dict[Key, Line]:
    """A line per allocation and resource that had anything in the period; ``entries``: the account's, made by hand.

    The reading knows both ends of the period.
    """
    start = period.end if period.start is not None and period.start >= period.end else period.start
    later, earlier = _books(reading, period.end), None if start is None else _books(reading, start)
    found: dict[Key, Line] = {}
    for uid, terms in later.terms.items():
        by_hand = [entry for entry in entries if entry.uid == uid and entry.kind in BY_HAND]
        for index in range(len(terms.windows)):
            for name, line in _window(terms, index, earlier, later, start, period.end).items():
                _name_entries(line, terms, index, name, by_hand, start, period.end)
                found.setdefault((uid, name), Line()).add(line)
    for name, amount in later.unfunded.items():
        before = 0 if earlier is None else earlier.unfunded.get(name, 0)
        found["", name] = Line(unfunded=amount - before)
    return {key: line for key, line in sorted(found.items()) if any(getattr(line, item.name) for item in fields(line))}


def totals(found: Mapping[Key, Line]) -> dict[str, Line]:
    """Resource -> the sum over the allocations."""
    sums: dict[str, Line] = {}
    for (_, name), line in found.items():
        sums.setdefault(name, Line()).add(line)
    return dict(sorted(sums.items()))


def _books(reading: AccountReading, until: int) -> AccountBooks:
    return fold(*known_before(reading, until))


def _until(terms: Terms, index: int) -> int:
    """When a window's hours end."""
    return min(terms.until(index), terms.active_until)


def _window(
    terms: Terms, index: int, earlier: AccountBooks | None, later: AccountBooks, start: int | None, end: int
) -> dict[str, Line]:
    """Figures of one window, as far as it ran in the period: it runs at a second when it has begun before and not ended."""
    begin, until = terms.windows[index].start, _until(terms, index)
    if begin >= until or begin >= end or (start is not None and until < start):
        return {}
    last = min(end, until)
    after = later.window(terms.uid, index, last - 1)
    has_opening = earlier is not None and start is not None and begin < start
    before = earlier.window(terms.uid, index, start - 1) if earlier and start is not None and has_opening else {}
    return {name: _line(before.get(name), books, ended=until < end) for name, books in after.items()}


def _line(before: WindowBooks | None, after: WindowBooks, *, ended: bool) -> Line:
    """What moved between two looks at a window; the first one None: it began in between."""
    old = before or WindowBooks()
    return Line(
        opening=old.left,
        granted=after.granted - old.granted,
        carried=after.carried - old.carried,
        adjusted=after.adjusted - old.adjusted,
        booked=after.booked - after.credited - old.booked + old.credited,
        expired=max(0, after.left) if ended else 0,
        debt=after.debt - old.debt + (min(0, after.left) if ended else 0),
        closing=0 if ended else after.left,
    )


def _name_entries(
    line: Line, terms: Terms, index: int, name: str, entries: Iterable[Entry], start: int | None, end: int
) -> None:
    """What was adjusted, told apart by the kind of entry; the rest stays an adjustment."""
    last = min(end, _until(terms, index))
    for entry in entries:
        # Before the first window begins it can't act.
        at = max(entry.at, terms.windows[index].start)
        if terms.index(entry.at) != index or (start is not None and at < start) or at >= last:
            continue
        amount = entry.amounts.get(name, 0)
        if entry.kind is EntryKind.TRANSFER:
            line.transferred, line.adjusted = line.transferred + amount, line.adjusted - amount
        elif entry.kind is EntryKind.REFUND:
            line.refunded, line.adjusted = line.refunded + amount, line.adjusted - amount

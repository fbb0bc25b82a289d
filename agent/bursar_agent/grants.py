"""What an account's signed entry says, laid out once for all its windows, and what its use comes to under it. Pure."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bursar_agent.memory import Known
from bursar_domain import fold as books_of
from bursar_domain import projection
from bursar_domain.fold import AccountBooks, Correction, WindowBooks
from bursar_domain.ladder import Action, Basis, Rule
from bursar_domain.projection import Rate
from bursar_domain.published import account_terms, corrections_of
from bursar_domain.terms import Terms, Window
from bursar_domain.wire import AccountEntry, AllocationEntry

Use = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class Grants:
    """An entry laid out. ``terms`` in the order in which they are charged, gone allocations among them.

    ``cuts``: every second at which room, or who has any, may change; between two of them use may be summed. ``rules``: the
    thresholds of the living allocations by uid.
    """

    entry: AccountEntry
    terms: tuple[Terms, ...]
    corrections: tuple[Correction, ...]
    cuts: tuple[int, ...]
    rules: Mapping[str, tuple[Rule, ...]]
    first: int | None  # second from which use counts
    is_projected: bool  # a threshold looks at the run rate
    taken_back: frozenset[str]  # uids of allocations that are being deleted, or whose objects are gone
    without_windows: str  # name of an allocation that was granted hours and says of no window; or ""

    def active(self, now: int) -> list[Terms]:
        """Those that give room at ``now``; none of an account that is closed.

        What was taken back gives none from the moment it is signed, though use of the quarter is put down to it still.
        """
        if self.entry.closed:
            return []
        return [item for item in self.terms if item.uid not in self.taken_back and item.is_active(now)]

    def cuts_between(self, after: int, now: int) -> tuple[int, ...]:
        """Those after one second, up to another."""
        return self.cuts[bisect_right(self.cuts, after) : bisect_right(self.cuts, now)]

    def next_cut(self, now: int) -> int | None:
        """The first cut after ``now``."""
        index = bisect_right(self.cuts, now)
        return self.cuts[index] if index < len(self.cuts) else None


def lay_out(entry: AccountEntry) -> Grants:
    """The entry's terms, cuts and rules."""
    terms = sorted(account_terms(entry), key=lambda item: (item.open_until, item.uid))
    corrections = corrections_of(entry)
    rules = {item.uid: _rules(item) for item in entry.allocations}
    taken_back = {item.uid for item in entry.allocations if item.closed_from is not None}
    return Grants(
        entry=entry,
        taken_back=frozenset(taken_back | {item.uid for item in entry.ended}),
        terms=tuple(terms),
        corrections=corrections,
        cuts=books_of.cuts(terms, corrections),
        rules=rules,
        first=min((item.start for item in terms), default=None),
        is_projected=any(rule.basis is Basis.PROJECTED for own in rules.values() for rule in own),
        without_windows=next((a.name for a in entry.allocations if not a.windows and any(a.granted.values())), ""),
    )


def _rules(allocation: AllocationEntry) -> tuple[Rule, ...]:
    return tuple(
        Rule(item.percent, Action(item.action), item.clear_below_percent, Basis(item.basis)) for item in allocation.thresholds
    )


@dataclass(frozen=True, slots=True)
class Charged:
    """Use of an account (resource -> sums between cuts) put down to its allocations."""

    grants: Grants
    use: Use
    books: AccountBooks

    def left(self, now: int, resource: str, watermark: int | None = None) -> int:
        """Unit-seconds that the active allocations have left, grace included.

        What was carried into a window does not count while use is complete only up to a ``watermark`` before its start.
        """
        return sum(self.lefts(now, resource, watermark).values())

    def lefts(self, now: int, resource: str, watermark: int | None = None) -> dict[str, int]:
        """The same by uid, in the order in which they are charged; one that is overdrawn has less than nothing."""
        return _lefts(self.books, self.grants.active(now), now, resource, watermark)

    def left_after(self, now: int, resource: str, more: Sequence[tuple[int, int]], watermark: int | None = None) -> int:
        """What is left if as much more had been used."""
        return sum(self.lefts_after(now, resource, more, watermark).values())

    def lefts_after(
        self, now: int, resource: str, more: Sequence[tuple[int, int]], watermark: int | None = None
    ) -> dict[str, int]:
        """The same by uid."""
        listing = [item for item in self.grants.terms if resource in item.resources]
        own = [item for item in self.grants.corrections if item.resource == resource]
        books = books_of.fold(listing, {resource: [*self.use.get(resource, ()), *more]}, own)
        return _lefts(books, self.grants.active(now), now, resource, watermark)

    def since(self, second: int, resource: str) -> int:
        """Unit-seconds used from a cut on."""
        return sum(amount for at, amount in self.use.get(resource, ()) if at >= second)


def charge(grants: Grants, use: Use) -> Charged:
    """Fold the use under the terms."""
    return Charged(grants, use, books_of.fold(grants.terms, use, grants.corrections))


def boundaries(grants: Grants, now: int) -> tuple[int, ...]:
    """Between which seconds use is to be summed: the cuts, and where a run rate begins."""
    starts = _rate_starts(grants, now)
    return tuple(sorted({*grants.cuts, *starts.values()})) if starts else grants.cuts


def rates(charged: Charged, now: int) -> dict[str, Rate]:
    """The run rate by resource, where a threshold looks at it and the allocations are old enough."""
    starts = _rate_starts(charged.grants, now)
    found = {name: projection.rate(charged.since(at, name), at, now) for name, at in starts.items()}
    return {name: rate for name, rate in found.items() if rate is not None}


def _rate_starts(grants: Grants, now: int) -> dict[str, int]:
    if not grants.is_projected:
        return {}
    names = {name for terms in grants.terms for name in terms.resources}
    return {name: at for name in sorted(names) if (at := projection.since(grants.terms, name, now)) is not None}


def _lefts(books: AccountBooks, active: Sequence[Terms], now: int, resource: str, watermark: int | None) -> dict[str, int]:
    found = {}
    for item in active:
        if resource in item.resources:
            index = item.index(now)
            own = books.window(item.uid, index, now)[resource]
            is_uncertain = watermark is not None and watermark < item.windows[index].start
            found[item.uid] = own.left + own.grace - (max(0, own.carried) if is_uncertain else 0)
    return found


def known(terms: Terms, now: int) -> Known:
    """The window that holds ``now``."""
    window = terms.windows[terms.index(now)]
    return Known(window.start, window.end, terms.active_until, room_of(terms, window, now))


def room_of(terms: Terms, window: Window, second: int) -> dict[str, int]:
    """Granted, carried in, adjusted and the grace on top, by resource."""
    step = window.at(second)
    return {
        name: _room(terms, step.granted.get(name, 0)) + _extra(step.carried, step.adjusted, name) for name in terms.resources
    }


def _room(terms: Terms, granted: int) -> int:
    return granted + max(0, granted) * terms.overuse_percent // 100


def _extra(carried: Mapping[str, int], adjusted: Mapping[str, int], name: str) -> int:
    return carried.get(name, 0) + adjusted.get(name, 0)


def total(windows: Mapping[str, Known]) -> dict[str, int]:
    """Room of all windows together."""
    found: dict[str, int] = {}
    for window in windows.values():
        for name, amount in window.room.items():
            found[name] = found.get(name, 0) + amount
    return found


def takes_away(grants: Grants, before: Mapping[str, Known], now: int) -> bool:
    """Whether an edit took room of a window that ran, rather than that its time came to an end as was signed."""
    by_uid = {item.uid: item for item in grants.terms}
    return any(_is_taken(by_uid.get(uid), window, now) for uid, window in before.items())


def _is_taken(terms: Terms | None, before: Known, now: int) -> bool:
    if terms is None:
        return now < before.until
    window = next((item for item in terms.windows if item.start == before.start), None)
    if window is None or (terms.active_until < before.until and terms.active_until <= now):
        return True
    if window.end < before.end and window.end <= now:
        return True
    room = room_of(terms, window, now)
    return any(room.get(name, 0) < amount for name, amount in before.room.items())


def window_books(charged: Charged, terms: Terms, now: int) -> Mapping[str, WindowBooks]:
    """Books of the window that runs."""
    return charged.books.current(terms.uid, now)

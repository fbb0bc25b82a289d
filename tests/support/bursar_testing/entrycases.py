"""Hypothesis strategies for accounts as entries lay them out: rules of some allocations and what was booked for them."""

from dataclasses import dataclass, replace
from itertools import pairwise

from hypothesis import strategies as st

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.terms import Rules, Terms, build
from bursar_domain.units import QUARTER
from bursar_domain.windows import Span
from bursar_testing.bookcases import LAST_QUARTER

ANY_QUARTER = st.integers(0, LAST_QUARTER).map(lambda number: number * QUARTER)
BY_HAND = (EntryKind.ADJUSTMENT, EntryKind.TRANSFER, EntryKind.REFUND)


@dataclass(frozen=True)
class Told:
    """An account: rules by allocation, entries in order of their numbers."""

    rules: tuple[Rules, ...]
    entries: tuple[Entry, ...]

    def terms(self) -> list[Terms]:
        """As they are folded."""
        return [build(item, self.entries) for item in self.rules]


@st.composite
def some_rules(draw: st.DrawFn, uid: str) -> Rules:
    """One to three windows, grace of both kinds, one resource or two."""
    edges = sorted(draw(st.sets(st.integers(0, LAST_QUARTER - 4), min_size=2, max_size=4)))
    return Rules(
        uid=uid,
        resources=draw(st.sampled_from([("cpu",), ("cpu",), ("cpu", "gpu")])),
        windows=tuple(Span(first * QUARTER, last * QUARTER) for first, last in pairwise(edges)),
        after_end_seconds=draw(st.integers(0, 3)) * QUARTER,
        overuse_percent=draw(st.sampled_from([0, 0, 10, 50])),
        carries_debt=draw(st.booleans()),
    )


@st.composite
def entries_of(draw: st.DrawFn, rules: Rules, at: st.SearchStrategy[int], scale: int = 1) -> Entry:
    """Something booked for an allocation."""
    kind = draw(st.sampled_from([EntryKind.GRANT, EntryKind.GRANT, EntryKind.CARRY_OVER, *BY_HAND]))
    low = 0 if kind in (EntryKind.GRANT, EntryKind.CARRY_OVER) else -6
    amounts = {name: draw(st.integers(low, 20)) * scale for name in rules.resources}
    window = draw(st.sampled_from(rules.windows)).start if kind is EntryKind.CARRY_OVER else None
    return Entry("k", kind, "alpha", "a", draw(at), "t", "t", uid=rules.uid, amounts=amounts, window=window)


@st.composite
def accounts(draw: st.DrawFn, scale: int = 1, most: int = 3) -> Told:
    """One allocation or more, each granted something first."""
    rules = tuple(draw(some_rules(uid)) for uid in "abc"[: draw(st.integers(1, most))])
    found: list[Entry] = []
    for item in rules:
        amounts = {name: draw(st.integers(0, 30)) * scale for name in item.resources}
        start = item.windows[0].start
        found.append(Entry("g", EntryKind.GRANT, "alpha", "a", start, "t", "t", uid=item.uid, amounts=amounts))
        found += draw(st.lists(entries_of(item, ANY_QUARTER, scale), max_size=3))
    return Told(rules, tuple(found))


@st.composite
def with_more(draw: st.DrawFn, told: Told, now: int) -> Told:
    """The same account after something was posted at ``now`` for one of its allocations, or that one was deleted."""
    item = draw(st.sampled_from(told.rules))
    if draw(st.booleans()):
        posted = draw(st.lists(entries_of(item, st.just(now)), min_size=1, max_size=2))
        return replace(told, entries=(*told.entries, *posted))
    nothing = Entry("d", EntryKind.GRANT, "alpha", "a", now, "t", "t", uid=item.uid, amounts={})
    rules = tuple(replace(other, is_deleted=other is item) for other in told.rules)
    return Told(rules, (*told.entries, nothing))

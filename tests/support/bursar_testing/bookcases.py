"""Hypothesis strategies for the books: allocations whose room moves, use by quarters, corrections that can be true."""

from collections.abc import Mapping
from itertools import pairwise

from hypothesis import strategies as st

from bursar_domain.fold import Correction
from bursar_domain.terms import PastEnd, Step, Terms, Window
from bursar_domain.units import QUARTER

LAST_QUARTER = 30
AMOUNTS = st.integers(-3, 12)


@st.composite
def windows(draw: st.DrawFn, first: int, last: int) -> Window:
    """One window with steps inside it."""
    times = sorted({first, *draw(st.sets(st.integers(first, last - 1), max_size=2))})
    steps = []
    for at in times:
        granted, carried, adjusted = draw(st.tuples(AMOUNTS, st.integers(0, 4), st.integers(-2, 4)))
        steps.append(Step(at * QUARTER, {"cpu": granted}, {"cpu": carried}, {"cpu": adjusted}))
    return Window(first * QUARTER, last * QUARTER, tuple(steps))


@st.composite
def allocations(draw: st.DrawFn) -> Terms:
    """One to three windows with grace on over-use and after the end; deleted in some quarter or not, its end moved or not."""
    edges = sorted(draw(st.sets(st.integers(0, LAST_QUARTER - 4), min_size=2, max_size=4)))
    spans = tuple(draw(windows(first, last)) for first, last in pairwise(edges))
    after = draw(st.integers(0, 3)) * QUARTER
    moved = draw(st.dictionaries(st.integers(edges[0], LAST_QUARTER), st.integers(edges[0], LAST_QUARTER), max_size=2))
    closed = draw(st.none() | st.integers(edges[0], LAST_QUARTER))
    return Terms(
        uid=draw(st.sampled_from("abcdefgh")),
        resources=frozenset({"cpu"}),
        windows=spans,
        open_until=spans[-1].end + after,
        overuse_percent=draw(st.sampled_from([0, 0, 10, 50])),
        carries_debt=draw(st.booleans()),
        closed_from=None if closed is None else closed * QUARTER,
        past_ends=tuple(PastEnd(before * QUARTER, end * QUARTER) for before, end in sorted(moved.items())),
    )


ACCOUNTS = st.lists(allocations(), max_size=3, unique_by=lambda item: item.uid)
USE = st.dictionaries(st.integers(0, LAST_QUARTER).map(lambda number: number * QUARTER), st.integers(0, 9), max_size=12)


@st.composite
def corrected(draw: st.DrawFn) -> tuple[dict[int, int], list[Correction]]:
    """Use by quarters as it was in the end, and the corrections that made it so, in the order in which they were posted."""
    use = dict(draw(USE))
    found: list[Correction] = []
    times = sorted(draw(st.lists(st.integers(1, LAST_QUARTER + 4), max_size=4)))
    for at in times:
        anywhere = st.integers(0, at - 1).map(seconds)
        quarter = draw(st.sampled_from(sorted(use)) | anywhere if use else anywhere)
        if quarter < at * QUARTER:
            amount = draw(st.integers(-use.get(quarter, 0), 6))
            found += [Correction("cpu", quarter, amount, at * QUARTER)] if amount else []
            use[quarter] = use.get(quarter, 0) + amount
    return use, found


def seconds(number: int) -> int:
    """First second of a quarter."""
    return number * QUARTER


def as_use(use: Mapping[int, int]) -> dict[str, list[tuple[int, int]]]:
    """As the fold takes it."""
    return {"cpu": list(use.items())}

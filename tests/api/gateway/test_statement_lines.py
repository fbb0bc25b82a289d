"""Statements worked out: they add up, follow on from each other, and end with what a fold leaves."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bursar_api.statement import Line, Period, lines, totals
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import Correction, cuts, fold
from bursar_domain.terms import Rules, build
from bursar_domain.units import QUARTER
from bursar_domain.windows import Span
from bursar_ledger.accounts import AccountReading

END = 40
quarters = st.integers(0, END - 1)


@st.composite
def rules(draw: st.DrawFn, uid: str) -> Rules:
    """One to three windows, perhaps with grace and without debt."""
    edges = sorted(draw(st.lists(st.integers(0, END), min_size=2, max_size=4, unique=True)))
    spans = tuple(Span(a * QUARTER, b * QUARTER) for a, b in pairwise(edges))
    after = draw(st.integers(0, 3)) * QUARTER
    return Rules(uid, ("cpu",), spans, after, draw(st.sampled_from([0, 20])), draw(st.booleans()))


@st.composite
def books(draw: st.DrawFn) -> tuple[AccountReading, list[Entry]]:
    """An account with two allocations, entries of every kind, use and corrections, cut at every quarter."""
    entries: list[Entry] = []
    terms = []
    for uid in ("a", "b"):
        own = draw(rules(uid))
        kinds = [EntryKind.ADJUSTMENT, EntryKind.TRANSFER, EntryKind.REFUND]
        made = [
            Entry(
                "g" + uid,
                EntryKind.GRANT,
                "c",
                "p",
                own.windows[0].start,
                "x",
                "y",
                uid,
                amounts={"cpu": draw(st.integers(0, 90))},
            )
        ]
        for number in range(draw(st.integers(0, 3))):
            amount = {"cpu": draw(st.integers(-20, 40))}
            at = draw(quarters) * QUARTER
            made.append(Entry(f"{uid}{number}", draw(st.sampled_from(kinds)), "c", "p", at, "x", "y", uid, amounts=amount))
        terms.append(build(own, made))
        entries += made
    use = {at * QUARTER: draw(st.integers(0, 12)) for at in draw(st.lists(quarters, max_size=12, unique=True))}
    corrections = []
    for _ in range(draw(st.integers(0, 2))):
        quarter, later = draw(quarters), draw(st.integers(1, 20))
        change = draw(st.integers(-use.get(quarter * QUARTER, 0), 9))
        if change:
            use[quarter * QUARTER] = use.get(quarter * QUARTER, 0) + change
            corrections.append(Correction("cpu", quarter * QUARTER, change, (quarter + later) * QUARTER))
    found = {"cpu": [(at, amount) for at, amount in sorted(use.items()) if amount]}
    return AccountReading({}, tuple(terms), tuple(corrections), found, None, None, None), entries


def total(reading: AccountReading, entries: list[Entry], start: int | None, end: int) -> Line:
    """The one resource's sum."""
    return totals(lines(reading, entries, Period(start, end))).get("cpu", Line())


@given(books(), quarters, quarters, st.integers(0, END + 30))
def test_statements_add_up_and_follow_on(
    found: tuple[AccountReading, list[Entry]], first: int, second: int, third: int
) -> None:
    reading, entries = found
    one, two, three = sorted(at * QUARTER for at in (first, second, third))
    for line in lines(reading, entries, Period(one, three)).values():
        assert line.difference == 0
    whole, before, after = (total(reading, entries, *span) for span in ((one, three), (one, two), (two, three)))
    assert before.closing == after.opening
    before.closing = after.opening = 0
    before.add(after)
    assert before == whole


@given(books(), st.integers(1, END + 30))
def test_the_end_is_what_a_fold_leaves(found: tuple[AccountReading, list[Entry]], at: int) -> None:
    reading, entries = found
    now = at * QUARTER
    known = [item for item in reading.corrections if item.at < now]
    use = dict(reading.use["cpu"])
    for item in reading.corrections:
        if item.at >= now:
            use[item.quarter] = use.get(item.quarter, 0) - item.amount
    kept = [(quarter, amount) for quarter, amount in use.items() if quarter < now]
    books = fold(reading.terms, {"cpu": kept}, known)
    left = sum(books.current(item.uid, now - 1)["cpu"].left for item in books.active(now - 1))
    line = total(reading, entries, None, now)
    assert line.closing == left
    put_down = sum(amount for _, amount in kept)
    assert cuts(reading.terms)
    assert line.opening == 0
    if not known:
        assert line.booked + line.unfunded == put_down

"""The fold: nothing is lost, nothing is counted twice, the earliest end pays first, over-use never raises anything."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.entries import CorrectionRow, Entry, EntryKind
from bursar_domain.fold import AccountBooks, Correction, cuts, fold
from bursar_domain.terms import Rules, Step, Terms, Window, build, simple
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.windows import Span, cut

TEN = 10 * HOUR
LATE = 400 * HOUR


def cpu(uid: str, start: int, end: int, hours: int, grace: int = 0) -> Terms:
    """One window of cpu hours."""
    return simple(uid, start, end, {"cpu": hours * HOUR}, overuse_percent=grace)


def booked(books: AccountBooks) -> dict[str, tuple[int, int]]:
    """uid -> cpu hours (used, overdraft) over all windows."""
    found = {}
    for uid, terms in books.terms.items():
        windows = [books.window(uid, index)["cpu"] for index in range(len(terms.windows))]
        found[uid] = sum(w.used for w in windows) // HOUR, sum(w.overdraft for w in windows) // HOUR
    return found


@pytest.mark.parametrize(("room_a", "expect"), [(30, {"A": (30, 0), "B": (30, 0)}), (20, {"A": (20, 0), "B": (40, 0)})])
def test_sixty_cpus_for_an_hour_over_the_end_of_a(room_a: int, expect: dict[str, tuple[int, int]]) -> None:
    terms = [cpu("A", 0, TEN + 2 * QUARTER, room_a), cpu("B", 0, LATE, 100)]
    use = {"cpu": [(TEN + q * QUARTER, 60 * QUARTER) for q in range(4)]}
    assert booked(fold(terms, use)) == expect


def test_grace_comes_after_every_room_and_the_rest_is_overdraft_of_the_last_ending_one() -> None:
    terms = [cpu("A", 0, TEN, 10, grace=10), cpu("B", 0, LATE, 10, grace=10)]
    assert booked(fold(terms, {"cpu": [(0, 25 * HOUR)]})) == {"A": (11, 0), "B": (11, 3)}


def test_use_where_nothing_is_active_is_unfunded() -> None:
    books = fold([cpu("A", HOUR, 2 * HOUR, 10)], {"cpu": [(0, 5), (HOUR, 7), (2 * HOUR, 11)], "gpu": [(HOUR, 3)]})
    assert books.unfunded == {"cpu": 16, "gpu": 3}
    assert books.booked("A") == {"cpu": 7}


def test_what_is_left_is_the_sum_over_the_active_ones() -> None:
    """A (ended) charged 60 h, B of 100 h charged 20 h: 80 h are left."""
    books = fold([cpu("A", 0, TEN, 60), cpu("B", 0, LATE, 100)], {"cpu": [(0, 60 * HOUR), (TEN, 20 * HOUR)]})
    assert books.left_at(TEN, "cpu") == 80 * HOUR
    assert books.left_at(0, "cpu") == 80 * HOUR


def rules(windows: int, **more: object) -> Rules:
    """Windows of ten hours each."""
    spans = tuple(Span(n * TEN, (n + 1) * TEN) for n in range(windows))
    return Rules("A", ("cpu",), spans, **more)  # type: ignore[arg-type]


def entry(kind: EntryKind, at: int, hours: int, window: int | None = None) -> Entry:
    """An entry of allocation A."""
    return Entry(
        f"{kind}/{at}/{hours}", kind, "alpha", "a", at, "t", "t", uid="A", amounts={"cpu": hours * HOUR}, window=window
    )


def granted(terms: Terms) -> list[int]:
    """Hours of each window at its end."""
    return [window.last.granted["cpu"] // HOUR for window in terms.windows]


def test_a_grant_is_shared_out_over_the_windows_and_a_top_up_over_those_not_over() -> None:
    first = entry(EntryKind.GRANT, 0, 30)
    assert granted(build(rules(3), [first])) == [10, 10, 10]
    assert granted(build(rules(3), [first, entry(EntryKind.GRANT, TEN, 50)])) == [10, 20, 20]
    assert granted(build(rules(3), [first, entry(EntryKind.GRANT, 2 * TEN + HOUR, 20)])) == [10, 10, 0]


def test_a_later_entry_replaces_what_was_posted_for_later() -> None:
    postings = [entry(EntryKind.GRANT, 0, 10), entry(EntryKind.GRANT, 2 * TEN, 30), entry(EntryKind.GRANT, TEN, 20)]
    assert granted(build(rules(3), postings)) == [3, 8, 8]


def test_a_grant_acts_from_its_quarter_on() -> None:
    terms = build(rules(1), [entry(EntryKind.GRANT, HOUR, 10)])
    books = fold([terms], {"cpu": [(0, 5 * HOUR), (HOUR, 3 * HOUR)]})
    assert books.current("A", HOUR)["cpu"].left == 2 * HOUR
    assert booked(books) == {"A": (3, 5)}


def test_over_use_is_a_debt_of_the_next_window_and_never_raises_it() -> None:
    terms = build(rules(2), [entry(EntryKind.GRANT, 0, 20)])
    books = fold([terms], {"cpu": [(0, 13 * HOUR), (TEN, HOUR)]})
    following = books.current("A", TEN)["cpu"]
    assert (following.debt, following.left) == (3 * HOUR, 6 * HOUR)
    absorbed = fold([build(rules(2, carries_debt=False), [entry(EntryKind.GRANT, 0, 20)])], {"cpu": [(0, 13 * HOUR)]})
    assert absorbed.current("A", TEN)["cpu"].left == 10 * HOUR


def test_carried_hours_add_to_the_window_they_name_from_their_quarter_on() -> None:
    entries = [entry(EntryKind.GRANT, 0, 20), entry(EntryKind.CARRY_OVER, TEN + HOUR, 4, window=TEN)]
    books = fold([build(rules(2), entries)], {})
    assert books.current("A", TEN)["cpu"].left == 10 * HOUR
    assert books.current("A", TEN + HOUR)["cpu"].left == 14 * HOUR


def test_a_positive_correction_is_charged_where_it_is_posted() -> None:
    terms = [cpu("A", 0, TEN, 100), cpu("B", TEN, LATE, 100)]
    books = fold(terms, {"cpu": [(0, 60 * HOUR)]}, [Correction("cpu", 0, 20 * HOUR, TEN + HOUR)])
    assert booked(books) == {"A": (40, 0), "B": (20, 0)}


def test_a_negative_correction_takes_back_the_last_charge_first_where_that_still_runs() -> None:
    terms = [cpu("A", 0, TEN, 10), cpu("B", 0, LATE, 100)]
    slot = 4 * QUARTER
    now = fold(terms, {"cpu": [(slot, 25 * HOUR)]}, [Correction("cpu", slot, -5 * HOUR, TEN)])
    assert booked(now) == {"A": (10, 0), "B": (15, 0)}
    ended = fold(terms, {"cpu": [(slot, 0)]}, [Correction("cpu", slot, -30 * HOUR, TEN)])
    assert booked(ended) == {"A": (10, 0), "B": (0, 0)}  # what A was charged stays: A is over


def test_a_negative_correction_of_a_closed_window_credits_the_one_that_runs() -> None:
    terms = build(rules(2), [entry(EntryKind.GRANT, 0, 20)])
    books = fold([terms], {"cpu": [(0, 5 * HOUR)]}, [Correction("cpu", 0, -2 * HOUR, TEN + HOUR)])
    assert books.window("A", 0)["cpu"].used == 7 * HOUR
    assert books.current("A", TEN + HOUR)["cpu"].left == 12 * HOUR


STEPS = st.lists(
    st.builds(
        Step, at=st.integers(0, 30).map(lambda q: q * QUARTER), granted=st.fixed_dictionaries({"cpu": st.integers(-50, 500)})
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda step: step.at,
)


@st.composite
def some_terms(draw: st.DrawFn) -> Terms:
    """An allocation of one to three windows whose room moves."""
    edges = sorted(draw(st.sets(st.integers(0, 40), min_size=2, max_size=4)))
    uid = draw(st.sampled_from("abcdefgh"))
    windows = tuple(
        Window(first * QUARTER, last * QUARTER, tuple(sorted(draw(STEPS), key=lambda step: step.at)))
        for first, last in pairwise(edges)
    )
    after = draw(st.integers(0, 3)) * QUARTER
    return Terms(uid, frozenset({"cpu"}), windows, windows[-1].end + after, draw(st.integers(0, 30)), draw(st.booleans()))


TERMS = st.lists(some_terms(), max_size=4, unique_by=lambda item: item.uid)
QUARTERS = st.lists(st.tuples(st.integers(0, 45).map(lambda q: q * QUARTER), st.integers(0, 400)), max_size=30)


@given(TERMS, QUARTERS)
@settings(max_examples=2000, deadline=None)
def test_every_unit_second_is_put_down_once(terms: list[Terms], quarters: list[tuple[int, int]]) -> None:
    """And summing between the cuts first changes nothing."""
    books = fold(terms, {"cpu": quarters})
    total = sum(amount for _, amount in quarters)
    assert sum(books.booked(item.uid)["cpu"] for item in terms) + books.unfunded.get("cpu", 0) == total
    edges = cuts(terms)
    summed: dict[int, int] = {}
    for at, amount in quarters:
        first = max((edge for edge in edges if edge <= at), default=-1)
        summed[first] = summed.get(first, 0) + amount
    again = fold(terms[::-1], {"cpu": summed.items()})
    assert [again.booked(item.uid) for item in terms] == [books.booked(item.uid) for item in terms]


@given(TERMS, QUARTERS, st.integers(1, 6))
@settings(max_examples=2000, deadline=None)
def test_moving_a_boundary_never_changes_the_total(terms: list[Terms], quarters: list[tuple[int, int]], by: int) -> None:
    moved = [
        Terms(
            t.uid,
            t.resources,
            (*t.windows[:-1], Window(t.windows[-1].start, t.end + by * QUARTER, t.windows[-1].steps)),
            t.open_until + by * QUARTER,
        )
        for t in terms
    ]
    books = fold(moved, {"cpu": quarters})
    assert sum(books.booked(item.uid)["cpu"] for item in terms) + books.unfunded.get("cpu", 0) == sum(n for _, n in quarters)


@given(TERMS, QUARTERS, st.integers(0, 44))
@settings(max_examples=2000, deadline=None)
def test_later_use_moves_no_earlier_charge(terms: list[Terms], quarters: list[tuple[int, int]], at: int) -> None:
    """What was put down up to a quarter is what is put down when more use comes after it."""
    before = fold(terms, {"cpu": [item for item in quarters if item[0] < at * QUARTER]})
    after = fold(terms, {"cpu": quarters})
    for item in terms:
        assert after.booked(item.uid)["cpu"] >= before.booked(item.uid)["cpu"]


def test_windows_follow_the_calendar_of_the_zone() -> None:
    year = cut(1767225600, 1798761600, "Month", "UTC")  # 2026
    assert [span.seconds // (24 * HOUR) for span in year] == [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    london = cut(1767225600, 1798761600, "Quarter", "Europe/London")
    assert [span.start % (24 * HOUR) for span in london] == [0, 23 * HOUR, 23 * HOUR, 23 * HOUR, 0][: len(london)]


def test_correction_rows_are_part_of_an_entry() -> None:
    row = CorrectionRow(0, "bob", "cpu", (1, 0, 0, 0), (0, 0, 0, 0))
    assert Entry("c", EntryKind.CORRECTION, "alpha", "a", 0, "agent", "late", rows=(row,)).rows == (row,)


def test_a_deleted_one_keeps_what_was_put_down_to_it_and_burdens_nobody() -> None:
    """Its grant is posted to 0, but the others must not pay for what it used, nor may the order of the past change."""
    hours = [entry(EntryKind.GRANT, 0, 100), entry(EntryKind.GRANT, 8 * QUARTER, 0)]
    gone = build(replace(rules(1), is_deleted=True), hours)
    other = cpu("b", 0, gone.open_until - QUARTER, 30)
    use = {"cpu": [(0, 40 * HOUR)]}
    books = fold([gone, other], use)
    assert (books.booked("b"), books.booked(gone.uid)) == ({"cpu": 30 * HOUR}, {"cpu": 10 * HOUR})
    assert books.left_at(9 * QUARTER, "cpu") == 0
    later = fold([gone, other], {"cpu": [(0, 20 * HOUR), (9 * QUARTER, 20 * HOUR)]})
    assert (later.booked("b"), later.booked(gone.uid)) == ({"cpu": 40 * HOUR}, {"cpu": 0})
    before = fold([build(rules(1), hours[:1]), other], use)
    assert before.booked("b") == books.booked("b")

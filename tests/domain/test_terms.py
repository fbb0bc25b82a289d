"""Terms: how entries lie over windows: shares, top-ups and shrinks, tranches, hours by hand, what comes too late."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.terms import NOTHING, Rules, Step, Terms, Window, build, simple
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.windows import Span
from bursar_operator.domain.postings import Grant, Share, planned

TEN = 10 * HOUR
FOUR = Rules("A", ("cpu",), tuple(Span(number * TEN, (number + 1) * TEN) for number in range(4)), after_end_seconds=HOUR)
Posting = tuple[int, int]  # second, hours in all


def booked(kind: EntryKind, at: int, hours: int, window: int | None = None, uid: str = "A") -> Entry:
    """An entry of cpu hours."""
    return Entry("k", kind, "alpha", "a", at, "t", "t", uid=uid, amounts={"cpu": hours * HOUR}, window=window)


def grants(*postings: Posting) -> list[Entry]:
    """Grants in order."""
    return [booked(EntryKind.GRANT, at, hours) for at, hours in postings]


def at_end(terms: Terms, figure: str = "granted") -> list[int]:
    """Hours of each window at its end."""
    return [getattr(window.last, figure).get("cpu", 0) // HOUR for window in terms.windows]


SPREADS: list[tuple[str, list[Posting], list[int]]] = [
    ("shared out", [(0, 40)], [10, 10, 10, 10]),
    ("a top-up before the start", [(0, 40), (0, 80)], [20, 20, 20, 20]),
    ("a top-up in the first window", [(0, 40), (HOUR, 80)], [20, 20, 20, 20]),
    ("a top-up in the second: the first is over", [(0, 40), (TEN, 70)], [10, 20, 20, 20]),
    ("a top-up in the last", [(0, 40), (3 * TEN + HOUR, 50)], [10, 10, 10, 20]),
    ("a top-up in the grace after the end", [(0, 40), (4 * TEN, 50)], [10, 10, 10, 20]),
    ("a top-up after that acts no more", [(0, 40), (4 * TEN + HOUR, 50)], [10, 10, 10, 10]),
    ("a shrink over what is not over", [(0, 40), (2 * TEN, 20)], [10, 10, 0, 0]),
    ("a shrink below what lies ahead", [(0, 40), (3 * TEN, 20)], [10, 10, 10, -10]),
    ("up, then down again", [(0, 40), (TEN, 70), (2 * TEN, 40)], [10, 20, 5, 5]),
    ("taken back below what was over already", [(0, 40), (TEN, 4)], [10, -2, -2, -2]),
    ("tranches: a quarter with each window", [(0, 10), (TEN, 20), (2 * TEN, 30), (3 * TEN, 40)], [2, 5, 10, 20]),
    ("tranches, then a top-up before the later ones", [(0, 20), (2 * TEN, 40), (TEN, 40), (2 * TEN, 80)], [5, 11, 31, 31]),
]


@pytest.mark.parametrize(("postings", "expect"), [row[1:] for row in SPREADS], ids=[row[0] for row in SPREADS])
def test_grants_are_spread_over_the_windows_that_are_not_over(postings: list[Posting], expect: list[int]) -> None:
    assert at_end(build(FOUR, grants(*postings))) == expect


def test_a_window_has_each_step_from_its_quarter_on() -> None:
    window = build(FOUR, grants((0, 40), (TEN + HOUR, 70), (TEN + 2 * HOUR, 100))).windows[1]
    seconds = (TEN - 1, TEN, TEN + HOUR - 1, TEN + HOUR, TEN + 2 * HOUR)
    assert [window.at(second).granted.get("cpu", 0) // HOUR for second in seconds] == [0, 10, 10, 20, 30]
    assert build(FOUR, []).windows[1].last is NOTHING


BY_HAND = [
    ("in the window of its quarter", EntryKind.ADJUSTMENT, TEN, None, "adjusted", [0, 5, 0, 0]),
    ("before the start", EntryKind.TRANSFER, -HOUR, None, "adjusted", [5, 0, 0, 0]),
    ("in the grace after the end", EntryKind.REFUND, 4 * TEN, None, "adjusted", [0, 0, 0, 5]),
    ("after it: too late", EntryKind.REFUND, 4 * TEN + HOUR, None, "adjusted", [0, 0, 0, 0]),
    ("carried into the window that it names", EntryKind.CARRY_OVER, 2 * TEN + HOUR, 2 * TEN, "carried", [0, 0, 5, 0]),
    ("carried into one that is over", EntryKind.CARRY_OVER, 3 * TEN, 2 * TEN, "carried", [0, 0, 0, 0]),
    ("carried into one that is not there", EntryKind.CARRY_OVER, TEN, TEN + HOUR, "carried", [0, 0, 0, 0]),
    ("an expiry gives and takes nothing", EntryKind.EXPIRY, TEN, 0, "adjusted", [0, 0, 0, 0]),
]


@pytest.mark.parametrize(
    ("kind", "at", "window", "figure", "expect"), [row[1:] for row in BY_HAND], ids=[row[0] for row in BY_HAND]
)
def test_where_hours_beside_the_grant_go(kind: EntryKind, at: int, window: int | None, figure: str, expect: list[int]) -> None:
    terms = build(FOUR, [*grants((0, 40)), booked(kind, at, 5, window)])
    assert at_end(terms, figure) == expect
    assert at_end(terms) == [10, 10, 10, 10]


def test_entries_of_others_and_resources_that_are_not_granted() -> None:
    others = [booked(EntryKind.GRANT, 0, 100, uid="B"), booked(EntryKind.ADJUSTMENT, 0, 7, uid="B")]
    assert build(FOUR, [*grants((0, 40)), *others]) == build(FOUR, grants((0, 40)))
    both = build(replace(FOUR, resources=("cpu", "gpu")), grants((0, 40)))
    assert both.windows[0].last.granted == {"cpu": 10 * HOUR, "gpu": 0}


def test_a_deleted_one_is_closed_from_the_quarter_in_which_it_was_taken_back() -> None:
    gone = replace(FOUR, is_deleted=True)
    assert build(gone, grants((0, 40), (TEN, 0))).active_until == TEN
    assert build(gone, grants((0, 40))).active_until == build(FOUR, grants((0, 40), (TEN, 0))).active_until == 4 * TEN + HOUR
    assert not build(gone, grants((0, 40), (TEN, 0))).is_active(TEN)


def test_one_whose_hours_were_gated_away_is_closed_when_it_is_deleted_and_not_before() -> None:
    """The total is 0 before and after; what was put down to it in between must stay."""
    grant = Grant(
        "A", "alpha", "a", "p", "a", 0, 4 * TEN + HOUR, {"cpu": 40}, (Share(100, gate="report"),), frozenset({"report"})
    )
    entries: list[Entry] = []
    gone = replace(grant, hours={}, shares=(), opened=frozenset())
    for at, found in ((0, grant), (TEN, replace(grant, opened=frozenset())), (2 * TEN, gone), (3 * TEN, gone)):
        entries += planned(found, entries, at, has_use=True)
    assert [(entry.at, entry.reason) for entry in entries] == [
        (0, "granted"),
        (TEN, "lowered"),
        (2 * TEN + QUARTER, "taken back"),
    ]
    assert build(replace(FOUR, is_deleted=True), entries).active_until == 2 * TEN + QUARTER


def test_the_window_of_a_second_and_every_boundary() -> None:
    terms = build(FOUR, grants((0, 40), (TEN + QUARTER, 50)))
    assert [terms.index(second) for second in (-1, 0, TEN - 1, TEN, 4 * TEN - 1, 4 * TEN, 9 * TEN)] == [0, 0, 0, 1, 3, 3, 3]
    assert [terms.is_active(second) for second in (-1, 0, 4 * TEN + HOUR - 1, 4 * TEN + HOUR)] == [False, True, True, False]
    assert terms.boundaries() == {0, TEN, TEN + QUARTER, 2 * TEN, 3 * TEN, 4 * TEN, 4 * TEN + HOUR}


def test_one_window_with_its_room_from_the_start() -> None:
    expect = Terms("A", frozenset({"cpu"}), (Window(0, TEN, (Step(0, {"cpu": 5}),)),), TEN + HOUR, 10)
    assert simple("A", 0, TEN, {"cpu": 5}, overuse_percent=10, after_end_seconds=HOUR) == expect


@given(st.lists(st.tuples(st.integers(0, 163).map(lambda number: number * QUARTER), st.integers(0, 10**6)), max_size=6))
@settings(max_examples=2000, deadline=None)
def test_shares_add_up_to_the_last_total_and_what_is_over_never_moves(postings: list[Posting]) -> None:
    """In the order of the clock: every posting makes the sum of the windows its total, and leaves what was over as it was."""
    entries: list[Entry] = []
    before = [0] * 4
    for at, amount in sorted(postings, key=lambda item: item[0]):
        entries.append(replace(booked(EntryKind.GRANT, at, 0), amounts={"cpu": amount}))
        after = [window.last.granted.get("cpu", 0) for window in build(FOUR, entries).windows]
        assert sum(after) == amount
        over = sum(1 for span in FOUR.windows[:-1] if span.end <= at)
        assert after[:over] == before[:over]
        before = after

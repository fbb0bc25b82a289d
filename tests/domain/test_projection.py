"""Projection: unknown below a day, at most fourteen days, along an unbroken chain; when the hours are used up."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.projection import LONGEST, Rate, exhaustion, rate, since
from bursar_domain.terms import Terms, simple
from bursar_domain.units import DAY, HOUR, QUARTER


def days(uid: str, start: int, end: int, resource: str = "cpu", grace: int = 0) -> Terms:
    """An allocation from one day to another."""
    return simple(uid, start * DAY, end * DAY, {resource: 100 * HOUR}, after_end_seconds=grace * DAY)


OLD, NEXT = days("a", 0, 30), days("b", 30, 60)
CHAINS = [
    ("nothing", [], 5 * DAY, None),
    ("below a day", [OLD], DAY - 1, None),
    ("a day", [OLD], DAY, DAY),
    ("ten days", [OLD], 10 * DAY, 10 * DAY),
    ("fourteen", [OLD], 14 * DAY, 14 * DAY),
    ("no more than fourteen", [OLD], 29 * DAY, 14 * DAY),
    ("over the end of the one before", [OLD, NEXT], 32 * DAY, 14 * DAY),
    ("the follower alone", [NEXT], 32 * DAY, 2 * DAY),
    ("a gap breaks the chain", [days("a", 0, 29), NEXT], 32 * DAY, 2 * DAY),
    ("grace after the end closes the gap", [days("a", 0, 29, grace=1), NEXT], 32 * DAY, 14 * DAY),
    ("three short ones", [days("a", 0, 3), days("b", 3, 6), days("c", 6, 9)], 8 * DAY, 8 * DAY),
    ("one that overlaps", [days("a", 2, 50), days("b", 0, 5)], 6 * DAY, 6 * DAY),
    ("another resource is no link", [days("a", 0, 30, "gpu"), NEXT], 32 * DAY, 2 * DAY),
    ("one that has not begun", [days("a", 10, 30)], 5 * DAY, None),
    ("one that is over", [days("a", 0, 3)], 5 * DAY, None),
    ("a deleted one ends where it was deleted", [replace(OLD, closed_from=10 * DAY), days("b", 25, 60)], 27 * DAY, 2 * DAY),
    ("deleted where the next began", [replace(OLD, closed_from=25 * DAY), days("b", 25, 60)], 27 * DAY, 14 * DAY),
]


@pytest.mark.parametrize(("terms", "now", "age"), [row[1:] for row in CHAINS], ids=[row[0] for row in CHAINS])
def test_the_rate_is_that_of_the_unbroken_chain(terms: list[Terms], now: int, age: int | None) -> None:
    expect = None if age is None else now - age
    assert since(terms, "cpu", now) == since(terms[::-1], "cpu", now) == expect


def test_use_is_counted_from_a_full_quarter() -> None:
    assert since([OLD], "cpu", 20 * DAY + 100) == 6 * DAY
    assert since([OLD], "cpu", 20 * DAY - 100) == 6 * DAY - QUARTER


SPANS = st.tuples(st.integers(0, 40), st.integers(1, 20), st.none() | st.integers(0, 60))


@given(st.lists(SPANS, max_size=5), st.integers(0, 60))
@settings(max_examples=2000, deadline=None)
def test_it_is_a_walk_back_day_by_day(spans: list[tuple[int, int, int | None]], today: int) -> None:
    """Back from now as long as some allocation covers the day before."""
    terms = [
        replace(days(str(number), start, start + length), closed_from=None if closed is None else closed * DAY)
        for number, (start, length, closed) in enumerate(spans)
    ]
    day = today
    while day > 0 and today - day < 14 and any(item.is_active((day - 1) * DAY) for item in terms):
        day -= 1
    assert since(terms, "cpu", today * DAY) == (day * DAY if day < today else None)


def test_no_rate_without_a_beginning() -> None:
    assert rate(5, None, DAY) is None
    assert rate(5, DAY, DAY) is None
    assert rate(5, 0, DAY) == Rate(5, DAY)


def test_a_rate_is_rounded_against_the_user() -> None:
    found = Rate(10 * HOUR + 1, 3 * DAY)
    assert found.per_day == (10 * HOUR + 1) // 3
    assert found.over(DAY) == (10 * HOUR + 1) // 3 + 1
    assert found.over(-5) == found.over(0) == 0
    assert "last 3 days" in found.in_words()
    assert "last 14 days" in Rate(1, LONGEST).in_words()


RUN_OUT = [
    ("two days on", 20 * HOUR, Rate(100 * HOUR, 10 * DAY), 12 * DAY),
    ("between two seconds, the earlier", 1, Rate(2, 3), 10 * DAY + 1),
    ("used up", 0, Rate(1, DAY), 10 * DAY),
    ("overdrawn, no rate known", -5, None, 10 * DAY),
    ("unknown", 20, None, None),
    ("no use", 20, Rate(0, DAY), None),
    ("corrections made it less than nothing", 20, Rate(-5, DAY), None),
    ("the second before the end", 10 * DAY - 1, Rate(1, 1), 20 * DAY - 1),
    ("at the end", 10 * DAY, Rate(1, 1), None),
]


@pytest.mark.parametrize(("left", "found", "expect"), [row[1:] for row in RUN_OUT], ids=[row[0] for row in RUN_OUT])
def test_when_the_hours_are_used_up(left: int, found: Rate | None, expect: int | None) -> None:
    """From day 10 on, the window ends with day 20."""
    assert exhaustion(left, found, 10 * DAY, 20 * DAY) == expect

"""The books that models are held against, by the examples that the accounting rules give."""

import pytest

from bursar_domain.units import HOUR, QUARTER
from bursar_testing.awards import Award, Books, Given, Span, left

DAY = 24 * HOUR


def one(uid: str, hours: int, end: int, *, grace_percent: int = 0, closed_from: int | None = None) -> Award:
    """From the beginning of time on."""
    return Award([Span(0, end, [Given(0, hours)])], grace_percent, uid=uid, closed_from=closed_from)


@pytest.mark.parametrize(("has", "of_a", "of_b"), [(30, 30, 30), (20, 20, 40)])
def test_an_hour_in_whose_middle_one_ends(has: int, of_a: int, of_b: int) -> None:
    """60 CPUs from ten to eleven."""
    a, b = one("a", has, 10 * HOUR + 2 * QUARTER), one("b", 100, DAY)
    books = Books([b, a])
    for number in range(4):
        books.charge(10 * HOUR + number * QUARTER, 60 * QUARTER)
    assert books.left(a, a.end - 1) == (has - of_a) * HOUR
    assert books.left(b, 11 * HOUR) == (100 - of_b) * HOUR


def test_grace_comes_after_what_all_have_and_the_last_one_is_overdrawn() -> None:
    """Ten hours and a grace of one each, of which 25 are used: 11 and 11, and 3 too many."""
    a, b = one("a", 10, HOUR, grace_percent=10), one("b", 10, DAY, grace_percent=10)
    assert left([a, b], {0: 25 * HOUR}, 1) == -3 * HOUR
    books = Books([a, b])
    books.charge(0, 21 * HOUR)
    assert (books.left(a, 0), books.left(b, 0)) == (0, HOUR)


@pytest.mark.parametrize(("keeps", "expect"), [(True, 70), (False, 100)])
def test_over_use_burdens_the_next_window_where_debts_are_kept(keeps: bool, expect: int) -> None:
    windows = [Span(0, HOUR, [Given(0, 100)]), Span(HOUR, DAY, [Given(HOUR, 100)])]
    assert left([Award(windows, carries_debt=keeps)], {0: 130 * HOUR}, HOUR) == expect * HOUR


def test_carried_hours_are_used_first_and_are_no_debt() -> None:
    """100 and 25 carried in, of which 130 are used: five too many."""
    windows = [Span(0, HOUR, [Given(0, 100, carried=25)]), Span(HOUR, DAY, [Given(HOUR, 100)])]
    assert left([Award(windows)], {0: 130 * HOUR}, HOUR) == 95 * HOUR


def test_one_that_is_deleted_has_nothing_left_and_is_still_charged_in_its_quarter() -> None:
    gone, stays = one("a", 10, HOUR, closed_from=QUARTER), one("b", 10, DAY)
    assert left([gone, stays], {0: 4 * HOUR}, 1) == 10 * HOUR
    assert left([gone, stays], {0: 4 * HOUR, QUARTER: HOUR}, 2 * QUARTER) == 9 * HOUR


def test_an_end_that_was_moved_moves_nothing_that_was_charged_before() -> None:
    a, b = one("a", 10, DAY), one("b", 10, 2 * HOUR)
    a.past_ends = ((HOUR, HOUR),)
    books = Books([a, b])
    books.charge(0, 4 * HOUR)
    books.charge(HOUR, 3 * HOUR)
    assert (books.left(a, HOUR), books.left(b, HOUR)) == (6 * HOUR, 7 * HOUR)

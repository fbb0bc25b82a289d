"""Where allocations stand: running jobs and the rate fall to them in the order of charging, until each one's end."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_domain.fold import fold
from bursar_domain.ladder import Basis
from bursar_domain.projection import Rate
from bursar_domain.standings import Account, coverage
from bursar_domain.terms import Step, Terms, Window, simple
from bursar_domain.units import DAY, HOUR

NOW = 20 * DAY
TEN_A_DAY = {"cpu": Rate(140 * HOUR, 14 * DAY)}


def cpu(uid: str, hours: int, end: int = 360, start: int = 0, grace: int = 0) -> Terms:
    """One window of days."""
    return simple(uid, start * DAY, end * DAY, {"cpu": hours * HOUR}, after_end_seconds=grace * DAY)


def account(
    terms: Sequence[Terms], used: int = 0, committed: int = 0, rates: dict[str, Rate] | None = None, now: int = NOW
) -> Account:
    """Use lies on the first day."""
    books = fold(terms, {"cpu": [(0, used * HOUR)] if used else []})
    return Account.of(books, now, {"cpu": committed * HOUR}, rates or {})


def figures(found: Account, terms: Terms, basis: Basis) -> int | None:
    figure = found.standings(terms)["cpu"].figure(basis)
    return None if figure is None else figure // HOUR


@pytest.mark.parametrize(
    ("left", "committed", "expect"),
    [
        ((10, 100), 30, (10, 20)),
        ((10, 100), 10, (10, 0)),
        ((10, 100), 300, (10, 290)),
        ((0, 100), 30, (0, 30)),
        ((100, 100), 30, (30, 0)),
    ],
)
def test_running_jobs_fall_to_the_first_as_far_as_it_has_room(
    left: tuple[int, int], committed: int, expect: tuple[int, int]
) -> None:
    a, b = cpu("A", left[0], 100), cpu("B", left[1], 200)
    found = account([a, b], committed=committed)
    assert (figures(found, a, Basis.COMMITTED), figures(found, b, Basis.COMMITTED)) == expect


def test_what_lists_another_resource_has_no_part() -> None:
    a, b = simple("A", 0, 100 * DAY, {"gpu": 5 * HOUR}), cpu("B", 100, 200)
    found = account([a, b], committed=30)
    assert figures(found, b, Basis.COMMITTED) == 30
    assert found.standings(a)["gpu"].committed == 0


def test_one_that_is_over_not_begun_or_being_deleted_gets_nothing_of_it() -> None:
    late, gone, b = cpu("late", 50, 400, start=30), replace(cpu("gone", 50, 100), closed_from=NOW + 900), cpu("B", 100, 200)
    over = cpu("over", 50, 15)
    found = account([late, gone, b, over], committed=30, rates=TEN_A_DAY)
    for terms in (late, gone, over):
        assert (figures(found, terms, Basis.COMMITTED), figures(found, terms, Basis.PROJECTED)) == (0, None)
        assert found.runs_out(terms) == {}
    assert figures(found, b, Basis.COMMITTED) == 30


@pytest.mark.parametrize(
    ("a", "b", "projected", "runs_out"),
    [
        pytest.param(cpu("A", 50, 100), cpu("B", 100, 200), (50, 1750), (25, 35), id="one after the other"),
        pytest.param(cpu("A", 900, 21), cpu("B", 100, 200), (10, 1790), (None, 31), id="the first ends with hours left"),
        pytest.param(cpu("A", 900, 25), cpu("B", 5000, 200), (50, 1750), (None, None), id="both last"),
        pytest.param(cpu("A", 15, 21), cpu("B", 50, 22), (10, 10), (None, None), id="the second is over before"),
    ],
)
def test_the_rate_falls_to_the_first_until_it_is_used_up_or_over(
    a: Terms, b: Terms, projected: tuple[int, int], runs_out: tuple[int | None, int | None]
) -> None:
    found = account([a, b], rates=TEN_A_DAY)
    assert (figures(found, a, Basis.PROJECTED), figures(found, b, Basis.PROJECTED)) == projected
    days = tuple(at // DAY if (at := found.runs_out(item).get("cpu")) is not None else None for item in (a, b))
    assert days == runs_out


def test_grace_after_the_end_is_no_time_to_plan_with_before_it_has_begun() -> None:
    terms = cpu("A", 60, end=25, grace=5)
    assert account([terms], rates=TEN_A_DAY).runs_out(terms) == {}
    assert figures(account([terms], rates=TEN_A_DAY), terms, Basis.PROJECTED) == 50
    later = account([terms], used=40, rates=TEN_A_DAY, now=26 * DAY)
    assert later.runs_out(terms) == {"cpu": 28 * DAY}
    assert figures(later, terms, Basis.PROJECTED) == 80


def test_what_is_used_up_has_run_out_now() -> None:
    terms = cpu("A", 60)
    assert account([terms], used=60).runs_out(terms) == {"cpu": NOW}


@given(
    st.lists(st.tuples(st.integers(0, 50), st.integers(21, 60)), min_size=1, max_size=4),
    st.integers(0, 300),
    st.integers(1, 500),
)
def test_shares_conserve_and_agree_with_the_run_out_date(lives: list[tuple[int, int]], committed: int, rate: int) -> None:
    """Committed adds up to the account's; what runs out before its end is projected to be used up."""
    terms = [cpu(f"{number:02}", hours, end) for number, (hours, end) in enumerate(lives)]
    found = account(terms, committed=committed, rates={"cpu": Rate(rate * HOUR, 14 * DAY)})
    shares = [found.standings(item)["cpu"].committed for item in terms]
    assert sum(shares) == committed * HOUR
    for item in terms:
        standing, runs_out = found.standings(item)["cpu"], found.runs_out(item).get("cpu")
        if standing.room > 0 and runs_out is not None:
            assert standing.projected is not None
            assert standing.projected >= standing.room


ONE = (Window(100, 300, (Step(100, {"cpu": 1}),)),)
TWO = tuple(Window(start, start + 100, (Step(start, {"cpu": 1}),)) for start in (100, 200))


@pytest.mark.parametrize(
    ("windows", "now", "watermark", "percent"),
    [
        (ONE, 200, 199, 99),
        (ONE, 200, 300, 100),
        (ONE, 200, None, 0),
        (ONE, 100, 50, 100),
        (ONE, 110, 50, 0),
        (ONE, 400, 250, 50),
        (ONE, 600, 500, 100),
        (TWO, 250, 225, 50),
    ],
)
def test_coverage(windows: tuple[Window, ...], now: int, watermark: int | None, percent: int) -> None:
    """Of the window that runs, the last one with its grace, which ends at 500."""
    assert coverage(Terms("A", frozenset({"cpu"}), windows, 500), now, watermark) == percent


def test_what_is_over_is_not_looked_at() -> None:
    """An account keeps hundreds of ended allocations; each figure of a living one would cost them all."""
    over = [cpu(f"over-{number:03}", 1, end=number % 18 + 1) for number in range(200)]
    a, b = cpu("A", 10, 100), cpu("B", 100, 200)
    found = account([*over, a, b], committed=30)
    assert figures(found, b, Basis.COMMITTED) == 20
    assert set(found.current) == {"A", "B"}

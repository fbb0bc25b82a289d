"""Thresholds: fire once a direction, do not flap inside the hysteresis, the strongest in force counts."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.thresholds import LADDER, Action, Rule, in_force, reached, strongest, used_percent

NOTIFY = Rule(80, Action.NOTIFY, 70)
HOLD = Rule(100, Action.HOLD, 95)
GRANTED = {"cpu": 1000}


def at(percent: int, before: frozenset[str]) -> frozenset[str]:
    """Rules in force at a percentage."""
    return in_force([NOTIFY, HOLD], {"cpu": percent * 10}, GRANTED, before)


def test_up_and_down_with_hysteresis() -> None:
    steps = [(79, set()), (80, {"Notify@80"}), (71, {"Notify@80"}), (69, set()), (79, set())]
    steps += [(100, {"Notify@80", "Hold@100"}), (95, {"Notify@80", "Hold@100"}), (94, {"Notify@80"}), (99, {"Notify@80"})]
    now: frozenset[str] = frozenset()
    for percent, expect in steps:
        now = at(percent, now)
        assert now == expect, percent


def test_a_rule_without_clear_below_is_undone_below_its_percentage() -> None:
    rule = Rule(50, Action.NOTIFY)
    assert in_force([rule], {"cpu": 500}, GRANTED, ()) == {"Notify@50"}
    assert in_force([rule], {"cpu": 499}, GRANTED, {"Notify@50"}) == frozenset()


@given(st.lists(st.integers(70, 79), max_size=20), st.booleans())
@settings(max_examples=300)
def test_inside_the_band_nothing_changes(percents: list[int], fired: bool) -> None:
    start = frozenset({NOTIFY.key} if fired else set())
    now = start
    for percent in percents:
        now = at(percent, now)
        assert now == start


@given(
    st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 10**15)),
    st.dictionaries(st.sampled_from(["cpu", "gpu"]), st.integers(0, 10**15)),
    st.integers(1, 1000),
)
@settings(max_examples=1000)
def test_reached_and_the_percentage_shown_agree(used: dict[str, int], granted: dict[str, int], percent: int) -> None:
    """Without division the comparison is exact; the percentage shown is floored and never says less than what fired."""
    assert reached(used, granted, percent) == (used_percent(used, granted) >= percent)


def test_what_is_not_granted_fires_nothing() -> None:
    """A resource that was granted 0 has no percentage; use without a grant is the ceiling's business."""
    assert not reached({"cpu": 10, "gpu": 10}, {"cpu": 0}, 1)
    assert used_percent({"gpu": 10}, {"cpu": 0}) == 0


def test_any_resource_fires() -> None:
    assert reached({"cpu": 1, "gpu": 80}, {"cpu": 1000, "gpu": 100}, 80)


@pytest.mark.parametrize(
    ("keys", "expect"),
    [((), Action.NONE), (("Notify@80",), Action.NOTIFY), (("Notify@80", "Hold@100"), Action.HOLD), (("gone@1",), Action.NONE)],
)
def test_the_strongest_counts(keys: tuple[str, ...], expect: Action) -> None:
    assert strongest([HOLD, NOTIFY], keys) is expect


def test_the_ladder_goes_up() -> None:
    assert LADDER == (Action.NONE, Action.NOTIFY, Action.THROTTLE, Action.SOFT_LAND, Action.HOLD, Action.BLOCK)

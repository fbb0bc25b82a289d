"""Units: no rounding ever gives hours away."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_domain import units

HOURS = st.integers(0, 10**9)
SECONDS = st.integers(-(10**15), 10**15)
RESOURCES = st.sampled_from(["cpu", "gpu", "memory", "billing"])


def test_ten_gib_hours_are_614400_mib_minutes() -> None:
    assert units.seconds_from_hours("memory", 10) // 60 == 614_400


@pytest.mark.parametrize(("amount", "percent", "expect"), [(100, 15, 115), (100, 0, 100), (1, 50, 1), (3, 50, 4), (0, 99, 0)])
def test_percent_is_whole_and_floored(amount: int, percent: int, expect: int) -> None:
    """100 and 15 % are 115, where floats say 114."""
    assert units.with_percent(amount, percent) == expect


@given(RESOURCES, HOURS)
def test_whole_hours_come_back(resource: str, hours: int) -> None:
    seconds = units.seconds_from_hours(resource, hours)
    assert units.hours_left(resource, seconds) == units.hours_used(resource, seconds) == hours


@given(RESOURCES, SECONDS)
def test_left_is_rounded_down_and_used_up(resource: str, seconds: int) -> None:
    left, used = units.hours_left(resource, seconds), units.hours_used(resource, seconds)
    assert units.seconds_from_hours(resource, left) <= seconds <= units.seconds_from_hours(resource, used)
    assert used - left in (0, 1)


@given(RESOURCES, HOURS, st.integers(0, 10**12))
def test_used_and_left_never_add_up_to_more_than_was_granted(resource: str, hours: int, used: int) -> None:
    left = units.hours_left(resource, units.seconds_from_hours(resource, hours) - used)
    assert units.hours_used(resource, used) + left == hours


@pytest.mark.parametrize(
    ("resource", "name"),
    [("cpu", "cpu"), ("gpu", "gres/gpu"), ("memory", "mem"), ("node", "node"), ("billing", "billing"), ("fpga", "gres/fpga")],
)
def test_what_the_scheduler_calls_it(resource: str, name: str) -> None:
    assert units.trackable(resource) == name

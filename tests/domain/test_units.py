"""Units: no rounding ever gives hours away, whatever the scale of the cluster's billing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_domain import units
from bursar_domain.units import UNSCALED, Scales

HOURS = st.integers(0, 10**9)
SECONDS = st.integers(-(10**15), 10**15)
RESOURCES = st.sampled_from(["cpu", "gpu", "memory", "billing"])
SCALES = st.builds(Scales, st.one_of(st.sampled_from([1, 7, 1000, 10**6]), st.integers(1, 10**6)))


def test_ten_gib_hours_are_614400_mib_minutes() -> None:
    assert UNSCALED.seconds_from_hours("memory", 10) // 60 == 614_400


@pytest.mark.parametrize(
    ("scale", "resource", "hours", "unit_minutes"),
    [(1, "billing", 5, 300), (1000, "billing", 5, 300_000), (1000, "cpu", 5, 300), (1000, "memory", 1, 61_440)],
)
def test_the_scale_is_that_of_billing_alone(scale: int, resource: str, hours: int, unit_minutes: int) -> None:
    assert Scales(scale).seconds_from_hours(resource, hours) == unit_minutes * 60


def test_part_of_a_service_unit_is_used_as_a_whole_one_and_left_as_none() -> None:
    scales, amount = Scales(1000), 1_500 * 3600
    assert (scales.hours_used("billing", amount), scales.hours_left("billing", amount)) == (2, 1)
    assert (scales.hours_used("billing", 1), scales.hours_left("billing", -1)) == (1, -1)


@pytest.mark.parametrize(("amount", "percent", "expect"), [(100, 15, 115), (100, 0, 100), (1, 50, 1), (3, 50, 4), (0, 99, 0)])
def test_percent_is_whole_and_floored(amount: int, percent: int, expect: int) -> None:
    """100 and 15 % are 115, where floats say 114."""
    assert units.with_percent(amount, percent) == expect


@given(SCALES, RESOURCES, HOURS)
def test_whole_hours_come_back(scales: Scales, resource: str, hours: int) -> None:
    seconds = scales.seconds_from_hours(resource, hours)
    assert scales.hours_left(resource, seconds) == scales.hours_used(resource, seconds) == hours


@given(SCALES, RESOURCES, SECONDS)
def test_left_is_rounded_down_and_used_up(scales: Scales, resource: str, seconds: int) -> None:
    left, used = scales.hours_left(resource, seconds), scales.hours_used(resource, seconds)
    assert scales.seconds_from_hours(resource, left) <= seconds <= scales.seconds_from_hours(resource, used)
    assert used - left in (0, 1)


@given(SCALES, RESOURCES, HOURS, st.integers(0, 10**12))
def test_used_and_left_never_add_up_to_more_than_was_granted(scales: Scales, resource: str, hours: int, used: int) -> None:
    left = scales.hours_left(resource, scales.seconds_from_hours(resource, hours) - used)
    assert scales.hours_used(resource, used) + left == hours


@given(SCALES, RESOURCES)
def test_the_most_hours_fit_the_books_and_a_schedulers_minutes(scales: Scales, resource: str) -> None:
    most = scales.most_hours(resource)
    assert scales.seconds_from_hours(resource, most) <= units.MOST_SECONDS < scales.seconds_from_hours(resource, most + 1)
    assert units.MOST_SECONDS // 60 < 2**53


@pytest.mark.parametrize(
    ("resource", "name"),
    [("cpu", "cpu"), ("gpu", "gres/gpu"), ("memory", "mem"), ("node", "node"), ("billing", "billing"), ("fpga", "gres/fpga")],
)
def test_what_the_scheduler_calls_it(resource: str, name: str) -> None:
    assert units.trackable(resource) == name

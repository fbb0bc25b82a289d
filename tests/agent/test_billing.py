"""Limits in service units: exact to the billing unit, with a band of a service unit's minute, not of a billing unit's."""

import pytest

from bursar_agent.schedulers.base import Reading
from bursar_domain.terms import simple
from bursar_domain.units import UNSCALED, Scales
from bursar_domain.wire import BillingEntry, ClusterSettings, TrackedResource, WeightEntry
from bursar_testing.agents import cluster_settings
from bursar_testing.books import account, published
from bursar_testing.situations import HOUR, NOW, one, remembered, situation, view

HOURS = 100


def settings(scales: Scales) -> ClusterSettings:
    """A cluster with billing, by weights where it has a scale."""
    billing = TrackedResource(name="billing", trackable="billing", capacity=10**6)
    weights = (WeightEntry(name="cpu", weight=1500),)
    plain = cluster_settings("c")
    entry = None if scales == UNSCALED else BillingEntry(version=1, scale=scales.billing, weights=weights)
    return plain.model_copy(update={"resources": (billing, *plain.resources), "billing": entry})


def limit(scales: Scales, in_force: int | None) -> int | None:
    """What is written of the billing limit where 40 hours are used and the counter shows it."""
    terms = simple("a", 0, NOW + 1000 * HOUR, {"billing": scales.seconds_from_hours("billing", HOURS)})
    minutes = scales.units("billing") * 60
    seen = view("aa", {"billing": Reading(limit=in_force, counter=40 * minutes)})
    entry = account("aa", published(terms, "aa", "a"))
    given = situation(
        entry,
        seen,
        memories=remembered(entry, limits={} if in_force is None else {"billing": in_force}),
        settings=settings(scales),
        use={"billing": [(NOW - HOUR, 40 * scales.units("billing"))]},
    )
    found = one(given).change
    return None if found is None else found.limits.get("billing")


@pytest.mark.parametrize("scales", [UNSCALED, Scales(1000)])
def test_a_limit_is_the_hours_in_billing_minutes(scales: Scales) -> None:
    assert limit(scales, None) == HOURS * 60 * scales.units("billing")


@pytest.mark.parametrize(("scales", "below"), [(UNSCALED, 63), (Scales(1000), 60_003)])
def test_a_limit_stays_within_a_band_of_service_units(scales: Scales, below: int) -> None:
    exact = HOURS * 60 * scales.units("billing")
    assert limit(scales, exact - below) is None
    assert limit(scales, exact - below - 1) == exact

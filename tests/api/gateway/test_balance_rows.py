"""Balances, decided: the figures of a window, what an allocation waits for, the rate, what was put down between two times."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_api.balance import Standings, attributed, row
from bursar_domain.fold import Correction, cuts
from bursar_domain.terms import Step, Terms, Window, simple
from bursar_domain.units import HOUR, QUARTER, UNSCALED, Scales
from bursar_domain.wire import AccountState
from bursar_ledger.accounts import AccountReading

DAY = 24 * HOUR
START = 1_767_225_600  # 2026-01-01T00:00:00Z
Obj = dict[str, Any]


def reading(
    *terms: Terms, use: dict[str, list[tuple[int, int]]] | None = None, now: int = START + 20 * DAY, **more: Any
) -> AccountReading:
    """What the ledger has of an account whose use is known up to now."""
    base = {"names": {item.uid: item.uid.lower() for item in terms}, "corrections": (), "watermark": now, "state": None}
    return AccountReading(**{**base, "terms": terms, "use": use or {}, "scheduler_time": now, **more})


def allocation(uid: str = "A", resources: tuple[str, ...] = ("cpu",), **status: Any) -> Obj:
    """An allocation as it is stored."""
    return {
        "metadata": {"name": uid.lower(), "uid": uid},
        "spec": {
            "clusterRef": {"name": "alpha"},
            "period": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"},
            "resources": [{"name": name, "hours": 100} for name in resources],
        },
        "status": status,
    }


def shown(read: AccountReading, stored: Obj | None = None, scales: Scales = UNSCALED) -> Obj:
    """The row."""
    return row(stored or allocation(), Standings.of(read, 0, scales))


def hours(figures: Obj) -> dict[str, int]:
    """The hours that are not 0."""
    return {key.removesuffix("Hours"): value for key, value in figures.items() if key.endswith("Hours") and value}


YEAR = simple("A", START, START + 365 * DAY, {"cpu": 1000 * HOUR})


def test_granted_used_left_rate_and_the_day_it_runs_out() -> None:
    found = shown(reading(YEAR, use={"cpu": [(START, 100 * HOUR), (START + 6 * DAY, 140 * HOUR)]}))
    [figures] = found["resources"]
    assert hours(figures) == {
        "granted": 1000, "room": 1000, "used": 240, "available": 760, "left": 760, "burnPerDay": 10,
    }  # fmt: skip
    assert figures["usedPercent"] == found["usedPercent"] == 24
    assert figures["runsOut"] == "2026-04-07T00:00:00Z"  # 76 days of 10 hours after the 21st of January
    assert found["asOf"] == "2026-01-21T00:00:00Z"
    assert found["projection"].startswith("use of the last 14 days goes on at the same rate")
    assert (found["phase"], found["coveragePercent"]) == ("Running", 100)


def test_hours_of_billing_are_service_units_of_the_clusters_scale() -> None:
    scales = Scales(1000)
    grant = simple("A", START, START + 365 * DAY, {"billing": scales.seconds_from_hours("billing", 50)})
    read = reading(grant, use={"billing": [(START + 6 * DAY, 14_000 * HOUR + 1)]})
    [figures] = shown(read, allocation(resources=("billing",)), scales)["resources"]
    assert hours(figures) == {"granted": 50, "room": 50, "used": 15, "available": 35, "left": 35, "burnPerDay": 1}
    assert (figures["grantedSeconds"], figures["usedSeconds"]) == (50_000 * HOUR, 14_000 * HOUR + 1)


def test_a_grant_that_lasts_has_no_day_to_run_out() -> None:
    [figures] = shown(reading(YEAR, use={"cpu": [(START + 6 * DAY, 14 * HOUR)]}))["resources"]
    assert (figures["burnPerDayHours"], figures["runsOut"]) == (1, None)


def test_no_rate_is_guessed_from_less_than_a_day() -> None:
    found = shown(reading(YEAR, use={"cpu": [(START, 10 * HOUR)]}, now=START + DAY - QUARTER))
    assert found["resources"][0]["burnPerDayHours"] is None
    assert found["resources"][0]["runsOut"] is None
    assert "needs a day of use" in found["projection"]


def test_a_window_shows_what_its_room_is_made_of() -> None:
    first = Window(START, START + 10 * DAY, (Step(START, {"cpu": 100 * HOUR}),))
    second = Window(
        START + 10 * DAY,
        START + 20 * DAY,
        (Step(START + 10 * DAY, {"cpu": 100 * HOUR}, {"cpu": 7 * HOUR}, {"cpu": -3 * HOUR}),),
    )
    terms = Terms("A", frozenset({"cpu"}), (first, second), START + 20 * DAY)
    found = shown(reading(terms, use={"cpu": [(START, 130 * HOUR), (START + 10 * DAY, 90 * HOUR + 1)]}, now=START + 12 * DAY))
    [figures] = found["resources"]
    assert found["window"] == {"start": "2026-01-11T00:00:00Z", "end": "2026-01-21T00:00:00Z", "number": 2, "of": 2}
    parts = {name: figures[f"{name}Hours"] for name in ("granted", "carried", "adjusted", "debt", "room", "used", "available")}
    assert parts == {"granted": 100, "carried": 7, "adjusted": -3, "debt": 30, "room": 74, "used": 91, "available": -17}
    assert figures["leftHours"] == 0
    seconds = {key.removesuffix("Seconds"): value for key, value in figures.items() if key.endswith("Seconds")}
    made = seconds["granted"] + seconds["carried"] + seconds["adjusted"] + seconds["credited"] - seconds["debt"]
    assert made - seconds["used"] == seconds["available"] == -(16 * HOUR + 1)


def test_what_running_jobs_may_still_use_is_shown_beside() -> None:
    state = AccountState(account="a", state="Enforced", committed={"cpu": 5 * HOUR + 1})
    [figures] = shown(reading(YEAR, state=state))["resources"]
    assert (figures["committedHours"], figures["leftHours"]) == (6, 1000)


def test_a_tranche_that_opens_later() -> None:
    steps = tuple(Step(START + days * DAY, {"cpu": hours * HOUR}) for days, hours in ((0, 400), (30, 700), (60, 1000)))
    terms = Terms("A", frozenset({"cpu"}), (Window(START, START + 90 * DAY, steps),), START + 90 * DAY)
    found = [shown(reading(terms, now=START + days * DAY))["resources"][0] for days in (10, 30, 60)]
    assert [(item["grantedHours"], item["opens"]) for item in found] == [
        (400, {"at": "2026-01-31T00:00:00Z", "hours": 300}),
        (700, {"at": "2026-03-02T00:00:00Z", "hours": 300}),
        (1000, None),
    ]


REFUSED = {"type": "Granted", "status": "False", "reason": "QuotaExceeded", "message": "pool p has 5 of 10 cpu hours left."}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ({"conditions": [REFUSED]}, "pool p has 5 of 10 cpu hours left."),
        ({}, "the operator has not looked at it yet"),
        ({"conditions": [REFUSED | {"status": "True"}]}, "about to be told to the cluster"),
    ],
)
def test_what_is_not_granted_yet_shows_nothing_and_what_it_waits_for(status: Obj, words: str) -> None:
    found = shown(reading(use={"cpu": [(START, HOUR)]}), allocation(**status))
    assert words in found["waitingFor"]
    assert (found["phase"], found["window"], found["usedPercent"]) == ("Waiting", None, 0)
    assert hours(found["resources"][0]) == {}


def test_before_and_after_its_period() -> None:
    late = simple("A", START + 30 * DAY, START + 60 * DAY, {"cpu": 10 * HOUR})
    assert shown(reading(late))["phase"] == "Upcoming"
    ended = shown(reading(late, now=START + 61 * DAY, use={"cpu": [(START + 30 * DAY, 40 * DAY)]}))
    assert (ended["phase"], ended["resources"][0]["runsOut"]) == ("Ended", None)
    graced = simple("A", START, START + 10 * DAY, {"cpu": HOUR}, after_end_seconds=DAY)
    assert shown(reading(graced, now=START + 10 * DAY + HOUR))["phase"] == "Running"


def test_of_two_the_second_runs_out_after_the_first() -> None:
    """240 hours of use leave 60 to the first; 10 a day more, the second lasts for 16 days."""
    first = simple("A", START, START + 90 * DAY, {"cpu": 300 * HOUR})
    second = simple("B", START, START + 365 * DAY, {"cpu": 100 * HOUR})
    read = reading(first, second, use={"cpu": [(START, 100 * HOUR), (START + 6 * DAY, 140 * HOUR)]})
    rows = [shown(read, allocation(uid))["resources"][0]["runsOut"] for uid in ("A", "B")]
    assert rows == ["2026-01-27T00:00:00Z", "2026-02-06T00:00:00Z"]


@st.composite
def readings(draw: st.DrawFn) -> AccountReading:
    """Some allocations, use, and corrections of it that were booked later."""
    quarter = st.integers(0, 40).map(lambda n: START + n * QUARTER)
    terms = []
    for uid in draw(st.lists(st.sampled_from("ABC"), unique=True, max_size=3)):
        first, last = sorted(draw(st.lists(quarter, min_size=2, max_size=2, unique=True)))
        grace = draw(st.sampled_from([0, 10]))
        terms.append(simple(uid, first, last, {"cpu": draw(st.integers(0, 5000))}, overuse_percent=grace))
    use = draw(st.dictionaries(quarter, st.integers(1, 3000), max_size=8))
    corrections = [
        Correction("cpu", at, draw(st.integers(-3000, amount).filter(bool)), at + draw(st.integers(1, 20)) * QUARTER)
        for at, amount in use.items()
        if draw(st.booleans())
    ]
    return reading(*terms, use={"cpu": sorted(use.items())}, corrections=tuple(corrections))


def total(found: dict[str, dict[str, int]]) -> int:
    return sum(amount for amounts in found.values() for amount in amounts.values())


@given(readings(), st.lists(st.integers(0, 61).map(lambda n: START + n * QUARTER), min_size=1, max_size=3))
@settings(max_examples=500, deadline=None)
def test_what_was_put_down_adds_up_over_any_cut(read: AccountReading, edges: list[int]) -> None:
    """Pieces of time add up to the whole, allocation by allocation; and the whole is the use."""
    whole = attributed(read, None, None)
    if all(item.amount > 0 for item in read.corrections):  # what an allocation that ended was charged too much stays there
        assert total(whole) == sum(amount for _, amount in read.use.get("cpu", ()))
    bounds: list[int | None] = [None, *sorted(set(edges)), None]
    pieces = [attributed(read, *pair) for pair in pairwise(bounds)]
    for name in {name for piece in [whole, *pieces] for name in piece}:
        assert sum(piece.get(name, {}).get("cpu", 0) for piece in pieces) == whole.get(name, {}).get("cpu", 0)


def test_use_is_put_down_between_two_times() -> None:
    early, late = simple("A", START, START + DAY, {"cpu": 30 * HOUR}), simple("B", START, START + 9 * DAY, {"cpu": 100 * HOUR})
    use = {"cpu": [(START, 20 * HOUR), (START + HOUR, 20 * HOUR), (START + DAY, 5 * HOUR), (START + 9 * DAY, HOUR)]}
    read = reading(early, late, use=use)
    assert attributed(read, START + HOUR, START + 2 * DAY) == {"a": {"cpu": 10 * HOUR}, "b": {"cpu": 15 * HOUR}}
    assert attributed(read, START + 9 * DAY, None) == {"": {"cpu": HOUR}}
    assert START in cuts(read.terms)

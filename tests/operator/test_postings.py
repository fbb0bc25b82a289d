"""Postings: what is booked when hours, tranches and gates move, and that nothing is booked twice."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_domain.entries import Entry
from bursar_domain.terms import Rules, build
from bursar_domain.units import HOUR, QUARTER, Scales
from bursar_domain.windows import Span, cut
from bursar_operator.domain.postings import Grant, Share, planned

DAY = 24 * HOUR
YEAR = 360 * DAY
GRANT = Grant("u1", "alpha", "qcd", "project-qcd", "main", 0, YEAR, {"cpu": 100}, pool="year")
HALVES = (Share(50, at=0), Share(50, at=180 * DAY))
GATED = (Share(60, at=0), Share(40, gate="report"))


def hours(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """(second, cpu hours) of each."""
    return [(entry.at, entry.amounts.get("cpu", 0) // HOUR) for entry in entries]


def opened(grant: Grant, *gates: str) -> Grant:
    return replace(grant, opened=frozenset(gates))


def test_hours_of_billing_are_posted_in_billing_units() -> None:
    grant = replace(GRANT, hours={"billing": 7, "cpu": 7}, shares=HALVES, scales=Scales(1000))
    amounts = [dict(entry.amounts) for entry in planned(grant, [], None, has_use=False)]
    assert amounts == [{"billing": 3_500 * HOUR, "cpu": 7 * HOUR // 2}, {"billing": 7_000 * HOUR, "cpu": 7 * HOUR}]


@pytest.mark.parametrize(
    ("before", "after", "now", "has_use", "wanted"),
    [
        pytest.param(None, GRANT, None, False, [(0, 100)], id="first, the cluster's time unknown"),
        pytest.param(None, GRANT, 50 * DAY, False, [(0, 100)], id="first, begun before, no use"),
        pytest.param(None, GRANT, 50 * DAY + 1000, True, [(50 * DAY + QUARTER, 100)], id="first, the account has use"),
        pytest.param(GRANT, GRANT, 50 * DAY, True, [], id="nothing moved"),
        pytest.param(GRANT, GRANT, 50 * DAY, False, [], id="nothing moved, no use"),
        pytest.param(GRANT, replace(GRANT, hours={"cpu": 160}), DAY + 1, True, [(DAY, 160)], id="raise"),
        pytest.param(GRANT, replace(GRANT, hours={"cpu": 60}), DAY, True, [(DAY, 60)], id="shrink"),
        pytest.param(GRANT, replace(GRANT, hours={"cpu": 60}), DAY, False, [(DAY, 60)], id="shrink before any use is known"),
        pytest.param(GRANT, replace(GRANT, hours={"cpu": 0}), DAY, True, [(DAY + QUARTER, 0)], id="delete"),
        pytest.param(GRANT, replace(GRANT, hours={}), DAY, True, [(DAY + QUARTER, 0)], id="delete, nothing listed"),
        pytest.param(GRANT, replace(GRANT, hours={"cpu": 30}), YEAR, True, [], id="after the end nothing acts"),
        pytest.param(None, replace(GRANT, shares=HALVES), None, False, [(0, 50), (180 * DAY, 100)], id="dated"),
        pytest.param(None, replace(GRANT, shares=HALVES), 200 * DAY, True, [(200 * DAY, 100)], id="dated, both past"),
        pytest.param(
            replace(GRANT, shares=HALVES), replace(GRANT, shares=HALVES), 200 * DAY, True, [], id="a date passed"
        ),
        pytest.param(
            replace(GRANT, shares=HALVES),
            replace(GRANT, shares=HALVES, hours={"cpu": 200}),
            DAY,
            True,
            [(DAY, 100), (180 * DAY, 200)],
            id="raise between two dates",
        ),
        pytest.param(
            replace(GRANT, shares=HALVES),
            replace(GRANT, shares=(Share(50, at=0), Share(50, at=90 * DAY))),
            DAY,
            True,
            [(DAY, 50), (90 * DAY, 100)],
            id="a date moved",
        ),
        pytest.param(
            replace(GRANT, shares=HALVES),
            replace(GRANT, shares=(Share(50, at=0), Share(50, at=250 * DAY))),
            200 * DAY,
            True,
            [(200 * DAY, 50), (250 * DAY, 100)],
            id="a date that passed is moved on: from now, not from then",
        ),
        pytest.param(
            replace(GRANT, shares=HALVES),
            replace(GRANT, shares=(Share(50, at=0), Share(50, at=90 * DAY))),
            100 * DAY,
            True,
            [(100 * DAY, 100)],
            id="a date is moved before now: from now",
        ),
        pytest.param(replace(GRANT, shares=HALVES), GRANT, DAY, True, [(DAY, 100)], id="tranches taken out"),
        pytest.param(
            replace(GRANT, shares=HALVES),
            replace(GRANT, shares=HALVES, hours={"cpu": 0}),
            DAY,
            True,
            [(DAY + QUARTER, 0)],
            id="delete takes what was posted for later back",
        ),
        pytest.param(None, replace(GRANT, shares=GATED), None, False, [(0, 60)], id="gated"),
        pytest.param(
            None, replace(GRANT, shares=(Share(100, gate="x"),)), None, False, [(0, 0)], id="all behind a gate: known, empty"
        ),
        pytest.param(None, replace(GRANT, hours={}), DAY, True, [(DAY, 0)], id="deleted before anything was posted"),
        pytest.param(
            replace(GRANT, shares=GATED),
            opened(replace(GRANT, shares=GATED), "report"),
            DAY + 899,
            True,
            [(DAY, 100)],
            id="gate",
        ),
        pytest.param(
            replace(GRANT, shares=GATED), opened(replace(GRANT, shares=GATED), "other"), DAY, True, [], id="another gate"
        ),
        pytest.param(
            opened(replace(GRANT, shares=GATED), "report"), replace(GRANT, shares=GATED), DAY, True, [(DAY, 60)], id="gate shut"
        ),
        pytest.param(
            None, replace(GRANT, hours={"cpu": 3}, shares=(Share(50, at=0), Share(50, gate="x"))), None, False, [(0, 1)],
            id="a share is floored in unit-seconds",
        ),
    ],
)  # fmt: skip
def test_what_is_booked(
    before: Grant | None, after: Grant, now: int | None, has_use: bool, wanted: list[tuple[int, int]]
) -> None:
    booked = planned(before, [], None, has_use=False) if before else []
    found = planned(after, booked, now, has_use=has_use)
    assert hours(found) == wanted
    # A crash after it was booked, or an answer that was lost: nothing more, and the same keys.
    assert planned(after, [*booked, *found], now, has_use=has_use) == []
    assert [item.key for item in planned(after, booked, now, has_use=has_use)] == [item.key for item in found]
    assert len({item.key for item in [*booked, *found]}) == len(booked) + len(found)


def test_an_entry_says_who_for_what_and_why() -> None:
    (first,) = planned(GRANT, [], None, has_use=False)
    assert (first.key, first.reason, first.reference, first.author) == ("grant/u1/1", "granted", "year", "bursar")
    (second,) = planned(replace(GRANT, hours={"cpu": 150}), [first], DAY, has_use=True)
    assert (second.key, second.reason) == ("grant/u1/2", "raised")
    (third,) = planned(replace(GRANT, hours={"cpu": 0}), [first, second], DAY, has_use=True)
    assert (third.key, third.reason) == ("grant/u1/3", "taken back")


def test_gates_and_dates_with_windows_leave_closed_windows_alone() -> None:
    spans = cut(0, YEAR, "Quarter", "UTC")
    rules = Rules("u1", ("cpu",), spans)
    grant = replace(GRANT, hours={"cpu": 3600}, shares=(Share(50, at=0), Share(25, at=200 * DAY), Share(25, gate="report")))
    entries = planned(grant, [], None, has_use=False)
    entries += planned(opened(grant, "report"), entries, 100 * DAY, has_use=True)
    windows = build(rules, entries).windows
    assert windows[0].at(windows[0].start).granted["cpu"] == 450 * HOUR
    assert windows[0].last.granted["cpu"] == 450 * HOUR
    assert sum(window.last.granted["cpu"] for window in windows) == 3600 * HOUR


def test_what_is_deleted_before_its_gate_opened_is_over() -> None:
    """It had no hours at any time; still it is nobody's to be overdrawn, nor does it list a resource, from then on."""
    gated = replace(GRANT, shares=(Share(100, gate="x"),))
    entries = planned(gated, [], None, has_use=False)
    entries += planned(replace(gated, hours={}), entries, DAY, has_use=True)
    terms = build(Rules("u1", ("cpu",), (Span(0, YEAR),), is_deleted=True), entries)
    assert (terms.closed_from, terms.is_active(DAY), terms.is_active(DAY + QUARTER)) == (DAY + QUARTER, True, False)
    never = planned(replace(gated, hours={}), [], DAY, has_use=False)
    assert not build(Rules("u1", ("cpu",), (Span(0, YEAR),), is_deleted=True), never).is_active(DAY)


def test_a_resource_that_is_no_longer_asked_for_is_taken_back() -> None:
    both = replace(GRANT, hours={"cpu": 10, "gpu": 5})
    first = planned(both, [], None, has_use=False)
    (second,) = planned(GRANT, first, DAY, has_use=True)
    assert dict(second.amounts) == {"cpu": 100 * HOUR}
    whole = Span(0, YEAR)
    assert build(Rules("u1", ("cpu", "gpu"), (whole,)), [*first, second]).windows[0].last.granted["gpu"] == 0


def test_a_deleted_one_ends_in_its_quarter_though_a_tranche_was_to_open_later() -> None:
    """Posted to 0 once: another 0 at the date of the tranche would keep it open, and its use a burden of others, until then."""
    dated = replace(GRANT, shares=HALVES)
    entries = planned(dated, [], None, has_use=False)
    entries += planned(replace(dated, hours={"cpu": 0}), entries, DAY, has_use=True)
    gone = build(Rules("u1", ("cpu",), (Span(0, YEAR),), is_deleted=True), entries)
    assert gone.closed_from == DAY + QUARTER
    assert gone.is_active(DAY)
    assert not gone.is_active(DAY + QUARTER)


TIMES = st.none() | st.integers(0, 12).map(lambda number: number * QUARTER // 2)
SHARES = st.lists(st.tuples(st.sampled_from([0, 30, 50]), st.none() | st.integers(0, 6).map(lambda n: n * QUARTER)), max_size=3)


@given(
    st.lists(st.tuples(st.sampled_from([0, 40, 80]), SHARES, st.booleans(), TIMES), min_size=1, max_size=4),
    TIMES,
    st.lists(st.integers(0, 12).map(lambda number: number * QUARTER // 2), min_size=1, max_size=3),
    st.sampled_from(["use", "no use"]),
)
def test_what_needs_no_posting_needs_none_later(
    steps: list[tuple[int, list[tuple[int, int | None]], bool, int | None]], now: int | None, later: list[int], use: str
) -> None:
    booked: list[Entry] = []
    for total, shares, is_open, at in steps:
        made = tuple(Share(percent, second, None if second is not None else "gate") for percent, second in shares)
        opened = frozenset(["gate"] if is_open else ())
        grant = replace(GRANT, hours={"cpu": total}, shares=made, opened=opened, open_until=5 * QUARTER)
        booked += planned(grant, booked, at, has_use=use == "use")
    if booked and not planned(grant, booked, now, has_use=use == "use"):
        assert all(planned(grant, booked, at, has_use=True) == [] for at in later if now is None or at >= now)

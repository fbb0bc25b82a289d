"""The ladder at the scheduler: every step, its undoing, hysteresis by window, several allocations, what the brake counts."""

from typing import Any

import pytest

from bursar_agent import grants
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import AccountPlan, Figures
from bursar_agent.schedulers.base import AccountChange, Reading
from bursar_domain.ladder import Action
from bursar_domain.projection import Rate
from bursar_domain.wire import AccountEntry, ThresholdEntry
from bursar_testing.agents import account, allocation, cluster_settings, hold_at, window
from bursar_testing.situations import HOUR, NOW, one, remembered, situation, view

END = NOW + 100 * HOUR


def at(percent: int, action: str, **fields: Any) -> ThresholdEntry:
    return ThresholdEntry.model_validate({"percent": percent, "action": action} | fields)


LADDER = tuple(at(n, action) for n, action in ((50, "Notify"), (60, "Throttle"), (70, "SoftLand"), (80, "Hold"), (90, "Block")))


def entry(*thresholds: ThresholdEntry, **fields: Any) -> AccountEntry:
    return account("aa", allocation("x", 100, end=END, thresholds=thresholds, **fields))


def planned(given: AccountEntry, used: int, reading: Reading | None = None, **fields: Any) -> AccountPlan:
    """The plan where the limit is right as it is."""
    rest = (100 - used) * 60
    seen = reading or Reading(limit=6_000, run_minutes_limit=rest, counter=used * 60)
    account_of = view(readings={"cpu": seen}, **fields.pop("seen", {}))
    return one(situation(given, account_of, used_hours=used, **({"memories": remembered(given)} | fields)))


@pytest.mark.parametrize(
    ("used", "action", "change"),
    [
        (49, Action.NONE, {}),
        (50, Action.NOTIFY, {}),
        (60, Action.THROTTLE, {"concurrent": {"cpu": 1}}),
        (70, Action.SOFT_LAND, {"qos": "soft"}),
        (80, Action.HOLD, {"held": True}),
        (90, Action.BLOCK, {"held": True, "blocked": True}),
    ],
)
def test_each_step_and_its_undoing(used: int, action: Action, change: dict[str, Any]) -> None:
    given = entry(*LADDER)
    found = planned(given, used, soft_land_qos="soft")
    assert found.restriction.action is action
    assert found.restriction.actions == {"x": action}
    expect = AccountChange("aa", **change)
    assert found.change == (expect if change else None)
    assert found.counted == ()
    done = {name: value for name, value in change.items() if name != "concurrent"}
    known = remembered(given, caps=change.get("concurrent", {}), **done)
    seen = Reading(limit=6_000, run_minutes_limit=6_000, concurrent_limit=1 if change.get("concurrent") else None)
    undone = planned(given, 0, reading=seen, memories=known, soft_land_qos="soft", seen=done)
    back: dict[str, Any] = {"concurrent": {"cpu": -1}, "qos": "", "held": False, "blocked": False}
    expect = AccountChange("aa", **{name: back[name] for name in change})
    assert undone.change == (expect if change else None)
    expired = planned(given, 0, reading=seen, memories=known, soft_land_qos="soft", seen=done, expired=True)
    assert expired.change is None
    assert expired.memory.caps == known["aa"].caps


def test_soft_land_without_a_qos_is_a_hold() -> None:
    found = planned(entry(at(70, "SoftLand")), 75)
    assert (found.restriction.action, found.restriction.falls_back) == (Action.HOLD, True)
    assert found.restriction.actions == {"x": Action.SOFT_LAND}
    assert found.change == AccountChange("aa", held=True)


@pytest.mark.parametrize(
    ("in_force", "writes"), [(None, 40), (40, None), (32, None), (31, 40), (53, None), (54, 40), (400, 40)]
)
def test_a_throttle_spends_the_rest_evenly_and_is_not_moved_by_trifles(in_force: int | None, writes: int | None) -> None:
    """4,000 hours are left for 100 hours: 40 at one time."""
    given = account("aa", allocation("x", 10_000, end=END, thresholds=(at(50, "Throttle"),)))
    seen = Reading(limit=600_000, run_minutes_limit=240_000, counter=360_000, concurrent_limit=in_force)
    known = remembered(given, caps={} if in_force is None else {"cpu": in_force})
    found = one(situation(given, view(readings={"cpu": seen}), used_hours=6_000, memories=known))
    assert (found.change.concurrent if found.change else {}) == ({} if writes is None else {"cpu": writes})
    assert found.memory.caps == {"cpu": writes or in_force}


def test_a_cap_that_somebody_else_set_is_left_alone() -> None:
    given = entry(at(50, "Throttle"))
    theirs = Reading(limit=6_000, run_minutes_limit=6_000, concurrent_limit=12)
    assert planned(given, 0, reading=theirs).change is None
    tighter = account("aa", allocation("x", 10_000, end=END, thresholds=(at(50, "Throttle"),)))
    seen = Reading(limit=600_000, run_minutes_limit=240_000, counter=360_000, concurrent_limit=12)
    kept = one(situation(tighter, view(readings={"cpu": seen}), used_hours=6_000, memories=remembered(tighter)))
    assert kept.change is None
    assert kept.memory.caps == {}
    doubtful = planned(given, 0, reading=theirs, in_doubt=frozenset({"aa"}))
    assert doubtful.change is not None
    assert doubtful.change.concurrent == {"cpu": -1}


@pytest.mark.parametrize(
    ("basis", "percent", "action"),
    [
        ("Used", 40, Action.HOLD),
        ("Used", 41, Action.NONE),
        ("Committed", 70, Action.HOLD),
        ("Committed", 71, Action.NONE),
        ("Projected", 140, Action.HOLD),
        ("Projected", 141, Action.NONE),
    ],
)
def test_each_basis_has_its_figure(basis: str, percent: int, action: Action) -> None:
    """40 h of 100 are used, jobs may still use 30, and 100 more will be at 1 h an hour."""
    given = entry(at(percent, "Hold", basis=basis))
    charged = grants.charge(grants.lay_out(given), {"cpu": [(NOW - HOUR, 40 * HOUR)]})
    figures = Figures(charged, committed={"cpu": 30 * HOUR}, rates={"cpu": Rate(24 * HOUR, 24 * HOUR)})
    assert planned(given, 40, figures=figures).restriction.action is action


def test_a_rate_that_nobody_knows_restricts_nobody() -> None:
    assert planned(entry(at(1, "Throttle", basis="Projected")), 99).restriction.action is Action.NONE


def test_the_rate_is_that_of_the_last_fortnight() -> None:
    given = entry(at(100, "Throttle", basis="Projected"), start=NOW - 30 * 24 * HOUR)
    laid_out = grants.lay_out(given)
    since = NOW - 14 * 24 * HOUR
    assert since in grants.boundaries(laid_out, NOW)
    charged = grants.charge(laid_out, {"cpu": [(given.allocations[0].start, 77 * HOUR), (since, 28 * HOUR)]})
    assert grants.rates(charged, NOW) == {"cpu": Rate(28 * HOUR, 14 * 24 * HOUR)}
    young = grants.lay_out(entry(at(100, "Throttle", basis="Projected"), start=NOW - HOUR))
    assert grants.rates(grants.charge(young, {}), NOW) == {}
    plain = grants.lay_out(entry(at(100, "Throttle")))
    assert grants.boundaries(plain, NOW) is plain.cuts


def test_hysteresis_ends_with_the_window() -> None:
    windows = (window(NOW - 100 * HOUR, NOW - HOUR, {"cpu": 100}), window(NOW - HOUR, END, {"cpu": 100}))
    given = entry(hold_at(95, 50), start=NOW - 100 * HOUR, windows=windows, open_until=END)
    known = remembered(given, rules={"x": ("Hold@Used95",)}, held=True)
    assert planned(given, 60, memories=known, seen={"held": True}).restriction.action is Action.HOLD
    before = remembered(given, NOW - HOUR - 1, rules={"x": ("Hold@Used95",)}, held=True)
    rolled = planned(given, 60, memories=before, seen={"held": True})
    assert rolled.restriction.action is Action.NONE
    assert rolled.change is not None
    assert rolled.change.held is False
    assert rolled.memory.rules == {"x": ()}


def test_committed_work_falls_to_allocations_in_the_order_of_charge() -> None:
    """A has 20 h left of 100 and ends first; 50 h committed: 20 of them are A's, 30 are B's."""
    rules = (at(100, "Hold", basis="Committed"), at(30, "Notify", basis="Committed"), at(31, "Throttle", basis="Committed"))
    first = allocation("a", 100, end=NOW + HOUR, thresholds=rules)
    given = account("aa", first, allocation("b", 100, end=END, thresholds=rules))
    charged = grants.charge(grants.lay_out(given), {"cpu": [(NOW - HOUR, 80 * HOUR)]})
    found = planned(given, 80, figures=Figures(charged, committed={"cpu": 50 * HOUR}))
    assert found.restriction.actions == {"a": Action.HOLD, "b": Action.NOTIFY}
    assert found.restriction.rules == {
        "a": ("Hold@Committed100", "Notify@Committed30", "Throttle@Committed31"),
        "b": ("Notify@Committed30",),
    }
    assert found.restriction.action is Action.NOTIFY


def test_an_allocation_without_room_frees_nobody() -> None:
    empty = allocation("a", 0, end=END)
    full = allocation("b", 100, end=END + HOUR, thresholds=(hold_at(50),))
    found = planned(account("aa", empty, full), 60)
    assert found.restriction.action is Action.HOLD


def test_a_switch_that_somebody_turned_is_told_and_mended_where_the_cluster_says_so() -> None:
    given = entry(hold_at(95))
    found = planned(given, 5, seen={"held": True})
    assert found.drift == ("aa: held is True, was set to no",)
    assert found.change is not None
    assert found.change.held is False
    settings = cluster_settings("c", drift_limits="Report")
    left = planned(given, 5, seen={"held": True}, settings=settings)
    assert left.drift == found.drift
    assert left.change is None
    assert left.memory.held is False
    reached = planned(given, 96, seen={"held": False}, settings=settings)
    assert reached.change is not None
    assert reached.change.held is True


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("Throttle", ("throttle aa",)),
        ("SoftLand", ("soft-land aa",)),
        ("Hold", ("hold aa",)),
        ("Block", ("hold aa", "block aa")),
        ("Notify", ()),
    ],
)
def test_the_brake_counts_restrictions_that_an_edit_brought(action: str, words: tuple[str, ...]) -> None:
    edited, before = entry(at(5, action)), entry(at(95, action))
    assert planned(edited, 10, memories=remembered(before), soft_land_qos="soft").counted == words
    assert planned(before, 96, memories=remembered(before), soft_land_qos="soft").counted == ()


def test_a_closed_account_is_held_and_blocked() -> None:
    known = {"aa": AccountMemory("aa", "d")}
    found = planned(account("aa", closed=True), 0, reading=Reading(limit=1, run_minutes_limit=1), memories=known)
    assert found.change == AccountChange("aa", held=True, blocked=True)
    assert found.restriction.action is Action.BLOCK
    assert found.counted == ("hold aa", "block aa")

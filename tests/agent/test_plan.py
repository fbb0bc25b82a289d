"""The plan: tables of what should be, what is there and what was used, and the changes that follow."""

from dataclasses import replace
from typing import Any

import pytest

from bursar_agent import grants, plan
from bursar_agent.memory import AccountMemory, Known
from bursar_agent.plan import Figures, Situation
from bursar_agent.schedulers.base import AccountChange, Observation, Reading
from bursar_domain.ceiling import Sample
from bursar_domain.ladder import Action
from bursar_domain.wire import ThresholdEntry, TrackedResource
from bursar_testing.agents import account, allocation, cluster_settings, hold_at, step_at, window
from bursar_testing.situations import HOUR, NOW, change, one, remembered, situation, view

GPUS = cluster_settings(
    "c",
    resources=(
        TrackedResource(name="cpu", trackable="cpu", capacity=128),
        TrackedResource(name="gpu", trackable="gres/gpu", capacity=8),
    ),
)


@pytest.mark.parametrize(
    ("used", "counter", "limit"),
    [(400, 0, 36_000), (400, 24_000, 60_000), (1100, 66_000, 66_000), (1100, 0, 1)],
    ids=["counter lost", "counter right", "all used", "all used and counter lost"],
)
def test_the_limit_lets_what_is_left_run(used: int, counter: int, limit: int) -> None:
    seen = view(readings={"cpu": Reading(limit=5, counter=counter)})
    assert change(situation(account("aa", allocation("x", 1000)), seen, used_hours=used)).limits == {"cpu": limit}


def test_a_new_account_is_created_below_the_root_with_members_and_limits() -> None:
    found = change(situation(account("aa", allocation("x", 10), members=("ann", "bob")), None))
    assert found == AccountChange(
        "aa", create=True, description="bursar:aa", parent="bursar", limits={"cpu": 600}, run_minutes={"cpu": 600},
        add_members=frozenset({"ann", "bob"}),
    )  # fmt: skip


def test_the_root_account_comes_first_and_holds_every_child() -> None:
    given = situation(account("aa", allocation("x", 10)), None)
    made = plan.make(given).changes
    assert [item.account for item in made] == ["bursar", "aa"]
    absent = situation(account("aa", allocation("x", 10)), None, observation=Observation(NOW, {}, None))
    root = plan.make(absent).changes[0]
    assert (root.create, root.parent, root.description, root.limits) == (True, "root", "bursar:root", {"cpu": 600})


def test_nothing_is_done_twice() -> None:
    entry = account("aa", allocation("x", 10), members=("ann",))
    seen = view(readings={"cpu": Reading(limit=600, run_minutes_limit=600, counter=0)}, members=frozenset({"ann"}))
    assert one(situation(entry, seen)).change is None


def test_what_lies_inside_the_band_stays_and_a_changed_entry_is_exact() -> None:
    entry = account("aa", allocation("x", 1000))
    seen = view(readings={"cpu": Reading(limit=60_000 - 3, run_minutes_limit=60_000)})
    known = remembered(entry, limits={"cpu": 60_000 - 3})
    assert one(situation(entry, seen, memories=known)).change is None
    topped_up = account("aa", allocation("x", 1000 + 1, revision=2))
    assert change(situation(topped_up, seen, memories=known)).limits == {"cpu": 60_060}


def test_no_active_allocation_leaves_only_what_was_used() -> None:
    ended = account("aa", allocation("x", 100, end=NOW - 900))
    seen = view(readings={"cpu": Reading(limit=6_000, counter=1_200)})
    found = change(situation(ended, seen, used_hours=20))
    assert found.limits == {"cpu": 1_200}
    assert change(situation(account("aa"), seen)).limits == {"cpu": 1_200}


def test_what_no_active_allocation_lists_is_open_or_closed_by_its_nature() -> None:
    seen = view(readings={"cpu": Reading(limit=5), "gres/gpu": Reading(limit=5, counter=2)})
    cpu_only = change(situation(account("aa", allocation("x", 10)), seen, settings=GPUS))
    assert cpu_only.limits == {"cpu": 600, "gres/gpu": 2}
    assert cpu_only.concurrent == {"gres/gpu": 0}
    gpu_only = change(situation(account("aa", allocation("x", 0, granted={"gpu": 10})), seen, settings=GPUS))
    assert gpu_only.limits == {"cpu": -1, "gres/gpu": 602}
    assert gpu_only.concurrent == {}
    closed = view(readings={"cpu": Reading(), "gres/gpu": Reading(limit=2, counter=2, concurrent_limit=0)})
    again = change(situation(account("aa", allocation("x", 0, granted={"gpu": 10})), closed, settings=GPUS))
    assert again.concurrent == {"gres/gpu": -1}
    billing = change(situation(account("aa", allocation("x", 0, granted={"billing": 10})), seen, settings=GPUS))
    assert billing.limits == {"cpu": -1, "gres/gpu": -1}


@pytest.mark.parametrize(
    ("used", "before", "held", "action"),
    [
        (94, (), None, Action.NONE),
        (95, (), True, Action.HOLD),
        (92, ("Hold@Used95",), True, Action.HOLD),
        (89, ("Hold@Used95",), None, Action.NONE),
    ],
    ids=["below", "reached", "inside the hysteresis", "cleared"],
)
def test_a_threshold_holds_and_lets_go(used: int, before: tuple[str, ...], held: bool | None, action: Action) -> None:
    entry = account("aa", allocation("x", 100, thresholds=(hold_at(95, 90),)))
    seen = view(readings={"cpu": Reading(limit=6_000, run_minutes_limit=None, counter=used * 60)})
    found = one(situation(entry, seen, used_hours=used, memories=remembered(entry, rules={"x": before} if before else {})))
    assert found.restriction.action is action
    assert (found.change.held if found.change else None) is held
    is_held = one(
        situation(
            entry,
            view(readings={"cpu": Reading(limit=6_000)}, held=True),
            used_hours=used,
            memories=remembered(entry, rules={"x": before} if before else {}),
        )
    )
    assert (is_held.change.held if is_held.change else None) is (None if held else False)


def test_an_account_is_held_only_when_all_its_allocations_are() -> None:
    first, second = (
        allocation(uid, 100, end=end, thresholds=(hold_at(100),)) for uid, end in (("x", NOW + 9), ("y", NOW + 99))
    )
    found = one(situation(account("aa", first, second), view(), used_hours=100))
    assert found.restriction.action is Action.NONE
    assert found.restriction.actions == {"x": Action.HOLD, "y": Action.NONE}
    assert found.change is not None
    assert found.change.held is None
    assert one(situation(account("aa", first, second), view(), used_hours=200)).restriction.action is Action.HOLD


def test_notify_changes_nothing_and_is_reported() -> None:
    entry = account("aa", allocation("x", 100, thresholds=(ThresholdEntry(percent=75, action="Notify"),)))
    found = one(situation(entry, view(), used_hours=80))
    assert found.restriction.action is Action.NOTIFY
    assert found.change is not None
    assert found.change.held is None


def test_a_closed_account_is_blocked_and_keeps_its_members() -> None:
    seen = view(readings={"cpu": Reading(limit=6_000, counter=60)}, members=frozenset({"ann"}))
    found = one(situation(account("aa", closed=True), seen))
    assert found.restriction.action is Action.BLOCK
    assert found.change is not None
    assert (found.change.held, found.change.limits, found.change.remove_members) == (True, {"cpu": 60}, frozenset())
    assert one(situation(account("aa", closed=True), None)).change is None


def test_members_come_and_go_with_the_entry() -> None:
    entry = account("aa", allocation("x", 1), members=("ann", "new"))
    seen = view(members=frozenset({"ann", "left", "foreign"}))
    known = remembered(entry, members=("ann", "left"))
    found = change(situation(entry, seen, memories=known))
    assert (found.add_members, found.remove_members) == (frozenset({"new"}), frozenset({"left", "foreign"}))
    report = cluster_settings("c", drift_members="Report")
    found = change(situation(entry, seen, memories=known, settings=report))
    assert found.remove_members == frozenset({"left"})
    plan_of = one(situation(entry, seen, memories=known, settings=report))
    assert "foreign is a member of aa, and no membership says so" in plan_of.drift


def test_a_member_whom_the_host_does_not_know_is_not_tried_each_time() -> None:
    entry = account("aa", allocation("x", 1), members=("ann", "ghost"))
    found = change(situation(entry, view(), unresolved={"aa": frozenset({"ghost"})}))
    assert found.add_members == frozenset({"ann"})


@pytest.mark.parametrize(("drift", "limits"), [("Enforce", {"cpu": 60_000}), ("Report", {})])
def test_an_edited_limit_is_told_and_mended_where_the_cluster_says_so(drift: Any, limits: dict[str, int]) -> None:
    entry = account("aa", allocation("x", 1000))
    seen = view(readings={"cpu": Reading(limit=99_999, run_minutes_limit=60_000)})
    known = remembered(entry, limits={"cpu": 60_000})
    settings = cluster_settings("c", drift_limits=drift)
    found = one(situation(entry, seen, memories=known, settings=settings))
    assert found.drift == ("cpu limit of aa is 99999, was set to 60000",)
    assert (found.change.limits if found.change else {}) == limits


def test_a_write_of_unknown_effect_is_no_drift_and_is_written_again() -> None:
    entry = account("aa", allocation("x", 1000))
    seen = view(readings={"cpu": Reading(limit=59_999, run_minutes_limit=60_000)})
    known = remembered(entry, limits={"cpu": 50_000})
    found = one(situation(entry, seen, memories=known, in_doubt=frozenset({"aa"})))
    assert found.drift == ()
    assert found.change is not None
    assert found.change.limits == {"cpu": 60_000}


def test_a_foreign_account_of_that_name_is_not_touched() -> None:
    found = one(situation(account("aa", allocation("x", 10)), view(owned=False)))
    assert found.change is None
    assert "is not ours" in found.error


def test_nothing_is_planned_before_use_was_read() -> None:
    given = replace(situation(account("aa", allocation("x", 10)), view()), figures={})
    assert one(given).change is None
    assert "was not read" in one(given).error


def test_an_expired_state_only_tightens() -> None:
    entry = account("aa", allocation("x", 1000), members=("ann",))
    low = view(readings={"cpu": Reading(limit=5)}, held=True)
    assert one(situation(entry, low, expired=True)).change is None
    high = view(readings={"cpu": Reading(limit=90_000, run_minutes_limit=90_000)})
    found = change(situation(entry, high, expired=True))
    assert (found.limits, found.add_members, found.held) == ({"cpu": 60_000}, frozenset(), None)
    assert one(situation(entry, None, expired=True)).change is None


def test_no_period_is_decided_while_the_clocks_differ() -> None:
    entry = account("aa", allocation("x", 1000, start=NOW - 900))
    known = remembered(entry, windows={}, room={})
    found = one(situation(entry, view(), memories=known, skewed=True))
    assert found.change is None
    assert "clock" in found.error
    assert one(situation(entry, view(), memories=remembered(entry), skewed=True)).change is not None


def test_late_records_never_raise_by_more_than_the_counter_proves() -> None:
    entry = account("aa", allocation("x", 1000))
    seen = view(readings={"cpu": Reading(limit=None, counter=30_000)})
    samples = {("aa", "cpu"): [Sample(NOW - HOUR, 24_000), Sample(NOW, 30_000)]}
    found = change(situation(entry, seen, used_hours=400, watermark=NOW - HOUR, samples=samples))
    assert found.limits == {"cpu": 60_000}
    low = view(readings={"cpu": Reading(limit=100, counter=30)})
    blind = one(situation(entry, low, used_hours=400, watermark=NOW - HOUR, samples={("aa", "cpu"): [Sample(NOW, 30)]}))
    assert blind.change is None or "cpu" not in blind.change.limits
    assert blind.withheld == ("cpu",)
    assert one(situation(entry, low, used_hours=400)).withheld == ()


def test_dated_steps_act_when_their_time_has_come() -> None:
    steps = window(0, NOW + HOUR, {"cpu": 10}, step_at(NOW - 10, {"cpu": 50}), step_at(NOW + 10, {"cpu": 90}))
    entry = account("aa", allocation("x", 90, windows=(steps,), end=NOW + HOUR))
    assert change(situation(entry, view())).limits == {"cpu": 3_000}
    deleted = window(0, NOW + HOUR, {"cpu": 50}, step_at(NOW - 10, {"cpu": 0}))
    assert change(situation(account("aa", allocation("x", 0, windows=(deleted,))), view())).limits == {"cpu": 1}


def test_what_the_brake_counts() -> None:
    entry = account("aa", allocation("x", 1000))
    high = view(readings={"cpu": Reading(limit=90_000)})
    assert one(situation(entry, high)).counted == ("lower aa cpu from 90000 to 60000",)
    assert one(situation(entry, view(readings={"cpu": Reading(limit=5)}))).counted == ()
    assert one(situation(entry, None)).counted == ()
    fell = {("aa", "cpu"): [Sample(NOW - 60, 50_000), Sample(NOW, 0)]}
    assert one(situation(entry, high, samples=fell)).counted == ()
    dated = account("aa", allocation("x", 1000, end=NOW))
    ran = {"x": Known(0, NOW, NOW, {"cpu": 1000 * HOUR})}
    before = {"aa": AccountMemory("aa", dated.digest(), ran, {"cpu": 1000 * HOUR}, limits={"cpu": 60_000})}
    ends = one(situation(dated, view(readings={"cpu": Reading(limit=60_000)}), memories=before))
    assert ends.change is not None
    assert ends.counted == ()
    shrunk = account("aa", allocation("x", 10, revision=2), members=())
    known = remembered(account("aa", allocation("x", 1000)), limits={"cpu": 60_000}, members=("ann",))
    seen = view(readings={"cpu": Reading(limit=60_000)}, members=frozenset({"ann"}))
    assert one(situation(shrunk, seen, memories=known)).counted == ("lower aa cpu from 60000 to 600", "remove ann from aa")


def test_a_counter_that_is_behind_by_what_just_ran_takes_nothing_away() -> None:
    entry = account("aa", allocation("x", 20))
    seen = view(readings={"cpu": Reading(limit=1_200, run_minutes_limit=1_200, counter=0)})
    quarters = {"cpu": [(NOW - HOUR, 14 * 60)]}
    behind = Figures(grants.charge(grants.lay_out(entry), quarters), recent={"cpu": 14 * 60})
    given = situation(entry, seen, memories=remembered(entry, limits={"cpu": 1_200}), figures=behind)
    found = one(given)
    assert found.change is not None
    assert found.change.limits == {"cpu": 1_186}
    assert found.counted == ()
    ten_hours = grants.charge(grants.lay_out(entry), {"cpu": [(NOW - HOUR, 10 * HOUR)]})
    much = Figures(ten_hours, recent={"cpu": 14 * 60})
    doubled = one(situation(entry, seen, memories=remembered(entry, limits={"cpu": 1_200}), figures=much))
    assert doubled.counted == ("lower aa cpu from 1200 to 600",)


def test_without_new_records_limits_move_only_for_a_reason_of_their_own() -> None:
    entry = account("aa", allocation("x", 1000))
    seen = view(readings={"cpu": Reading(limit=70_000, run_minutes_limit=70_000, counter=50)})
    known = remembered(entry, limits={"cpu": 70_000})
    stale: dict[str, Any] = {"memories": known, "fresh": False, "watermark": NOW - 60}
    assert one(situation(entry, seen, **stale)).change is None
    samples = {("aa", "cpu"): [Sample(NOW - 60, 20), Sample(NOW, 50)]}
    topped_up = account("aa", allocation("x", 1001, 2))
    assert change(situation(topped_up, seen, samples=samples, **stale)).limits == {"cpu": 60_060 + 20}
    fell = {("aa", "cpu"): [Sample(NOW - 60, 60_000), Sample(NOW, 50)]}
    assert "cpu" in change(situation(entry, seen, samples=fell, **stale)).limits
    edited = {**stale, "memories": remembered(entry, limits={"cpu": 60_000})}
    assert change(situation(entry, seen, samples=samples, **edited)).limits == {"cpu": 60_020}


def test_a_hold_that_the_counter_agrees_with_does_not_count() -> None:
    entry = account("aa", allocation("x", 100, thresholds=(hold_at(95),)))
    seen = view(readings={"cpu": Reading(limit=6_000, run_minutes_limit=300, counter=5_700)})
    found = one(situation(entry, seen, used_hours=95, memories=remembered(entry)))
    assert found.change is not None
    assert found.change.held is True
    assert found.counted == ()
    edited = account("aa", allocation("x", 100, thresholds=(hold_at(5),)))
    seen = view(readings={"cpu": Reading(limit=6_000, counter=600)})
    assert one(situation(edited, seen, used_hours=10, memories=remembered(entry))).counted == ("hold aa",)


def test_the_wall_is_not_moved_by_rounding() -> None:
    names = ("aa", "bb", "cc")
    entries = {name: account(name, allocation(name, 100)) for name in names}
    figures = {name: Figures(grants.charge(grants.lay_out(entries[name]), {})) for name in names}
    views = {name: view(name, {"cpu": Reading(limit=6_000, run_minutes_limit=6_000)}) for name in names}
    root = view("bursar", {"cpu": Reading(limit=5)}, parent="root")
    made = plan.make(Situation(cluster_settings("c"), entries, Observation(NOW, views, root), figures, watermark=NOW))
    assert [item.limits for item in made.changes] == [{"cpu": 18_002}]
    for counter in (0, 1, 2):
        root = view("bursar", {"cpu": Reading(limit=18_002, counter=counter)}, parent="root")
        observation = Observation(NOW, views, root)
        again = plan.make(Situation(cluster_settings("c"), entries, observation, figures, watermark=NOW))
        assert again.changes == []

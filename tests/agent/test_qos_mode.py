"""Limit mode QOS in the plan: tables of what should be, what is there and what was used, and the changes that follow."""

from dataclasses import replace
from typing import Any

import pytest

from bursar_agent import anchors, grants, plan, qosnames, settled, states
from bursar_agent.anchors import Unwatched
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import Figures, Situation
from bursar_agent.samples import Samples
from bursar_agent.schedulers.base import AccountView, Observation, Outcome, QosChange, QosView, Reading
from bursar_agent.shares import burdened, shares
from bursar_domain.ceiling import Sample
from bursar_domain.wire import AccountEntry, LimitState, TrackedResource
from bursar_testing.agents import account, allocation, cluster_settings
from bursar_testing.situations import HOUR, NOW, change, one, remembered, situation, view

QOS = cluster_settings("c", limit_mode="QOS")
CPU_AND_GPU = (
    TrackedResource(name="cpu", trackable="cpu", capacity=128),
    TrackedResource(name="gpu", trackable="gres/gpu", capacity=8),
)
FIRST, SECOND = (qosnames.name("c", "aa", uid) for uid in "xy")
LISTED = qosnames.ordered((FIRST, SECOND), FIRST)
BOTH = account("aa", allocation("x", 10, end=NOW + HOUR), allocation("y", 20))
OPEN = view(readings={"cpu": Reading(counter=70)}, qos_list=LISTED)
"""Its own counter decayed; its limits are those of its QOSes."""


def qos(name: str, limit: int | None, counter: int = 0, **fields: Any) -> QosView:
    """A QOS with a ceiling and the wall beside it."""
    wall = None if limit is None else max(1, limit - counter)
    reading = Reading(**({"limit": limit, "run_minutes_limit": wall, "counter": counter} | fields))
    return QosView(name, {"cpu": reading})


def seen(account_view: AccountView | None, *qoses: QosView) -> Observation:
    """What is there."""
    root = view("bursar", {"cpu": Reading()}, parent="root")
    views = {account_view.account: account_view} if account_view else {}
    return Observation(NOW, views, root, qoses={item.name: item for item in qoses})


def given(entry: AccountEntry, account_view: AccountView | None, *qoses: QosView, **fields: Any) -> Situation:
    """One account in QOS mode."""
    defaults: dict[str, Any] = {"settings": QOS, "observation": seen(account_view, *qoses)}
    return situation(entry, account_view, **(defaults | fields))


def known(entry: AccountEntry = BOTH, **fields: Any) -> dict[str, AccountMemory]:
    """After everything was written."""
    standing: dict[str, Any] = {"limits": {"cpu": -1}, "qos_list": LISTED}
    return remembered(entry, **(standing | fields))


def test_a_new_account_has_one_qos_for_each_allocation_and_its_own_limit_comes_off() -> None:
    found = change(given(BOTH, None))
    assert found.create
    assert found.limits == {"cpu": -1}
    assert found.qos_list == LISTED
    assert found.qoses == (
        QosChange(FIRST, create=True, description="bursar:x", tightens=True, run_minutes={"cpu": 600}),
        QosChange(FIRST, limits={"cpu": 600}),
        QosChange(SECOND, create=True, description="bursar:y", tightens=True, run_minutes={"cpu": 1200}),
        QosChange(SECOND, limits={"cpu": 1200}),
    )


def test_what_was_used_is_put_down_to_the_first_whichever_qos_it_ran_under() -> None:
    found = change(given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 1200, 240), used_hours=4, memories=known()))
    assert found.qoses == (
        QosChange(FIRST, limits={"cpu": 360}, run_minutes={"cpu": 360}, tightens=True),
        QosChange(SECOND, limits={"cpu": 1440}, run_minutes={"cpu": 1200}),
    )
    assert found.qos_list is None


def test_nothing_is_done_twice_and_the_state_is_what_all_may_use() -> None:
    right = given(BOTH, OPEN, qos(FIRST, 400, 40), qos(SECOND, 1400, 200), used_hours=4)
    made = plan.make(right)
    assert made.accounts["aa"].change is None
    (found,) = states.states(QOS, right.observation, made, {}, None, {}).values()
    assert found.limits == {"cpu": LimitState(limit=1800, counter=240, running=0)}
    memories = {"aa": made.accounts["aa"].memory}
    again = replace(right, memories=memories)
    kept = settled.settle({}, again, plan.make(again))
    assert settled.still(kept, again).keys() == {"aa"}
    moved = replace(again, observation=seen(OPEN, qos(FIRST, 400, 40), qos(SECOND, 1400, 260)))
    assert settled.still(kept, moved) == {}


def test_a_job_of_the_first_is_kept_back_in_the_second_where_others_used_its_hours_up() -> None:
    running = view(readings={"cpu": Reading(counter=600, running=500)}, qos_list=LISTED)
    found = one(
        given(BOTH, running, qos(FIRST, 600, 0, running=500), qos(SECOND, 1200, 600), used_hours=10, memories=known())
    ).memory
    assert found.qoses == {FIRST: {"cpu": 1}, SECOND: {"cpu": 600 + 1200 - 500}}


def test_jobs_under_no_qos_of_the_account_are_kept_back_too() -> None:
    running = view(readings={"cpu": Reading(limit=2000, counter=600, running=500)})
    found = one(given(BOTH, running, used_hours=10, memories=remembered(BOTH))).memory
    assert found.qoses == {FIRST: {"cpu": 1}, SECOND: {"cpu": 700}}


def test_the_default_moves_on_before_the_last_hours_are_used() -> None:
    nearly = given(BOTH, OPEN, qos(FIRST, 600, 540), qos(SECOND, 1200), used_hours=9)
    assert one(nearly).change is None
    figures = Figures(grants.charge(grants.lay_out(BOTH), {"cpu": [(NOW - HOUR, 9 * HOUR + 1860)]}))
    found = change(given(BOTH, OPEN, qos(FIRST, 600, 571), qos(SECOND, 1200), figures=figures))
    assert found.qos_list == qosnames.ordered((FIRST, SECOND), SECOND)


def test_an_allocation_that_is_over_leaves_the_list_and_lets_nothing_start() -> None:
    over = account("aa", allocation("x", 10, end=NOW - 900), allocation("y", 20))
    found = change(given(over, OPEN, qos(FIRST, 600), qos(SECOND, 1200)))
    assert found.qos_list == (SECOND,)
    assert found.qoses == (QosChange(FIRST, limits={"cpu": 1}, run_minutes={"cpu": 1}, tightens=True),)
    gone = account("aa", allocation("y", 20))
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    assert change(given(gone, OPEN, qos(FIRST, 600), qos(SECOND, 1200), memories=memory)).qoses == found.qoses


def test_an_account_without_an_active_allocation_is_closed_and_held() -> None:
    ended = account("aa", allocation("x", 10, end=NOW - 900))
    found = change(given(ended, replace(OPEN, qos_list=(FIRST,)), qos(FIRST, 600)))
    assert (found.limits, found.held, found.qos_list) == ({"cpu": 1}, True, None)
    assert found.qoses == (QosChange(FIRST, limits={"cpu": 1}, run_minutes={"cpu": 1}, tightens=True),)
    at_rest = replace(OPEN, held=True, readings={"cpu": Reading(limit=1, run_minutes_limit=1)}, qos_list=(FIRST,))
    assert one(given(ended, at_rest, qos(FIRST, 1))).change is None
    begun = change(given(account("aa", allocation("x", 10)), at_rest, qos(FIRST, 1)))
    assert (begun.limits, begun.held) == ({"cpu": -1}, False)


def test_what_others_edited_is_found_and_mended_or_reported() -> None:
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    edited = (qos(FIRST, 9_999), replace(qos(SECOND, 1200), is_lasting=False))
    foreign = replace(OPEN, qos_list=("normal",))
    found = one(given(BOTH, foreign, *edited, memories=memory))
    assert len(found.drift) == 3
    assert found.change is not None
    assert found.change.qos_list == LISTED
    assert found.change.qoses == (
        QosChange(FIRST, limits={"cpu": 600}, run_minutes={"cpu": 600}, tightens=True),
        QosChange(SECOND, lasting=True, tightens=True),
    )
    reports = QOS.model_copy(update={"drift_limits": "Report"})
    told = one(given(BOTH, foreign, *edited, memories=memory, settings=reports))
    assert told.drift == found.drift
    assert told.change is None


def test_between_reads_of_records_all_ceilings_move_or_none() -> None:
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    ran = {"used_hours": 4, "fresh": False, "memories": memory}
    assert one(given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 1200, 240), **ran)).change is None
    edited = change(given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 1500, 240), **ran))
    assert {item.name: item.limits["cpu"] for item in edited.qoses} == {FIRST: 360, SECOND: 240 + 1200}
    elsewhere = replace(OPEN, readings={"cpu": Reading(counter=70, running=300)})
    for around in ({"qos_list": ()}, {"own_qos": frozenset({"ann"})}):
        loose = one(given(BOTH, replace(elsewhere, **around), qos(FIRST, 600), qos(SECOND, 1200, 240), **ran)).memory
        assert loose.qoses == {FIRST: {"cpu": 60 + 1}, SECOND: {"cpu": 240 + 1200}}
    samples = {(SECOND, "cpu"): [Sample(NOW - 20, 240), Sample(NOW - 10, 0), Sample(NOW, 0)]}
    fallen = change(given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 960), samples=samples, **ran | {"memories": known()}))
    assert {item.name: item.limits["cpu"] for item in fallen.qoses} == {FIRST: 360, SECOND: 1200}


def test_a_shrink_that_takes_hours_away_counts_for_the_brake_and_a_move_between_qoses_does_not() -> None:
    moved = one(given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 1200, 240), used_hours=4, memories=known()))
    assert moved.counted == ()
    less = account("aa", allocation("x", 1, end=NOW + HOUR, revision=2), allocation("y", 20))
    assert one(given(less, OPEN, qos(FIRST, 600), qos(SECOND, 1200), memories=known())).counted == (
        "lower aa cpu from 1800 to 1260 minutes left",
    )


def test_to_qos_mode_nothing_is_taken_away_and_back_the_account_has_its_limit_first() -> None:
    limited = view(readings={"cpu": Reading(limit=2040, run_minutes_limit=1800, counter=240)})
    there = one(given(BOTH, limited, used_hours=4, memories=remembered(BOTH, limits={"cpu": 2040})))
    assert there.counted == ()
    assert there.change is not None
    assert (there.change.limits, there.change.run_minutes, there.change.qos_list) == ({"cpu": -1}, {"cpu": -1}, LISTED)
    qoses = (qos(FIRST, 360), qos(SECOND, 1200))
    settings = cluster_settings("c")
    back = change(given(BOTH, OPEN, *qoses, settings=settings, used_hours=4, memories={"aa": there.memory}))
    assert (back.limits, back.qos_list) == ({"cpu": 70 + 1560}, ())
    assert {(item.name, item.tightens, item.limits["cpu"]) for item in back.qoses} == {(FIRST, True, 1), (SECOND, True, 1)}


def test_what_an_allocation_does_not_list_is_closed_under_its_qos_if_another_lists_it() -> None:
    settings = QOS.model_copy(update={"resources": CPU_AND_GPU})
    entry = account("aa", allocation("x", 10), allocation("y", 0, granted={"cpu": 5, "gpu": 2}))
    found = one(given(entry, None, settings=settings)).memory
    assert found.limits == {"cpu": -1, "gres/gpu": -1}
    assert found.qoses == {FIRST: {"cpu": 600, "gres/gpu": 1}, SECOND: {"cpu": 300, "gres/gpu": 120}}
    plain = change(given(account("aa", allocation("x", 10)), None, settings=settings))
    assert (plain.limits, plain.concurrent) == ({"cpu": -1, "gres/gpu": 1}, {"gres/gpu": 0})


def test_in_a_soft_landing_the_list_is_left_and_its_end_gives_back_the_modes_own() -> None:
    landed = replace(OPEN, qos="landing", qos_list=("landing",))
    found = change(given(BOTH, landed, qos(FIRST, 600), qos(SECOND, 1200), memories=known(qos="landing")))
    assert (found.qos, found.qos_list) == ("", LISTED)


def test_after_a_soft_landing_the_list_is_right_also_where_drift_is_only_reported() -> None:
    reports, landed = QOS.model_copy(update={"drift_limits": "Report"}), replace(OPEN, qos="landing", qos_list=("landing",))
    qoses = (qos(FIRST, 600), qos(SECOND, 1200))
    found = one(given(BOTH, landed, *qoses, memories=known(qos="landing"), settings=reports))
    assert found.drift == ()
    assert found.change is not None
    assert (found.change.qos, found.change.qos_list, found.memory.qos_list) == ("", LISTED, LISTED)
    by_hand = one(given(BOTH, landed, *qoses, memories=known(), settings=reports))
    assert len(by_hand.drift) == 2
    assert by_hand.change is None


def test_a_member_with_qoses_of_its_own_loses_them() -> None:
    stray = replace(OPEN, members=frozenset({"ann"}), own_qos=frozenset({"ann"}))
    entry = account("aa", *BOTH.allocations, members=("ann",))
    found = one(given(entry, stray, qos(FIRST, 600), qos(SECOND, 1200), memories=known(entry)))
    assert found.change is not None
    assert found.change.inherit_qos == {"ann"}
    assert "QOSes of their own: ann" in found.drift[0]
    assert one(situation(entry, stray, settings=cluster_settings("c"))).drift == ()


def test_a_state_past_its_validity_only_tightens() -> None:
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    over = account("aa", allocation("x", 10, end=NOW - 900), allocation("y", 30))
    found = change(given(over, OPEN, qos(FIRST, 600), qos(SECOND, 1200), memories=memory, expired=True))
    assert found.qoses == (QosChange(FIRST, limits={"cpu": 1}, run_minutes={"cpu": 1}, tightens=True),)
    assert found.qos_list == (SECOND,)


@pytest.mark.parametrize("foreign", [(), ("normal",), ("normal", FIRST)])
def test_past_its_validity_a_list_without_ceilings_is_mended(foreign: tuple[str, ...]) -> None:
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    qoses = (qos(FIRST, 600), qos(SECOND, 1200))
    found = change(given(BOTH, replace(OPEN, qos_list=foreign), *qoses, memories=memory, expired=True))
    assert found.qos_list == LISTED
    fewer = given(BOTH, replace(OPEN, qos_list=(SECOND,)), *qoses, memories=memory, expired=True)
    assert one(fewer).change is None


def test_a_switch_of_the_mode_mends_what_would_undo_it_also_where_drift_is_only_reported() -> None:
    reports = QOS.model_copy(update={"drift_limits": "Report"})
    entry = account("aa", *BOTH.allocations, members=("ann",))
    limited = view(
        readings={"cpu": Reading(limit=1800, run_minutes_limit=1800)}, members=frozenset({"ann"}), own_qos=frozenset({"ann"})
    )
    there = one(given(entry, limited, memories=remembered(entry, limits={"cpu": 1800}), settings=reports))
    assert there.change is not None
    assert there.change.inherit_qos == {"ann"}
    edited = replace(OPEN, readings={"cpu": Reading(limit=99_999, counter=70)})
    memory = known(qoses={FIRST: {"cpu": 600}, SECOND: {"cpu": 1200}})
    account_mode = reports.model_copy(update={"limit_mode": "Account"})
    back = change(given(BOTH, edited, qos(FIRST, 600), qos(SECOND, 1200), memories=memory, settings=account_mode))
    assert (back.limits, back.qos_list) == ({"cpu": 70 + 1800}, ())


def test_a_scheduler_without_such_qoses_is_left_alone() -> None:
    found = one(situation(BOTH, OPEN, settings=QOS))
    assert "limitMode QOS" in found.error
    assert found.change is None


def test_use_that_only_counters_show_is_put_down_in_order() -> None:
    samples = {
        ("aa", "cpu"): [Sample(NOW - 600, 0), Sample(NOW, 120)],
        (SECOND, "cpu"): [Sample(NOW - 600, 0), Sample(NOW, 120)],
    }
    late = given(BOTH, OPEN, qos(FIRST, 600), qos(SECOND, 1200, 120), memories=known(), samples=samples, watermark=NOW - 600)
    assert one(late).memory.qoses == {FIRST: {"cpu": 480}, SECOND: {"cpu": 1320}}


def test_use_of_nobody_knows_when_is_taken_from_the_first_and_all_have_less_by_it() -> None:
    """Half an hour before a third one ran beside both for a while; one across its beginning, and thirteen across its end."""
    brief = allocation("z", 1, start=NOW - 1800, end=NOW - 900)
    entry = account("aa", allocation("x", 10, end=NOW + HOUR), allocation("y", 20), brief)
    grown = [(NOW - 3600, 0), (NOW - 2700, 30), (NOW - 1000, 90), (NOW, 870)]
    samples = {("aa", "cpu"): [Sample(at, minutes) for at, minutes in grown]}
    late = given(entry, OPEN, qos(FIRST, 600), qos(SECOND, 1200), memories=known(entry), samples=samples, watermark=NOW - 3600)
    assert one(late).memory.qoses == {FIRST: {"cpu": 1}, SECOND: {"cpu": 1800 - 870}}


@pytest.mark.parametrize(
    ("lefts", "amount", "expect"),
    [
        ((100, 200), 0, [100, 200]),
        ((100, 200), -5, [100, 200]),
        ((100, 200), 130, [0, 170]),
        ((-50, 200), 130, [-50, 70]),
        ((100, 200), 400, [0, 0]),
        ((), 7, []),
    ],
)
def test_a_burden_of_nobody_knows_when_is_taken_from_the_first_ones_first(
    lefts: tuple[int, ...], amount: int, expect: list[int]
) -> None:
    assert burdened(lefts, amount) == expect


def test_counters_of_all_qoses_make_one_count_and_each_has_its_own_falls() -> None:
    samples, names = Samples(), {"aa": (FIRST, SECOND)}

    def take(at: int, first: int, second: int | None, own: int) -> int:
        shown = view(readings={"cpu": Reading(counter=own)})
        qoses = [qos(FIRST, 600, first), *([] if second is None else [qos(SECOND, 600, second)])]
        samples.take(replace(seen(shown, *qoses), time=at), QOS.resources, ["aa"], names)
        return samples.series["aa", "cpu"][-1].minutes

    begin = take(0, 100, None, 50)
    assert take(60, 130, None, 40) == begin + 30  # the account's own decays
    assert not samples.is_any_lost
    assert take(120, 130, 20, 60) == begin + 50  # one that is new began at 0
    assert take(180, 130, 20, 90) == begin + 80  # jobs under none of them
    assert take(240, 5, 25, 90) == begin + 80 + 5 + 5 + 128  # a fall may hide a minute of the whole machine
    assert samples.is_any_lost
    assert not samples.has_begun_anew
    samples.take(seen(OPEN), QOS.resources, ["aa"])
    assert samples.has_begun_anew
    assert samples.series == {("aa", "cpu"): [Sample(NOW, 70)]}  # in account mode the counter is what it is


def test_where_nobody_watched_the_machine_may_have_worked_for_the_account() -> None:
    charged = grants.charge(grants.lay_out(BOTH), {})
    (memory,) = known().values()
    unwatched = Unwatched(charged, replace(memory, limits={"cpu": 1800}), NOW - 60, has_qoses=True)
    assert anchors.anchor(unwatched, QOS.resources[0], Sample(NOW, 10), 0) == Sample(NOW - 60, 10 - 128)


def test_what_is_remembered_survives_a_restart_and_older_memories_load() -> None:
    (memory,) = known(qoses={FIRST: {"cpu": 600}}).values()
    assert AccountMemory.load(memory.dump()) == memory
    old = {name: value for name, value in memory.dump().items() if name not in ("qoses", "qos_list")}
    assert AccountMemory.load(old) == replace(memory, qoses={}, qos_list=())


def test_a_ceiling_that_is_not_proven_is_reported_as_it_stands() -> None:
    there = given(BOTH, OPEN, qos(FIRST, 500), qos(SECOND, 1200), used_hours=0, memories=known())
    made = plan.make(there)
    failed = {"aa": Outcome("aa", done=False, error="no")}
    (found,) = states.states(QOS, there.observation, made, failed, None, {}).values()
    assert (found.state, found.limits["cpu"].limit) == ("Failed", 1700)
    proven = {"aa": Outcome("aa", done=True)}
    (found,) = states.states(QOS, there.observation, made, proven, None, {}).values()
    assert (found.state, found.limits["cpu"].limit) == ("Enforced", 1800)


@pytest.mark.parametrize(
    ("lefts", "running", "elsewhere", "rooms"),
    [
        ((100, 200), (0, 0), 0, [100, 200]),
        ((100, 200), (80, 0), 0, [100, 200]),
        ((0, 1200), (500, 0), 0, [0, 700]),
        ((-50, 200), (0, 0), 0, [0, 150]),
        ((100, 200), (0, 0), 120, [0, 180]),
    ],
)
def test_what_jobs_may_still_use_is_kept_back_where_it_will_be_missing(
    lefts: tuple[int, ...], running: tuple[int, ...], elsewhere: int, rooms: list[int]
) -> None:
    assert shares(lefts, running, elsewhere) == rooms

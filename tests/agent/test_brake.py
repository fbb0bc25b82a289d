"""The brake: how much is too much, and whom it lets through."""

import pytest

from bursar_agent import brake
from bursar_agent.brake import Engaged
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import AccountPlan, Plan
from bursar_domain.wire import Root
from bursar_testing.agents import cluster_settings

SETTINGS = cluster_settings("c")


def root(generation: int, acknowledged: int = 0) -> Root:
    return Root(cluster="c", epoch=1, generation=generation, acknowledged=acknowledged, issued_at=0, valid_until=1, digest="")


def lowering(*names: str) -> Plan:
    return Plan({name: AccountPlan(name, AccountMemory(name), counted=(f"lower {name}",)) for name in names})


@pytest.mark.parametrize(
    ("changes", "owned", "stops"),
    [(2, 3, False), (3, 29, True), (3, 30, False), (4, 30, True), (100, 1000, False), (101, 1000, True), (0, 0, False)],
)
def test_more_than_a_tenth_and_not_just_a_few(changes: int, owned: int, stops: bool) -> None:
    plan = lowering(*(f"a{n}" for n in range(changes)))
    verdict = brake.judge(SETTINGS, root(7), plan, owned, None)
    assert verdict.may_run is not stops
    if verdict.brake is not None:
        assert verdict.brake.generation == 7
        assert "bursar.dev/acknowledged-generation=7" in verdict.brake.message


def test_a_person_releases_the_generation_that_was_stopped_whatever_came_since() -> None:
    plan = lowering("a", "b", "c")
    stopped = brake.judge(SETTINGS, root(7), plan, 5, None)
    assert not brake.judge(SETTINGS, root(8, acknowledged=6), plan, 5, stopped.engaged).may_run
    assert brake.judge(SETTINGS, root(9, acknowledged=7), plan, 5, stopped.engaged).may_run


def test_a_release_does_not_cover_accounts_that_were_not_in_it() -> None:
    before = Engaged(7, frozenset({"a", "b", "c"}))
    verdict = brake.judge(SETTINGS, root(9, acknowledged=7), lowering("a", "b", "d"), 5, before)
    assert not verdict.may_run
    assert verdict.engaged == Engaged(9, frozenset({"a", "b", "d"}))


def test_the_cluster_sets_the_share() -> None:
    lenient = cluster_settings("c", brake_max_change_percent=50, brake_minimum_changes=1)
    assert brake.judge(lenient, root(1), lowering("a"), 2, None).may_run
    assert not brake.judge(lenient, root(1), lowering("a", "b"), 3, None).may_run

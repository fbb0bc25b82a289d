"""The checker against histories by hand: a good one is clean, and each way to break a promise is found by its rule."""

from collections.abc import Callable

import pytest

from bursar_testing.checker.verdict import Terms, Verdict, judge
from bursar_testing.checker.world import Finding
from bursar_testing.checkerhistory import Hand, lowered, raised, tree

Story = Callable[[Hand], None]
CALM = Terms(calm=((0.0, 1e9),))


def verdict(*stories: Story, terms: Terms = CALM) -> Verdict:
    hand = tree()
    for story in stories:
        story(hand)
    hand.poll()
    return judge(hand.history(), terms)


def rules(found: Verdict) -> set[tuple[str, str]]:
    return {(finding.kind, finding.rule) for finding in found.findings}


def asked(hand: Hand) -> None:
    hand.allocation("a", 40, "leaf")


def in_place(hand: Hand) -> None:
    """One allocation of 40 hours, all done."""
    asked(hand)
    raised(hand, "a", 0, 40, 1, 0, 1)


def deleted(hand: Hand) -> None:
    """It goes, 5 of its hours stay spent."""
    hand.deletes("a")
    hand.granted("a", 0, 40, 2, 1)
    hand.told("a", 0, 2)
    for pool in ("root", "leaf"):
        hand.opened(pool, 40, 2, "a", 40, 0, 5)
    hand.granted("a", 0, 0, 2, 2)
    for pool in ("leaf", "root"):
        hand.closed(pool, 5, "a", spent={"cpu": 5})
    hand.goes("a")
    hand.poll(told=[{"uid": "a", "cluster": "alpha", "generation": 9, "revision": None, "granted": {}}], graves=["a"])


def shrunk(hand: Hand) -> None:
    hand.asks("a", 10)
    lowered(hand, "a", 40, 10, 2, 40, 2)


def voided(hand: Hand) -> None:
    """Opened at the root, did not fit at the leaf, voided, closed."""
    hand.allocation("b", 30, "leaf")
    hand.opened("root", 70, 2, "b", 0, 30)
    hand.granted("b", 0, 0, 0, 2, 0)
    hand.closed("root", 40, "b")
    hand.refused("b", "QuotaExceeded")


@pytest.mark.parametrize("stories", [(in_place,), (in_place, shrunk), (in_place, voided), (in_place, deleted)])
def test_good_histories_are_clean(stories: tuple[Story, ...]) -> None:
    found = verdict(*stories)
    assert list(found.findings) == []
    assert found.grants > 0


# I1


def charge_beyond_the_pool(hand: Hand) -> None:
    hand.book("root", granted={"cpu": 39})


def leaf_above_its_parent(hand: Hand) -> None:
    hand.book("leaf", granted={"cpu": 50})


def open_over_the_limit(hand: Hand) -> None:
    hand.allocation("b", 70, "leaf")
    hand.opened("root", 110, 2, "b", 0, 70)


def project_over_its_cap(hand: Hand) -> None:
    hand.pool("capped", 100, perProject=[{"name": "cpu", "hours": 20}])
    hand.allocation("b", 30, "capped")
    hand.opened("capped", 30, 1, "b", 0, 30)


def project_over_its_cap_with_what_it_used(hand: Hand) -> None:
    """15 of 20 hours were used by an allocation that went; 10 more are too many."""
    hand.pool("capped", 100, perProject=[{"name": "cpu", "hours": 20}])
    hand.allocation("b", 20, "capped")
    hand.opened("capped", 20, 1, "b", 0, 20)
    hand.granted("b", 20, 20, 1, 1)
    hand.closed("capped", 20, "b")
    hand.deletes("b")
    hand.granted("b", 0, 20, 2, 1)
    hand.opened("capped", 20, 2, "b", 20, 0, 15)
    hand.granted("b", 0, 0, 2, 2)
    hand.closed("capped", 15, "b", spent={"cpu": 15})
    hand.goes("b")
    hand.allocation("c", 10, "capped")
    hand.opened("capped", 25, 3, "c", 0, 10)


# I2


def granted_beyond_the_charge(hand: Hand) -> None:
    hand.granted("a", 41, 40, 2, 1)


def charged_without_an_operation(hand: Hand) -> None:
    hand.asks("a", 20)
    hand.granted("a", 20, 20, 2, 2)


def charged_on_half_the_path(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    hand.granted("b", 10, 10, 1, 2)


def charged_twice_by_one_operation(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    hand.opened("leaf", 50, 2, "b", 0, 10)
    hand.granted("b", 10, 10, 1, 2)
    hand.granted("b", 10, 20, 1, 2)


def told_more_than_is_charged(hand: Hand) -> None:
    hand.told("a", 50, 1)


def told_for_too_long(hand: Hand) -> None:
    """Released while agents are still told the old grant."""
    hand.asks("a", 10)
    hand.granted("a", 10, 40, 2, 1)
    for pool in ("root", "leaf"):
        hand.opened(pool, 40, 2, "a", 40, 10)
    hand.granted("a", 10, 10, 2, 2)
    hand.poll()
    hand.poll()


def released_before_the_agent_knew(hand: Hand) -> None:
    hand.asks("a", 10)
    hand.granted("a", 10, 40, 2, 1)
    hand.told("a", 10, 2, acknowledged=False)
    for pool in ("root", "leaf"):
        hand.opened(pool, 40, 2, "a", 40, 10)
    hand.granted("a", 10, 10, 2, 2)
    hand.poll()


def torn_away(hand: Hand) -> None:
    hand.goes("a")


# I3


def charge_that_stays(hand: Hand) -> None:
    hand.deletes("a")
    hand.granted("a", 0, 40, 2, 1)
    hand.told("a", 0, 2)
    hand.refused("a", "Deleting")
    hand.wait(700)


def hours_that_leak(hand: Hand) -> None:
    deleted(hand)
    hand.book("root", granted={"cpu": 6})
    hand.wait(700)


def ghost(hand: Hand) -> None:
    """The object is gone and its operation stays open."""
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    hand.goes("b")
    hand.wait(700)


# I4


def late(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.wait(6)


def refused_though_it_fits(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.refused("b", "QuotaExceeded")
    hand.wait(6)


# I5


def total_without_a_reason(hand: Hand) -> None:
    hand.opened("root", 55, 2, "b", 0, 10)


def vanished(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    hand.closed("root", 40, "b")


def number_used_twice(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 1, "b", 0, 10)


def leaf_opens_first(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("leaf", 50, 2, "b", 0, 10)


def older_term(hand: Hand) -> None:
    hand.book("root", epoch=0)


def close_that_takes_too_much(hand: Hand) -> None:
    """A void gives back the charge, too."""
    hand.asks("a", 50)
    hand.opened("root", 50, 2, "a", 40, 50)
    hand.granted("a", 40, 40, 1, 2, 1)
    hand.closed("root", 30, "a")


def spent_comes_back(hand: Hand) -> None:
    deleted(hand)
    hand.book("root", spent={"cpu": 2}, granted={"cpu": 5})


def changed_while_open(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    intents = [{**hand.objects["quotapools/root"]["status"]["intents"][0], "to": [{"name": "cpu", "hours": 5}]}]
    hand.book("root", intents=intents)


def taken_back_twice(hand: Hand) -> None:
    """It gave its hours back and went, and is taken for one that was torn away."""
    deleted(hand)
    for pool in ("root", "leaf"):
        hand.opened(pool, 5, 3, "a", 40, 0)


def stored_by_a_dry_run(hand: Hand) -> None:
    hand.allocation("b", 0, "leaf", labels={"faults.bursar.dev/dry-run": "1"})


MUTANTS: dict[str, list[Story]] = {
    "I1": [
        charge_beyond_the_pool, leaf_above_its_parent, open_over_the_limit, project_over_its_cap,
        project_over_its_cap_with_what_it_used,
    ],
    "I2": [
        granted_beyond_the_charge, charged_without_an_operation, charged_on_half_the_path, charged_twice_by_one_operation,
        told_more_than_is_charged, told_for_too_long, released_before_the_agent_knew, torn_away,
    ],
    "I3": [charge_that_stays, hours_that_leak, ghost],
    "I4": [late, refused_though_it_fits],
    "I5": [
        total_without_a_reason, vanished, number_used_twice, leaf_opens_first, older_term, close_that_takes_too_much,
        spent_comes_back, changed_while_open, taken_back_twice,
    ],
    "dry-run": [stored_by_a_dry_run],
}  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "story"),
    [pytest.param(rule, story, id=f"{rule}-{story.__name__}") for rule, many in MUTANTS.items() for story in many],
)
def test_each_broken_promise_is_found(rule: str, story: Story) -> None:
    terms = Terms(calm=CALM.calm, at_rest=False)
    assert ("violation", rule) in rules(verdict(in_place, story, terms=terms))


def undecided(hand: Hand) -> None:
    hand.allocation("b", 90, "leaf")
    hand.refused("b", "Waiting")


def forgotten(hand: Hand) -> None:
    hand.allocation("b", 90, "leaf")


def answered_an_older_question(hand: Hand) -> None:
    hand.allocation("b", 90, "leaf")
    hand.refused("b", "QuotaExceeded")
    hand.asks("b", 95)


@pytest.mark.parametrize("story", [undecided, forgotten, answered_an_older_question, refused_though_it_fits])
def test_what_is_lost_is_found(story: Story) -> None:
    assert ("lost", "lost") in rules(verdict(in_place, story))


def hangs(hand: Hand) -> None:
    hand.deletes("a")


def never_released(hand: Hand) -> None:
    hand.asks("a", 10)
    hand.granted("a", 10, 40, 2, 1)
    hand.told("a", 10, 2)


def never_told(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)
    hand.opened("leaf", 50, 2, "b", 0, 10)
    hand.granted("b", 10, 10, 1, 2)
    hand.closed("leaf", 50, "b")
    hand.closed("root", 50, "b")


def left_open(hand: Hand) -> None:
    hand.allocation("b", 10, "leaf")
    hand.opened("root", 50, 2, "b", 0, 10)


def no_grave(hand: Hand) -> None:
    deleted(hand)
    hand.lines[-1]["graves"] = []


@pytest.mark.parametrize("story", [hangs, never_released, never_told, left_open, no_grave])
def test_what_is_stuck_is_found(story: Story) -> None:
    assert ("stuck", "stuck") in rules(verdict(in_place, story))


def test_a_pool_that_is_counted_anew_has_a_reason() -> None:
    def recounted(hand: Hand) -> None:
        deleted(hand)
        hand.book("root", granted={"cpu": 6})
        hand.book("root", granted={"cpu": 5})

    found = [finding.words for finding in verdict(in_place, recounted).findings]
    assert len(found) == 1, found
    assert "{'cpu': 1} of it without a reason" in found[0]


def test_what_waits_behind_a_request_that_waits_long_is_not_late() -> None:
    def behind(hand: Hand) -> None:
        hand.allocation("big", 65, "leaf")
        hand.refused("big", "QuotaExceeded")
        hand.wait(700)
        hand.allocation("b", 10, "leaf")
        hand.wait(6)

    terms = Terms(calm=CALM.calm, at_rest=False)
    assert list(verdict(in_place, behind, terms=terms).findings) == []


def led_again(hand: Hand) -> None:
    """Nobody leads for a while, then somebody does and claims the pools."""
    hand.renewals(1)
    hand.allocation("b", 10, "leaf")
    hand.wait(20)
    hand.renewals(1)
    hand.wait(3)
    for pool in ("root", "leaf"):
        hand.book(pool, epoch=2)
    hand.wait(4)


def led_and_idle(hand: Hand) -> None:
    led_again(hand)
    hand.renewals(4)


def test_time_without_a_leader_is_not_counted() -> None:
    terms = Terms(calm=CALM.calm, at_rest=False)
    assert list(verdict(in_place, led_again, terms=terms).findings) == []
    assert rules(verdict(in_place, led_and_idle, terms=terms)) == {("violation", "I4")}


def test_time_with_faults_is_not_counted() -> None:
    terms = Terms(calm=((0.0, 1010.0),), at_rest=False)
    assert list(verdict(in_place, late, terms=terms).findings) == []


def test_what_was_missed_is_said() -> None:
    hand = tree()
    hand.lines.append({"kind": "gap", "at": hand.now, "words": "write 3 of a follows write 1"})
    assert judge(hand.history(), Terms()).findings == [Finding("violation", "gap", 0, "write 3 of a follows write 1")]

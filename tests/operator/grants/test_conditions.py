"""Conditions and status of an allocation: what they say, and when they are worth a write."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from bursar_crds.reasons import Reason
from bursar_domain.room import Problem, room
from bursar_operator.domain import standing
from bursar_operator.domain.standing import Standing
from bursar_operator.ledgerview import Figures
from bursar_testing.grantrows import END, LOWERED, NOW, SETTLED, START, book, facts, row


def judged(**fields: Any) -> dict[str, tuple[str, str]]:
    of = fields.pop("of", row())
    base = Standing(facts(of, **fields.pop("facts", {})), of.state, NOW, "alpha")
    found = standing.conditions(replace(base, **fields), [])
    assert found[0]["type"] == "Ready"
    assert all(item["message"].endswith(".") for item in found)
    return {item["type"]: (item["status"], item["reason"]) for item in found}


def test_a_granted_and_enforced_allocation_is_ready() -> None:
    assert judged() == {"Ready": ("True", "Ready"), "Granted": ("True", "Granted"), "Enforced": ("True", "Enforced")}


def test_what_was_unusual_once_stays_and_says_that_it_is_over() -> None:
    base = Standing(facts(row()), row().state, NOW, "alpha")
    odd = standing.conditions(replace(base, now=END, figures=Figures(exhausted=True, overdrawn=True, usage_stale=True)), [])
    assert {item["type"]: item["status"] for item in odd if item["reason"] not in standing.USUAL} == {
        "Ready": "False", "Granted": "True", "Enforced": "True",
        "Expired": "True", "Exhausted": "True", "Overdrawn": "True", "UsageStale": "True",
    }  # fmt: skip
    calm = standing.conditions(base, odd)
    assert {item["type"]: (item["status"], item["reason"]) for item in calm} == {
        "Ready": ("True", "Ready"),
        "Granted": ("True", "Granted"),
        "Enforced": ("True", "Enforced"),
        "Exhausted": ("False", "NotExhausted"),
        "Overdrawn": ("False", "NotOverdrawn"),
        "Expired": ("False", "Active"),
        "UsageStale": ("False", "UsageCurrent"),
    }
    assert standing.urgent({"conditions": odd}, {"conditions": calm})


@pytest.mark.parametrize(
    ("fields", "type_", "expected"),
    [
        ({"facts": {"ack": 2}}, "Enforced", ("False", "Enforcing")),
        ({"facts": {"ack": 2}}, "Ready", ("False", "Enforcing")),
        ({"facts": {"not_enforced": True}}, "Ready", ("False", "AgentNeverEnrolled")),
        ({"facts": {"not_enforced": True}, "observed": True}, "Enforced", ("False", "NotEnforced")),
        ({"facts": {"not_enforced": True}, "observed": True}, "Ready", ("True", "Ready")),
        ({"of": row(20), "causes": room([book().pool], {"cpu": 200}, {"cpu": 10})}, "Granted", ("False", "QuotaExceeded")),
        ({"of": row(20), "problem": Problem(Reason.NO_POOL, "none.")}, "Ready", ("False", "NoPool")),
        ({"of": row(20), "counted": False}, "Granted", ("False", "EpochPending")),
        ({"of": row(4, LOWERED)}, "Granted", ("True", "Releasing")),
        ({"of": row(deleting=True)}, "Ready", ("False", "Deleting")),
        ({"now": END}, "Expired", ("True", "Expired")),
        ({"now": END}, "Ready", ("False", "Expired")),
        ({"now": START - timedelta(days=1)}, "Expired", ("False", "NotStarted")),
        ({"figures": Figures(exhausted=True)}, "Exhausted", ("True", "Exhausted")),
        ({"figures": Figures(overdrawn=True)}, "Overdrawn", ("True", "Overdrawn")),
        ({"figures": Figures(usage_stale=True)}, "UsageStale", ("True", "UsageStale")),
    ],
)  # fmt: skip
def test_conditions(fields: dict[str, Any], type_: str, expected: tuple[str, str]) -> None:
    assert judged(**fields)[type_] == expected


def status_with(used: int, cpu: int = 1000) -> dict[str, Any]:
    state = replace(SETTLED, granted={"cpu": cpu}, charged={"cpu": cpu})
    of = row(cpu, state)
    figures = Figures(used={"cpu": used}, available={"cpu": cpu - used})
    return standing.status(Standing(facts(of), of.state, NOW, "alpha", figures=figures), {})


@pytest.mark.parametrize(("used", "moves"), [(100, False), (109, False), (110, True), (90, True)])
def test_figures_are_worth_a_write_from_one_percent_on(used: int, moves: bool) -> None:
    before, after = status_with(100), status_with(used)
    assert standing.moved(before, after) is moves
    assert not standing.urgent(before, after)


@pytest.mark.parametrize(("used", "moves"), [(10, False), (11, True)])
def test_one_percent_is_of_the_window_that_runs(used: int, moves: bool) -> None:
    """A twelfth of the grant and what was carried in: 100 hours of 1,000."""

    def status(used: int) -> dict[str, Any]:
        figures = Figures(
            used={"cpu": used},
            window_hours={"cpu": 80},
            carried={"cpu": 20},
            window_start=START,
            window_end=END,
        )
        state = replace(SETTLED, granted={"cpu": 1000}, charged={"cpu": 1000})
        return standing.status(Standing(facts(row(1000, state)), state, NOW, "alpha", figures=figures), {})

    assert standing.moved(status(10), status(used)) is moves


def test_a_flipped_condition_is_urgent() -> None:
    of = row()
    calm = standing.status(Standing(facts(of), of.state, NOW, "alpha"), {})
    flipped = standing.status(Standing(facts(of), of.state, NOW, "alpha", figures=Figures(exhausted=True)), calm)
    assert standing.urgent(calm, flipped)
    assert standing.status(Standing(facts(of), of.state, NOW, "alpha"), calm) == calm

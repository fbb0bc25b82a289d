"""Bad manifests as a person applies them with kubectl: refused with the field and with what to do about it."""

from dataclasses import dataclass
from typing import Any

import pytest
import yaml

from bursar_domain.validate import validate
from bursar_local.kubectl import Kubectl
from bursar_testing.samples import load_sample


@dataclass(frozen=True)
class Bad:
    """A change of a sample, what kubectl says, and the field that the Python side names."""

    sample: str
    changes: dict[str, Any]
    said: tuple[str, ...]
    field: str


def hours(value: Any, name: str = "cpu") -> dict[str, Any]:
    """One resource."""
    return {"resources": [{"name": name, "hours": value}]}


def period(start: str, end: str) -> dict[str, Any]:
    """A span."""
    return {"period": {"start": start, "end": end}}


NOON = "2026-10-01T12:00:00Z"
ACCOUNT_WORDS = "an account is 2 to 32 of a-z, 0-9 and -"
USER_WORDS = "a user is 1 to 31 of a-z, 0-9, _ and -"

TABLE = {
    "unknown field": Bad("allocation-minimal", {"hourz": 5}, ('unknown field "spec.hourz"',), "spec.hourz"),
    "unknown field in a list": Bad(
        "allocation-minimal",
        {"resources": [{"name": "cpu", "hours": 5, "minutes": 1}]},
        ('unknown field "spec.resources[0].minutes"',),
        "spec.resources[0].minutes",
    ),
    "negative hours": Bad(
        "allocation-minimal", hours(-5), ("spec.resources[0].hours", "greater than or equal to 1"), "spec.resources[0].hours"
    ),
    "no hours": Bad(
        "allocation-minimal", hours(0), ("spec.resources[0].hours", "greater than or equal to 1"), "spec.resources[0].hours"
    ),
    "fractional hours": Bad(
        "allocation-minimal", hours(1.5), ("spec.resources[0].hours", "must be of type int64"), "spec.resources[0].hours"
    ),
    "hours as text": Bad(
        "allocation-minimal", hours("5"), ("spec.resources[0].hours", "must be of type integer"), "spec.resources[0].hours"
    ),
    "too many hours": Bad(
        "allocation-minimal", hours(10**11 + 1), ("spec.resources[0].hours", "less than or equal to"), "spec.resources[0].hours"
    ),
    "negative hours of a pool": Bad(
        "quotapool-minimal", hours(-1), ("spec.resources[0].hours", "greater than or equal to 0"), "spec.resources[0].hours"
    ),
    "end before start": Bad(
        "allocation-minimal",
        period("2027-10-01T00:00:00Z", "2026-10-01T00:00:00Z"),
        ("spec.period.end", "the end must come after the start; swap them or move the end"),
        "spec.period.end",
    ),
    "empty period": Bad(
        "quotapool-minimal", period(NOON, NOON), ("spec.period.end", "the end must come after the start"), "spec.period.end"
    ),
    "off the quarter hour": Bad(
        "allocation-minimal",
        period("2026-10-01T00:05:00Z", "2027-10-01T00:00:00Z"),
        ("spec.period.start", "must lie on a quarter hour"),
        "spec.period.start",
    ),
    "resource twice": Bad(
        "allocation-minimal",
        {"resources": [{"name": "cpu", "hours": 5}, {"name": "cpu", "hours": 6}]},
        ("spec.resources[1]", "Duplicate value"),
        "spec.resources",
    ),
    "resource in capitals": Bad(
        "allocation-minimal", hours(5, "CPU"), ("spec.resources[0].name", "a resource's name is"), "spec.resources[0].name"
    ),
    "no resources": Bad("allocation-minimal", {"resources": []}, ("spec.resources", "at least 1 items"), "spec.resources"),
    "account folded": Bad("project-complete", {"account": "QCD"}, ("spec.account", ACCOUNT_WORDS), "spec.account"),
    "account split": Bad("project-complete", {"account": "qcd,root"}, ("spec.account", ACCOUNT_WORDS), "spec.account"),
    "account expanded": Bad("project-complete", {"account": "qcd[1-9]"}, ("spec.account", ACCOUNT_WORDS), "spec.account"),
    "account an option": Bad("project-complete", {"account": "grptres=1"}, ("spec.account", ACCOUNT_WORDS), "spec.account"),
    "account too long": Bad(
        "project-complete", {"account": "q" * 33}, ("spec.account", "may not be more than 32"), "spec.account"
    ),
    "account of the scheduler": Bad(
        "project-complete", {"account": "root"}, ("spec.account", "root is the scheduler's own account"), "spec.account"
    ),
    "namespace of the system": Bad(
        "project-complete", {"namespace": "kube-system"}, ("spec.namespace", "belongs to the system"), "spec.namespace"
    ),
    "owner with an option": Bad("project-minimal", {"owner": "bob=1"}, ("spec.owner", USER_WORDS), "spec.owner"),
    "member in capitals": Bad("membership-minimal", {"user": "Bob"}, ("spec.user", USER_WORDS), "spec.user"),
    "role that is none": Bad("membership-minimal", {"role": "King"}, ("spec.role", '"Owner"'), "spec.role"),
    "root account expanded": Bad(
        "cluster-minimal",
        {"scheduler": {"type": "slurm", "rootAccount": "a[1-3]"}},
        ("spec.scheduler.rootAccount", ACCOUNT_WORDS),
        "spec.scheduler.rootAccount",
    ),
    "list for an open cluster": Bad(
        "cluster-minimal",
        {"access": {"mode": "Open", "projects": ["climate"]}},
        ("spec.access.projects", "Open takes none"),
        "spec.access.projects",
    ),
    "clears too late": Bad(
        "allocation-minimal",
        {"thresholds": [{"percent": 80, "basis": "Used", "action": "Notify", "clearBelowPercent": 80}]},
        ("spec.thresholds[0].clearBelowPercent", "must be lower than percent"),
        "spec.thresholds[0].clearBelowPercent",
    ),
    "tranche of both kinds": Bad(
        "allocation-minimal",
        {"tranches": [{"from": NOON, "gate": "report", "percent": 100}]},
        ("spec.tranches[0]", "give exactly one of from and gate"),
        "spec.tranches[0]",
    ),
    "tranches that do not add up": Bad(
        "allocation-minimal",
        {"tranches": [{"gate": "report", "percent": 60}]},
        ("spec.tranches", "must add up to 100 percent"),
        "spec.tranches",
    ),
    "tranche after the end": Bad(
        "allocation-minimal",
        {"tranches": [{"from": "2099-10-01T12:00:00Z", "percent": 100}]},
        ("spec.tranches", "a tranche opens inside the period; move its date"),
        "spec.tranches",
    ),
    "pool below itself": Bad(
        "quotapool-minimal", {"parentRef": {"name": "bad"}}, ("spec.parentRef", "cannot be its own parent"), "spec.parentRef"
    ),
}


def changed(bad: Bad) -> dict[str, Any]:
    """The sample with the changes."""
    document = load_sample(bad.sample)
    document["metadata"]["name"] = "bad"
    return document | {"spec": document["spec"] | bad.changes}


@pytest.mark.parametrize("case", sorted(TABLE))
async def test_kubectl_apply_is_refused_with_field_and_remedy(kubectl: Kubectl, namespaces: None, case: str) -> None:
    bad = TABLE[case]
    answer = await kubectl("apply", "-f", "-", input=yaml.safe_dump(changed(bad)), check=False)
    assert answer.return_code != 0
    for words in bad.said:
        assert words in answer.stderr


@pytest.mark.parametrize("case", sorted(TABLE))
def test_python_side_names_the_same_field_with_a_remedy(case: str) -> None:
    found = validate(changed(TABLE[case]))
    named = [item for item in found if item.field == TABLE[case].field]
    assert named, found
    assert all(len(item.message) > 15 for item in named)

"""The one validator: what is not built yet, what an update may keep, what an object's neighbours must be."""

import copy
from typing import Any

import pytest

from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Resource
from bursar_crds.kinds import model_of
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain import references
from bursar_domain.unsupported import UNBUILT, unsupported
from bursar_domain.validate import (
    validate,
    validate_allocation,
    validate_cluster,
    validate_membership,
    validate_project,
    validate_quotapool,
)
from bursar_domain.violations import Violation
from bursar_testing.samples import load_sample

Document = dict[str, Any]


def sample(name: str, **spec: Any) -> Document:
    """A sample with some of its spec changed."""
    document = load_sample(name)
    return document | {"spec": document["spec"] | spec}


NOT_BUILT: list[tuple[str, Document, str]] = [
    ("allocation", {"concurrency": [{"name": "cpu", "count": 5}]}, "spec.concurrency"),
    ("allocation", {"perMember": [{"name": "cpu", "hours": 5}]}, "spec.perMember"),
    ("allocation", {"stopPolicy": "Hold"}, "spec.stopPolicy"),
    ("cluster", {"drift": {"limits": "Adopt"}}, "spec.drift.limits"),
    ("cluster", {"drift": {"members": "Adopt"}}, "spec.drift.members"),
    ("cluster", {"drift": {"qos": "Enforce"}}, "spec.drift.qos"),
    ("cluster", {"stopPolicy": "HoldAndDrain"}, "spec.stopPolicy"),
    ("project", {"stopPolicy": "Hold"}, "spec.stopPolicy"),
]

SUPPORTED: list[tuple[str, Document]] = [
    ("allocation", {"thresholds": [{"percent": 80, "basis": "Used", "action": "Notify", "clearBelowPercent": 75}]}),
    ("allocation", {"thresholds": [{"percent": 100, "basis": "Used", "action": "Hold"}]}),
    ("allocation", {"debt": "CarryDebt", "grace": {"overusePercent": 0, "afterEndDays": 0}, "stopPolicy": "None"}),
    ("allocation", {"recurrence": {"every": "Month", "timeZone": "Europe/London"}, "carryOver": {"percent": 10}}),
    ("allocation", {"thresholds": [{"percent": 90, "basis": "Committed", "action": "SoftLand"}]}),
    ("allocation", {"grace": {"overusePercent": 1, "afterEndDays": 1}, "debt": "Absorb"}),
    ("allocation", {"tranches": [{"gate": "report", "percent": 100}], "openedGates": ["report"]}),
    ("quotapool", {"parentRef": {"name": "root"}, "projects": ["climate"], "overcommitPercent": 0}),
    ("cluster", {"access": {"mode": "DenyList", "projects": ["climate"]}, "enforcement": "Observe"}),
    ("cluster", {"brake": {"maxChangePercent": 20, "minimumChanges": 5}, "drift": {"limits": "Report", "qos": "Report"}}),
    ("cluster", {"billing": {"version": 1, "scale": 1000, "weights": [{"name": "cpu", "weight": 1500}]}}),
    ("cluster", {"limitMode": "QOS"}),
    ("membership", {"until": "2027-01-01T00:00:00Z"}),
]


@pytest.mark.parametrize(("kind", "spec", "field"), NOT_BUILT)
def test_what_is_not_built_is_refused(kind: str, spec: Document, field: str) -> None:
    found = validate(sample(f"{kind}-minimal", **spec))
    assert [(item.field, item.reason) for item in found] == [(field, Reason.NOT_YET_SUPPORTED)]
    assert "is not supported yet; " in found[0].message


@pytest.mark.parametrize(("kind", "spec"), SUPPORTED)
def test_what_is_built_is_taken(kind: str, spec: Document) -> None:
    assert validate(sample(f"{kind}-minimal", **spec)) == []


@pytest.mark.parametrize(
    ("spec", "field", "words"),
    [
        ({"recurrence": {"every": "Month", "timeZone": "Mars/Base"}}, "spec.recurrence", "no time zone Mars/Base"),
        ({"openedGates": ["report"]}, "spec.openedGates[0]", "no tranche has the gate report; no tranche has a gate"),
        (
            {"tranches": [{"gate": "report", "percent": 100}], "openedGates": ["rapport"]},
            "spec.openedGates[0]",
            "no tranche has the gate rapport; there are report",
        ),
    ],
)
def test_windows_and_gates_must_be_possible(spec: Document, field: str, words: str) -> None:
    document = sample("allocation-minimal", **spec)
    found = validate(document)
    assert [(item.field, item.reason) for item in found] == [(field, Reason.INVALID)]
    assert words in found[0].message
    assert validate(document, document) == []


def test_every_row_of_the_table_is_tried() -> None:
    documents = [model_sample(f"{kind}-minimal", spec) for kind, spec, _ in NOT_BUILT]
    tried = [row for row in UNBUILT if any(isinstance(item.spec, row.spec) and row.violations(item.spec) for item in documents)]
    assert tried == list(UNBUILT)
    assert all(len(unsupported(item)) == 1 for item in documents)


def model_sample(name: str, spec: Document) -> Resource[Any, Any]:
    """The model of a changed sample."""
    document = sample(name, **spec)
    return model_of(document["kind"]).parse(document)


def test_one_answer_names_everything_that_is_wrong() -> None:
    document = sample(
        "allocation-minimal",
        period={"start": "2027-10-01T00:00:00Z", "end": "2026-10-01T00:07:00Z"},
        resources=[{"name": "cpu", "hours": -1}],
        stopPolicy="Hold",
        novelty=1,
    )
    assert [item.field for item in validate(document)] == ["spec.period.end", "spec.resources[0].hours", "spec.novelty"]
    document["spec"]["resources"][0]["hours"] = 1
    assert sorted(item.field for item in validate(document)) == sorted(
        ["spec.period.end", "spec.period.end", "spec.novelty", "spec.stopPolicy"]
    )


def test_update_keeps_what_was_wrong_before() -> None:
    stored = sample(
        "allocation-minimal", stopPolicy="Hold", thresholds=[{"percent": 50, "basis": "Committed", "action": "Notify"}]
    )
    moved = copy.deepcopy(stored)
    moved["spec"]["thresholds"].insert(0, {"percent": 10, "basis": "Used", "action": "Notify"})
    moved["spec"]["resources"][0]["hours"] = 7
    assert validate_allocation(moved, stored) == []
    worse = copy.deepcopy(moved)
    worse["spec"]["concurrency"] = [{"name": "cpu", "count": 5}]
    assert [item.field for item in validate_allocation(worse, stored)] == ["spec.concurrency"]


def test_update_keeps_stored_values_that_no_rule_would_take_today() -> None:
    stored = sample("project-complete", stopPolicy="None", account="OLD,account")
    renamed = sample("project-complete", stopPolicy="None", account="OLD,account", displayName="New")
    assert validate_project(renamed, stored) == []
    assert validate_project(renamed) != []


def test_models_are_taken_like_documents() -> None:
    document = sample("quotapool-minimal")
    pool = QuotaPool.parse(document)
    other = QuotaPool.parse(sample("quotapool-minimal", clusterRef={"name": "beta"}))
    assert validate_quotapool(pool) == validate_quotapool(document) == []
    assert [item.field for item in validate_quotapool(other, pool)] == ["spec.clusterRef"]


def test_kind_that_is_not_ours_is_refused() -> None:
    assert [item.field for item in validate({"kind": "Pod"})] == ["kind"]
    assert [item.field for item in validate_cluster(sample("project-minimal"))] != []
    assert validate_membership(sample("membership-complete")) == []


def test_violation_reads_as_a_sentence() -> None:
    assert str(Violation("spec.debt", Reason.INVALID, "change it")) == "spec.debt: change it"
    assert str(Violation("", Reason.INVALID, "change it")) == "change it"


# What needs other objects


def allocation(**spec: Any) -> Allocation:
    return Allocation.parse(sample("allocation-minimal", **spec))


def pool(name: str = "alpha-2026", **spec: Any) -> QuotaPool:
    document = sample("quotapool-minimal", **spec)
    return QuotaPool.parse(document | {"metadata": {"name": name}})


def cluster(**spec: Any) -> Cluster:
    document = sample("cluster-minimal", **spec)
    return Cluster.parse(document | {"metadata": {"name": "alpha"}})


def shown(found: list[Violation]) -> list[tuple[str, Reason]]:
    return [(item.field, item.reason) for item in found]


def test_cluster_must_be_there_and_have_the_resources() -> None:
    assert shown(references.check_cluster(allocation(), None)) == [("spec.clusterRef.name", Reason.CLUSTER_NOT_FOUND)]
    assert references.check_cluster(allocation(), cluster()) == []
    found = references.check_cluster(allocation(resources=[{"name": "gpu", "hours": 1}]), cluster())
    assert shown(found) == [("spec.resources[0].name", Reason.RESOURCE_NOT_OFFERED)]
    assert "choose from cpu" in found[0].message


@pytest.mark.parametrize(
    ("access", "let_in"),
    [
        ({"mode": "Open"}, True),
        ({"mode": "AllowList", "projects": ["climate"]}, True),
        ({"mode": "AllowList", "projects": []}, False),
        ({"mode": "DenyList", "projects": ["climate"]}, False),
        ({"mode": "DenyList", "projects": ["other"]}, True),
    ],
)
def test_access(access: Document, let_in: bool) -> None:
    found = references.check_access(allocation(), "climate", cluster(access=access))
    assert shown(found) == ([] if let_in else [("spec.clusterRef.name", Reason.ACCESS_DENIED)])


def test_namespace_must_be_a_projects() -> None:
    assert shown(references.check_access(allocation(), None, cluster())) == [("metadata.namespace", Reason.PROJECT_NOT_FOUND)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"projects": ["climate"]}, []),
        ({"projects": ["other"]}, [("spec.poolRef.name", Reason.POOL_NOT_ADMITTED)]),
        ({"clusterRef": {"name": "beta"}}, [("spec.poolRef.name", Reason.POOL_NOT_FOUND)]),
        ({"resources": [{"name": "gpu", "hours": 1}]}, [("spec.resources[0].name", Reason.RESOURCE_NOT_IN_POOL)]),
        (
            {"period": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}},
            [("spec.period", Reason.PERIOD_OUTSIDE_POOL)],
        ),
    ],
)
def test_named_pool_must_fit(changes: Document, expected: list[tuple[str, Reason]]) -> None:
    asked = allocation(poolRef={"name": "alpha-2026"})
    assert shown(references.check_pool(asked, "climate", pool(**changes))) == expected
    assert shown(references.check_pool(asked, "climate", None)) == [("spec.poolRef.name", Reason.POOL_NOT_FOUND)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, []),
        ({"parentRef": {"name": "grand"}}, []),
        ({"clusterRef": {"name": "beta"}}, [("spec.parentRef.name", Reason.PARENT_MISMATCH)]),
        (
            {"period": {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}},
            [("spec.period", Reason.PARENT_MISMATCH)],
        ),
        ({"resources": [{"name": "gpu", "hours": 1}]}, [("spec.resources[0].name", Reason.RESOURCE_NOT_IN_POOL)]),
    ],
)
def test_parent_must_cover_the_pool(changes: Document, expected: list[tuple[str, Reason]]) -> None:
    child = pool("child", parentRef={"name": "root"}, resources=[{"name": "cpu", "hours": 1}])
    assert shown(references.check_parent(child, pool("root", **changes))) == expected
    assert shown(references.check_parent(child, None)) == [("spec.parentRef.name", Reason.PARENT_NOT_FOUND)]
    assert references.check_parent(pool(), None) == []

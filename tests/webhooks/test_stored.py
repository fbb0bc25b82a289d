"""What is stored, however it came to be, may always be changed where it is not the matter: a property over all kinds."""

import copy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_crds.cluster import Cluster
from bursar_crds.kinds import KINDS
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_testing.facttable import Table
from bursar_testing.manifests import resource
from bursar_testing.samples import load_sample
from bursar_testing.webhooks import NAMESPACE, YEAR, hours
from bursar_webhooks.decide import decide
from bursar_webhooks.facts import AllocationFacts
from bursar_webhooks.review import Review

Document = dict[str, Any]
KIND = st.sampled_from(sorted(KINDS))
# Fields that no check looks at, so that changing them can't make anything worse.
UNRELATED: dict[str, Document] = {
    "Allocation": {"thresholds": [{"percent": 55, "basis": "Used", "action": "Notify"}]},
    "Cluster": {"displayName": "Another"},
    "Membership": {"until": "2031-01-01T00:00:00Z"},
    "Project": {"description": "Another"},
    "QuotaPool": {"perProject": []},
}
# What makes an object bad: references to nothing and to what does not fit, too many hours, what can't be read or is not built.
BAD: dict[str, list[Document]] = {
    "Allocation": [
        {"clusterRef": {"name": "gone"}},
        {"poolRef": {"name": "gone"}},
        {"poolRef": {"name": "root"}},
        {"poolRef": {"name": "narrow"}},
        {"period": {"start": "2019-01-01T00:00:00Z", "end": "2020-01-01T00:00:00Z"}},
        {"resources": hours(cpu=10**9, fpga=3)},
        {"resources": [{"name": "cpu", "hours": -1}]},
        {"stopPolicy": "Hold"},
        {"recurrence": {"every": "Month", "timeZone": "No/Where"}},
        {"openedGates": ["nothing"]},
        {"debt": "Unheard"},
        {"fieldOfANewerVersion": {"a": 1}},
    ],
    "Cluster": [
        {"resources": [{"name": "cpu", "capacity": -1}]},
        {"scheduler": {"type": "slurm", "rootAccount": "lattice-qcd"}},
        {"stopPolicy": "Hold"},
        {"drift": {"limits": "Adopt"}},
        {"enforcement": "Unheard"},
    ],
    "Membership": [{"user": "NOT A NAME"}, {"user": "alice"}, {"role": "Owner"}, {"role": "Unheard"}],
    "Project": [{"account": "bursar"}, {"account": "climate"}, {"namespace": "project-climate"}, {"stopPolicy": "Hold"}],
    "QuotaPool": [
        {"clusterRef": {"name": "gone"}},
        {"parentRef": {"name": "gone"}},
        {"parentRef": {"name": "narrow"}},
        {"parentRef": {"name": "subject"}},
        {"resources": hours(cpu=10**9, fpga=3)},
        {"resources": [{"name": "cpu", "hours": 10**15}]},
        {"period": {"start": "2019-01-01T00:00:00Z", "end": "2020-01-01T00:00:00Z"}},
        {"overcommitPercent": 50},
    ],
}
HARMLESS: list[Document] = [{"role": "Owner"}, {"fieldOfANewerVersion": {"a": 1}}, {"overcommitPercent": 50}]


def _pool(name: str, **spec: Any) -> QuotaPool:
    base = {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(cpu=100)}
    return QuotaPool.parse(resource("QuotaPool", name, base | spec))


def _cluster(name: str, **spec: Any) -> Cluster:
    base = {"scheduler": {"type": "slurm"}, "resources": [{"name": "cpu", "capacity": 9}]}
    return Cluster.parse(resource("Cluster", name, base | spec))


CLUSTERS = (_cluster("alpha"), _cluster("beta", access={"mode": "AllowList", "projects": ["climate"]}))
PROJECTS = tuple(Project.parse(resource("Project", name, {"owner": "alice"})) for name in ("lattice-qcd", "climate"))
POOLS = (
    _pool("root"),
    _pool("leaf", parentRef={"name": "root"}),
    _pool("narrow", projects=["climate"], period={"start": YEAR["start"], "end": "2026-02-01T00:00:00Z"}),
    _pool("below", parentRef={"name": "subject"}, resources=hours(cpu=10**6)),
)
MEMBERS = (Membership.parse(resource("Membership", "m", {"user": "alice", "role": "Owner"}, NAMESPACE)),)
DRAWN = tuple(
    AllocationFacts(NAMESPACE, f"a-{pool}", "alpha", pool, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    for pool in ("leaf", "subject", "root")
)
NOW = st.sampled_from([datetime(year, 3, 1, tzinfo=UTC) for year in (2018, 2026, 2035)])


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """Any part of a world in which most of what is stored does not fit."""

    def some(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(item for item in items if draw(st.booleans()))

    return Table(some(CLUSTERS), some(PROJECTS), some(POOLS), some(DRAWN), some(MEMBERS), time=draw(NOW))


@st.composite
def stored(draw: st.DrawFn, kind: str) -> Document:
    """A sample that several things are wrong with."""
    document = load_sample(f"{kind.lower()}-{draw(st.sampled_from(['minimal', 'complete']))}")
    for bad in draw(st.lists(st.sampled_from(BAD[kind]), max_size=3)):
        document["spec"] |= bad
    names = {"name": "subject", "uid": "u", "resourceVersion": "1"}
    document["metadata"] |= names | ({"namespace": NAMESPACE} if "namespace" in document["metadata"] else {})
    return document


def asked(old: Document, new: Document) -> Review:
    return Review("1", old["kind"], "UPDATE", "subject", new, old, False)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), kind=KIND, table=tables())
def test_what_is_stored_is_not_punished(data: st.DataObject, kind: str, table: Table) -> None:
    old = data.draw(stored(kind))
    new = copy.deepcopy(old)
    new["metadata"]["labels"] = {"changed": "yes"}
    assert decide(asked(old, new), table).allowed, "metadata"
    new["spec"] |= UNRELATED[kind]
    verdict = decide(asked(old, new), table)
    assert verdict.allowed, verdict.line
    new["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new["spec"] |= data.draw(st.sampled_from(BAD[kind]))
    assert decide(asked(old, new), table).allowed, "on its way out"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_same_would_be_refused_on_create(kind: str) -> None:
    """Else the property above shows nothing: everything that is bad is refused where it is new, in one world or another."""
    worlds = (Table(), Table(CLUSTERS, PROJECTS, POOLS, DRAWN, MEMBERS))
    for bad in BAD[kind]:
        document = load_sample(f"{kind.lower()}-minimal")
        document["metadata"]["name"] = "subject"
        document["spec"] |= bad
        review = Review("1", kind, "CREATE", "subject", document, None, False)
        assert bad in HARMLESS or any(not decide(review, world).allowed for world in worlds), bad


@settings(max_examples=100, deadline=None)
@given(data=st.data(), kind=KIND, table=tables(), dry_run=st.booleans())
def test_a_dry_run_gets_the_same_answer(data: st.DataObject, kind: str, table: Table, dry_run: bool) -> None:
    document = data.draw(stored(kind))
    verdicts = [decide(Review("1", kind, "CREATE", "subject", document, None, dry), table) for dry in (True, False)]
    assert verdicts[0] == verdicts[1]

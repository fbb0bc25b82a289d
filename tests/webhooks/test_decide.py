"""The decision itself, with a table for the facts: what no API server lets one build up."""

from dataclasses import replace
from typing import Any

import pytest

from bursar_crds.cluster import Cluster
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_domain.room import MAX_DEPTH, Pool
from bursar_testing.facttable import Table
from bursar_testing.manifests import resource
from bursar_testing.webhooks import NAMESPACE, YEAR, fitting_allocation, hours
from bursar_webhooks.decide import decide, may_be_lag
from bursar_webhooks.facts import AllocationFacts
from bursar_webhooks.review import Review

Document = dict[str, Any]


def pool(name: str, parent: str | None = None, **spec: Any) -> Document:
    base: Document = {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(cpu=100)} | spec
    return resource("QuotaPool", name, base | ({"parentRef": {"name": parent}} if parent else {}))


def cluster(name: str = "alpha", **spec: Any) -> Document:
    return resource("Cluster", name, {"scheduler": {"type": "slurm"}, "resources": [{"name": "cpu", "capacity": 9}]} | spec)


ALPHA = Cluster.parse(cluster())
QCD = Project.parse(resource("Project", "lattice-qcd", {"owner": "alice"}))


def review(new: Document, old: Document | None = None) -> Review:
    return Review("1", new["kind"], "UPDATE" if old else "CREATE", new["metadata"]["name"], new, old, False)


def test_pools_in_a_circle() -> None:
    facts = Table((ALPHA,), pool_list=(QuotaPool.parse(pool("a", "b")), QuotaPool.parse(pool("c", "a"))))
    verdict = decide(review(pool("b", "c")), facts)
    assert [item.field for item in verdict.violations] == ["spec.parentRef.name"]
    assert "in a circle: b → c → a → b; name a root pool" in verdict.line


@pytest.mark.parametrize(("levels", "allowed"), [(MAX_DEPTH, True), (MAX_DEPTH + 1, False)])
@pytest.mark.parametrize("missing", [1, 4, MAX_DEPTH - 1])
def test_a_tree_of_pools_has_so_many_levels_whichever_is_made_last(levels: int, allowed: bool, missing: int) -> None:
    made = [pool(f"level{n}", f"level{n - 1}" if n else None) for n in range(levels)]
    facts = Table((ALPHA,), pool_list=tuple(QuotaPool.parse(item) for n, item in enumerate(made) if n != missing))
    verdict = decide(review(made[missing]), facts)
    assert [(item.field, item.reason) for item in verdict.violations] == (
        [] if allowed else [("spec.parentRef.name", "PoolTooDeep")]
    )


def test_a_circle_that_is_stored_hangs_nobody_up() -> None:
    stored = (QuotaPool.parse(pool("a", "b")), QuotaPool.parse(pool("b", "a")))
    verdict = decide(review(pool("c", "a")), Table((ALPHA,), pool_list=stored))
    assert [(item.field, item.reason) for item in verdict.violations] == [("spec.parentRef.name", "PoolTooDeep")]


def test_no_pool_hangs_below_one_that_allocations_draw_on() -> None:
    root = QuotaPool.parse(pool("root"))
    held = AllocationFacts(NAMESPACE, "a", "alpha", "root", root.spec.period.start, root.spec.period.end)
    verdict = decide(review(pool("leaf", "root")), Table((ALPHA,), (QCD,), (root,), (held,)))
    assert [(item.field, item.reason) for item in verdict.violations] == [("spec.parentRef.name", "ParentDrawnOn")]
    assert f"{NAMESPACE}/a for one; delete them first, or hang pool leaf below another pool" in verdict.line


@pytest.mark.parametrize(("asked", "left"), [(60, None), (61, 60)])
def test_what_a_project_holds_below_a_pool_counts_for_its_share_of_it(asked: int, left: int | None) -> None:
    share: Document = {"perProject": hours(cpu=100)}
    pools = [QuotaPool.parse(item) for item in (pool("root", **share), pool("one", "root"), pool("two", "root"))]
    period = pools[0].spec.period
    held = AllocationFacts(NAMESPACE, "a", "alpha", "one", period.start, period.end, {"cpu": 40})
    other = replace(held, namespace="project-climate", name="b", charged={"cpu": 30})
    wanted = fitting_allocation(poolRef={"name": "two"}, resources=hours(cpu=asked))
    verdict = decide(review(wanted), Table((ALPHA,), (QCD,), tuple(pools), (held, other)))
    assert [(item.field, item.reason) for item in verdict.violations] == (
        [] if left is None else [("spec.resources[0].hours", "ProjectShareExceeded")]
    )
    assert left is not None or (
        "the project's share of pool root will be 100 % granted: 100 of 100 cpu hours" in verdict.warnings
    )
    assert left is None or "one project may hold 100 cpu hours of pool root; this one has 60 of them left" in verdict.line


def test_what_the_object_alone_shows_comes_first_and_together_with_the_rest() -> None:
    verdict = decide(review(fitting_allocation(clusterRef={"name": "gamma"}, stopPolicy="Hold")), Table((ALPHA,), (QCD,)))
    assert [item.reason for item in verdict.violations] == ["NotYetSupported", "ClusterNotFound"]
    assert may_be_lag(verdict)


def test_an_object_that_cannot_be_read_is_refused_by_its_fields() -> None:
    broken = fitting_allocation(resources=[{"name": "cpu", "hours": -1}])
    verdict = decide(review(broken), Table((ALPHA,), (QCD,)))
    assert [item.field for item in verdict.violations] == ["spec.resources[0].hours"]


@pytest.mark.parametrize("change", [{"labels": {"a": "b"}}, {"deletionTimestamp": "2026-01-01T00:00:00Z"}])
def test_metadata_alone_is_never_refused(change: Document) -> None:
    old = fitting_allocation("a", clusterRef={"name": "gamma"}, stopPolicy="Hold")
    new = old | {"metadata": old["metadata"] | change}
    assert decide(review(new, old), Table()).allowed


def test_projects_that_lose_access_are_named() -> None:
    period = Pool.of(QuotaPool.parse(pool("p")))
    held = AllocationFacts(NAMESPACE, "a", "alpha", "p", period.start, period.end)
    closed = cluster(access={"mode": "AllowList", "projects": ["climate"]})
    verdict = decide(review(closed, cluster()), Table((ALPHA,), (QCD,), (), (held,)))
    assert verdict.allowed
    assert verdict.warnings == ("project lattice-qcd keeps its allocations on cluster alpha, but gets no new ones",)


def test_a_child_larger_than_its_lowered_parent_is_a_warning() -> None:
    facts = Table((ALPHA,), pool_list=(QuotaPool.parse(pool("root")), QuotaPool.parse(pool("leaf", "root"))))
    verdict = decide(review(pool("root", resources=hours(cpu=50)), pool("root")), facts)
    assert verdict.allowed
    assert verdict.warnings == ("pool leaf below pool root holds 100 cpu hours, more than the 50 here",)


def ending(end: str, **spec: Any) -> Document:
    """An allocation of January on that ends then."""
    made = fitting_allocation("mine", period={"start": YEAR["start"], "end": end}, **spec)
    made["metadata"]["uid"] = "m"
    return made


CHARGED = "what is charged until now (2026-03-01T00:00:00Z) stays charged"
ENDS: list[tuple[str, str, str]] = [
    ("2026-07-01T00:00:00Z", "2026-09-01T00:00:00Z", ""),
    ("2026-07-01T00:00:00Z", "2026-03-01T00:00:00Z", ""),
    ("2026-07-01T00:00:00Z", "2026-02-28T23:45:00Z", CHARGED),
    ("2026-02-01T00:00:00Z", "2026-09-01T00:00:00Z", "ended at 2026-02-01T00:00:00Z and its books with it; renew it"),
]


@pytest.mark.parametrize(("before", "after", "words"), ENDS)
def test_an_end_moves_only_ahead_of_the_clock(before: str, after: str, words: str) -> None:
    verdict = decide(review(ending(after), ending(before)), Table((ALPHA,), (QCD,)))
    found = [(item.field, item.reason) for item in verdict.violations if item.reason == "ChargesWouldMove"]
    assert found == ([("spec.period.end", "ChargesWouldMove")] if words else [])
    assert words in verdict.line


def test_grace_after_the_end_is_part_of_it() -> None:
    facts = Table((ALPHA,), (QCD,))
    ended = "2026-02-10T00:00:00Z"
    before, shorter, longer = (ending(ended, grace={"afterEndDays": days}) for days in (30, 10, 40))
    cut = decide(review(shorter, before), facts)
    assert [(item.field, item.reason) for item in cut.violations if item.reason == "ChargesWouldMove"] == [
        ("spec.grace.afterEndDays", "ChargesWouldMove")
    ]
    assert "ChargesWouldMove" not in {item.reason for item in decide(review(longer, before), facts).violations}

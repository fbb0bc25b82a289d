"""What needs other objects, refused through the real API server: each with its field, reason and remedy."""

from typing import Any

import pytest

from bursar_crds.reasons import Reason
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import Forbidden, KubeError
from bursar_kube.resources import QUOTAPOOLS, by_kind
from bursar_testing.manifests import resource
from bursar_testing.webhooks import NAMESPACE, YEAR, Webhook, fitting_allocation, fresh, hours

ALPHA = {"clusterRef": {"name": "alpha"}, "period": YEAR}
LATER = {"start": "2027-01-01T00:00:00Z", "end": "2027-07-01T00:00:00Z"}


def pool(**spec: Any) -> Obj:
    return resource("QuotaPool", "new-pool", ALPHA | {"resources": hours(cpu=10)} | spec)


def below(**spec: Any) -> Obj:
    return pool(parentRef={"name": "alpha-2026"}, **spec)


def member(user: str = "zoe", namespace: str = NAMESPACE) -> Obj:
    return resource("Membership", f"m-{user}", {"user": user, "role": "Member"}, namespace)


CASES = {
    "cluster not there": (
        fitting_allocation(clusterRef={"name": "gamma"}),
        [("spec.clusterRef.name", Reason.CLUSTER_NOT_FOUND)],
        "spec.clusterRef.name: there is no Cluster gamma; check the name",
    ),
    "namespace of no project": (
        fitting_allocation(namespace="nobodys"),
        [("metadata.namespace", Reason.PROJECT_NOT_FOUND)],
        "put the allocation into a project's namespace",
    ),
    "project without access": (
        fitting_allocation(clusterRef={"name": "beta"}, poolRef=None),
        [("spec.clusterRef.name", Reason.ACCESS_DENIED)],
        "project lattice-qcd may not use cluster beta; choose another cluster or ask for access",
    ),
    "pool not there": (
        fitting_allocation(poolRef={"name": "nowhere"}),
        [("spec.poolRef.name", Reason.POOL_NOT_FOUND)],
        "cluster alpha has no pool nowhere; check the name",
    ),
    "pool with pools below it": (
        fitting_allocation(poolRef={"name": "alpha-2026"}),
        [("spec.poolRef.name", Reason.POOL_NOT_A_LEAF)],
        "pools hang below pool alpha-2026",
    ),
    "pool of other projects": (
        fitting_allocation(namespace="project-climate"),
        [("spec.poolRef.name", Reason.POOL_NOT_ADMITTED)],
        "does not admit project climate; name another pool",
    ),
    "no pool fits": (
        fitting_allocation(namespace="project-climate", poolRef=None),
        [("spec.period", Reason.NO_POOL)],
        "no pool of cluster alpha covers 2026-01-01 to 2026-07-01 and admits project climate. Change the period, or ask",
    ),
    "period outside the pool": (
        fitting_allocation(period=LATER),
        [("spec.period", Reason.PERIOD_OUTSIDE_POOL)],
        "move the period inside it or name another pool",
    ),
    "resource that the cluster does not have": (
        fitting_allocation(resources=hours(cpu=1, fpga=1)),
        [("spec.resources[1].name", Reason.RESOURCE_NOT_OFFERED)],
        "cluster alpha has no resource fpga; choose from cpu, gpu",
    ),
    "more than the root pool has left": (
        fitting_allocation(resources=hours(gpu=16_000)),
        [("spec.resources[0].hours", Reason.QUOTA_EXCEEDED)],
        "denied the request: pool alpha-2026 has 12,000 of 900,000 gpu hours left; this asks for 16,000. "
        "Ask for 12,000, wait until 2027-01-01, or ask for a larger pool.",
    ),
    "every pool and resource that cannot hold it": (
        fitting_allocation(resources=hours(cpu=450_000, gpu=90_000)),
        [
            ("spec.resources[1].hours", Reason.QUOTA_EXCEEDED),
            ("spec.resources[0].hours", Reason.QUOTA_EXCEEDED),
            ("spec.resources[1].hours", Reason.QUOTA_EXCEEDED),
        ],
        "pool alpha-lattice has 400,000 of 500,000 cpu hours left",
    ),
    "what is not built yet": (
        fitting_allocation(stopPolicy="Hold"),
        [("spec.stopPolicy", Reason.NOT_YET_SUPPORTED)],
        "spec.stopPolicy: stopping jobs by policy is not supported yet; use None or leave it out",
    ),
    "pool of a cluster that is not there": (
        pool(clusterRef={"name": "gamma"}),
        [("spec.clusterRef.name", Reason.CLUSTER_NOT_FOUND)],
        "check the name",
    ),
    "pool with a resource that the cluster does not have": (
        pool(resources=hours(fpga=1)),
        [("spec.resources[0].name", Reason.RESOURCE_NOT_OFFERED)],
        "choose from cpu, gpu",
    ),
    "parent not there": (
        pool(parentRef={"name": "nowhere"}),
        [("spec.parentRef.name", Reason.PARENT_NOT_FOUND)],
        "make it first or check the name",
    ),
    "parent of another cluster": (
        below(clusterRef={"name": "beta"}),
        [("spec.parentRef.name", Reason.PARENT_MISMATCH)],
        "name a pool of the same cluster",
    ),
    "period outside the parent's": (
        below(period=LATER),
        [("spec.period", Reason.PARENT_MISMATCH)],
        "move the period inside it",
    ),
    "more than the parent has": (
        below(resources=hours(cpu=1_000_001)),
        [("spec.resources[0].hours", Reason.PARENT_MISMATCH)],
        "ask for 1,000,000 or raise pool alpha-2026 first",
    ),
    "account of another project": (
        resource("Project", "newcomer", {"owner": "carol", "account": "climate"}),
        [("spec.account", Reason.ACCOUNT_TAKEN)],
        "account climate belongs to another project; set spec.account to another name",
    ),
    "account that is Bursar's root": (
        resource("Project", "newcomer", {"owner": "carol", "account": "bursar"}),
        [("spec.account", Reason.ACCOUNT_RESERVED)],
        "is Bursar's own root on cluster alpha; set spec.account to another name",
    ),
    "namespace of another project": (
        resource("Project", "newcomer", {"owner": "carol", "namespace": "project-climate"}),
        [("spec.namespace", Reason.NAMESPACE_TAKEN)],
        "set spec.namespace to another name",
    ),
    "member of no project": (
        member(namespace="nobodys"),
        [("metadata.namespace", Reason.PROJECT_NOT_FOUND)],
        "put the membership into a project's namespace",
    ),
    "root account of a project": (
        resource(
            "Cluster",
            "delta",
            {"scheduler": {"type": "slurm", "rootAccount": "climate"}, "resources": [{"name": "cpu", "capacity": 1}]},
        ),
        [("spec.scheduler.rootAccount", Reason.ACCOUNT_TAKEN)],
        "choose another root account",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_refused_on_create(webhook: Webhook, kube: Kube, case: str) -> None:
    obj, causes, words = CASES[case]
    error = await refusal(kube, obj)
    assert isinstance(error, Forbidden)
    assert (error.status, error.details["kind"], error.details["name"]) == (403, obj["kind"], obj["metadata"]["name"])
    assert [(cause.field, cause.reason) for cause in error.causes] == [(field, str(reason)) for field, reason in causes]
    assert words in str(error)


@pytest.mark.parametrize("case", CASES)
async def test_a_dry_run_says_the_same(webhook: Webhook, kube: Kube, case: str) -> None:
    obj, _, _ = CASES[case]
    wet, dry = await refusal(kube, obj), await refusal(kube, obj, dry_run=True)
    assert (dry.message, dry.causes) == (wet.message, wet.causes)


async def test_several_pools_that_fit_are_listed(webhook: Webhook, kube: Kube) -> None:
    second = below(projects=["lattice-qcd"])
    second["metadata"]["name"] = "alpha-second"
    await kube.create(_type(second), second)
    try:
        error = await refusal(kube, fitting_allocation(poolRef=None))
        assert [(cause.field, cause.reason) for cause in error.causes] == [("spec.poolRef", "AmbiguousPool")]
        assert "several pools fit: alpha-lattice, alpha-second. Name one" in error.message
    finally:
        await kube.delete(_type(second), "alpha-second")


async def test_pools_hang_eight_levels_deep_and_no_deeper(webhook: Webhook, kube: Kube) -> None:
    names = [fresh("level") for _ in range(9)]
    levels = [pool(), *(pool(parentRef={"name": name}) for name in names[:-1])]
    for name, level in zip(names, levels, strict=True):
        level["metadata"]["name"] = name
    for level in levels[:8]:
        await kube.create(QUOTAPOOLS, level)
    error = await refusal(kube, levels[8])
    assert [(cause.field, cause.reason) for cause in error.causes] == [("spec.parentRef.name", Reason.POOL_TOO_DEEP)]
    assert "would have 9 levels and may have 8; hang the pool below a higher one" in error.message
    for name in reversed(names[:8]):
        await kube.delete(QUOTAPOOLS, name)


async def test_what_fits_is_stored(webhook: Webhook, kube: Kube) -> None:
    for obj in (fitting_allocation(), fitting_allocation(resources=hours(gpu=12_000)), below(), pool(), member()):
        await kube.create(_type(obj), obj, dry_run=True)


async def test_access_says_nothing_of_the_pools_of_others(webhook: Webhook, kube: Kube) -> None:
    error = await refusal(kube, fitting_allocation(clusterRef={"name": "beta"}, poolRef={"name": "alpha-2026"}))
    assert "alpha-2026" not in error.message


async def refusal(kube: Kube, obj: Obj, *, dry_run: bool = False) -> KubeError:
    with pytest.raises(KubeError) as caught:
        await kube.create(_type(obj), obj, dry_run=dry_run)
    return caught.value


def _type(obj: Obj) -> Any:
    return by_kind(obj["kind"])

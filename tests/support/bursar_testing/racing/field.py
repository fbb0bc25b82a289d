"""What the race is about: two clusters, a tree of pools with limits of every kind, and projects."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from bursar_kube.client import Kube
from bursar_kube.resources import CLUSTERS, PROJECTS, QUOTAPOOLS
from bursar_testing import manifests

Obj = dict[str, Any]
ENFORCED: Final = "alpha"
OBSERVED: Final = "beta"
RESOURCES: Final = ("cpu", "gpu")
PROJECT_COUNT: Final = 8


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of the race."""

    name: str
    cluster: str
    parent: str | None
    hours: Mapping[str, int]
    spec: Mapping[str, Any]


def listed(hours: Mapping[str, int]) -> list[Obj]:
    """As specs hold hours."""
    return [{"name": name, "hours": amount} for name, amount in hours.items()]


def _pool(name: str, cluster: str, parent: str | None, cpu: int, gpu: int, **spec: Any) -> Pool:
    return Pool(name, cluster, parent, {"cpu": cpu, "gpu": gpu}, spec)


POOLS: Final[Sequence[Pool]] = (
    _pool("org", ENFORCED, None, 6000, 600),
    _pool("physics", ENFORCED, "org", 4000, 400),
    _pool("chemistry", ENFORCED, "org", 3000, 300, overcommitPercent=10),
    _pool("lattice", ENFORCED, "physics", 2500, 200),
    _pool("plasma", ENFORCED, "physics", 2500, 300, perProject=listed({"cpu": 700})),
    _pool("water", ENFORCED, "chemistry", 3300, 300),
    _pool("shared", ENFORCED, None, 1500, 150),
    _pool("open", OBSERVED, None, 2000, 200),
)
"""The leaves of `physics` together are larger than it, and it and `chemistry` larger than `org`."""


def leaves() -> Iterator[Pool]:
    """Pools that allocations may draw on."""
    parents = {pool.parent for pool in POOLS}
    return (pool for pool in POOLS if pool.name not in parents)


def namespace(project: int) -> str:
    """Where a project's allocations are."""
    return f"project-race-{project}"


def allocation(project: int, name: str, pool: Pool, hours: Mapping[str, int], *, named: bool, **metadata: Any) -> Obj:
    """Somebody asks; without `named` the pool has to be found by its cluster."""
    spec = {"clusterRef": {"name": pool.cluster}, "period": manifests.PERIOD, "resources": listed(hours)}
    obj = manifests.resource("Allocation", name, spec, namespace(project))
    if named:
        obj["spec"]["poolRef"] = {"name": pool.name}
    obj["metadata"].update(metadata)
    return obj


async def lay_out(kube: Kube) -> None:
    """Create clusters, pools and projects, and wait until the projects have their namespaces."""
    for cluster, enforcement in ((ENFORCED, "Enforce"), (OBSERVED, "Observe")):
        capacity = [{"name": "cpu", "capacity": 1000}, {"name": "gpu", "capacity": 100}]
        await kube.create(CLUSTERS, manifests.cluster(cluster, resources=capacity, enforcement=enforcement))
    for number in range(PROJECT_COUNT):
        await kube.create(PROJECTS, manifests.project(f"race-{number}", "alice"))
    for pool in POOLS:
        obj = manifests.pool(pool.name, pool.cluster, 0, pool.parent)
        obj["spec"].update({"resources": listed(pool.hours), **pool.spec})
        await kube.create(QUOTAPOOLS, obj)
    async with asyncio.timeout(60):
        while not await _settled(kube):  # noqa: ASYNC110 - the answer is another process's
            await asyncio.sleep(0.1)


async def _settled(kube: Kube) -> bool:
    found = await kube.list(PROJECTS)
    pools = await kube.list(QUOTAPOOLS)
    counted = all("granted" in (pool.get("status") or {}) for pool in pools)
    return counted and all((obj.get("status") or {}).get("account") for obj in found)

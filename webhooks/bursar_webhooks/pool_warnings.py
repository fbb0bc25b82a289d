"""Warnings about pools: nearly full, over their limit, larger than the machine. Nothing here refuses."""

from collections.abc import Mapping, Sequence
from typing import Final

from bursar_crds.cluster import Cluster
from bursar_crds.quotapool import QuotaPool
from bursar_domain.room import Pool

FULL_PERCENT: Final = 90


def fullness(path: Sequence[Pool], asked: Mapping[str, int], holding: Mapping[str, int], what: str = "") -> list[str]:
    """Pools (or what else is said of them) of which 90 % or more will be granted."""
    found = []
    for pool in path:
        for resource, hours in sorted(asked.items()):
            limit = pool.limit.get(resource, 0)
            after = pool.granted.get(resource, 0) + max(0, hours - holding.get(resource, 0))
            if limit and FULL_PERCENT * limit <= 100 * after <= 100 * limit:
                found.append(
                    f"{what}pool {pool.name} will be {100 * after // limit} % granted: {after:,} of {limit:,} {resource} hours"
                )
    return found


def overcommitment(new: QuotaPool) -> list[str]:
    """Resources of which more is granted than the pool will hold: allowed, but nothing is raised until that is over."""
    pool = Pool.of(new)
    return [
        f"pool {new.name} has {granted:,} {resource} hours granted and will hold {pool.limit[resource]:,}; "
        "nothing more is granted from it until that is over"
        for resource, granted in sorted(pool.granted.items())
        if resource in pool.limit and granted > pool.limit[resource]
    ]


def larger_than_cluster(new: QuotaPool, cluster: Cluster | None) -> list[str]:
    """Resources of which the machine cannot give so many hours in the period."""
    if cluster is None:
        return []
    capacity = {item.name: item.capacity for item in cluster.spec.resources}
    hours = int((new.spec.period.end - new.spec.period.start).total_seconds()) // 3600
    return [
        f"cluster {cluster.name} can give {capacity[item.name] * hours:,} {item.name} hours in this period; "
        f"pool {new.name} holds {item.hours:,}"
        for item in new.spec.resources
        if item.name in capacity and item.hours > capacity[item.name] * hours
    ]

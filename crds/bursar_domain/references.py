"""Checks of an object against the ones it names, pure: the caller brings those objects, or None where one is not there."""

from collections.abc import Iterable

from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Period, ResourceHours
from bursar_crds.instants import format_instant
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.billing import scales_of
from bursar_domain.violations import Violation


def check_cluster(resource: Allocation | QuotaPool, cluster: Cluster | None) -> list[Violation]:
    """The cluster is there, has the resources, and its books can hold so many hours."""
    name = resource.spec.cluster_ref.name
    if cluster is None:
        return [Violation("spec.clusterRef.name", Reason.CLUSTER_NOT_FOUND, f"there is no Cluster {name}; check the name")]
    offered = [item.name for item in cluster.spec.resources]
    return [
        Violation(
            f"spec.resources[{index}].name",
            Reason.RESOURCE_NOT_OFFERED,
            f"cluster {name} has no resource {item.name}; choose from {', '.join(offered)}",
        )
        for index, item in enumerate(resource.spec.resources)
        if item.name not in offered
    ] + _too_many(resource, cluster)


def _too_many(resource: Allocation | QuotaPool, cluster: Cluster) -> list[Violation]:
    if isinstance(resource, QuotaPool):
        return []
    scales = scales_of(cluster)
    return [
        Violation(
            f"spec.resources[{index}].hours",
            Reason.INVALID,
            f"one allocation holds at most {most:,} {item.name} hours on cluster {cluster.name}; make several",
        )
        for index, item in enumerate(resource.spec.resources)
        if item.hours > (most := scales.most_hours(item.name))
    ]


def check_access(allocation: Allocation, project: str | None, cluster: Cluster | None) -> list[Violation]:
    """The namespace is a project's and the cluster lets that project in."""
    if project is None:
        message = f"namespace {allocation.namespace} belongs to no Project; put the allocation into a project's namespace"
        return [Violation("metadata.namespace", Reason.PROJECT_NOT_FOUND, message)]
    if cluster is None or cluster.spec.access.admits(project):
        return []
    message = f"project {project} may not use cluster {cluster.name}; choose another cluster or ask for access to this one"
    return [Violation("spec.clusterRef.name", Reason.ACCESS_DENIED, message)]


def check_pool(allocation: Allocation, project: str | None, pool: QuotaPool | None) -> list[Violation]:
    """The pool that the allocation names fits it; how much it has left is another question (`room`)."""
    name = allocation.spec.pool_ref.name if allocation.spec.pool_ref else ""
    if pool is None:
        return [Violation("spec.poolRef.name", Reason.POOL_NOT_FOUND, f"there is no QuotaPool {name}; check the name")]
    found: list[Violation] = []
    if pool.spec.cluster_ref != allocation.spec.cluster_ref:
        found.append(_pool(Reason.POOL_NOT_FOUND, f"pool {name} is not of cluster {allocation.spec.cluster_ref.name}"))
    if project is not None and not pool.spec.admits(project):
        found.append(_pool(Reason.POOL_NOT_ADMITTED, f"pool {name} does not admit project {project}"))
    if not _covers(pool.spec.period, allocation.spec.period):
        found.append(_outside("spec.period", Reason.PERIOD_OUTSIDE_POOL, pool))
    return found + _missing(allocation.spec.resources, pool)


def check_parent(pool: QuotaPool, parent: QuotaPool | None) -> list[Violation]:
    """The parent that the pool names is of the same cluster, covers its period and holds what the pool holds."""
    reference = pool.spec.parent_ref
    if reference is None:
        return []
    if parent is None:
        message = f"there is no QuotaPool {reference.name}; make it first or check the name"
        return [Violation("spec.parentRef.name", Reason.PARENT_NOT_FOUND, message)]
    found: list[Violation] = []
    if parent.spec.cluster_ref != pool.spec.cluster_ref:
        message = f"pool {parent.name} is not of cluster {pool.spec.cluster_ref.name}; name a pool of the same cluster"
        found.append(Violation("spec.parentRef.name", Reason.PARENT_MISMATCH, message))
    if not _covers(parent.spec.period, pool.spec.period):
        found.append(_outside("spec.period", Reason.PARENT_MISMATCH, parent))
    return found + _missing(pool.spec.resources, parent)


def _pool(reason: Reason, what: str) -> Violation:
    return Violation("spec.poolRef.name", reason, f"{what}; name another pool or leave poolRef out")


def _outside(field: str, reason: Reason, pool: QuotaPool) -> Violation:
    start, end = format_instant(pool.spec.period.start), format_instant(pool.spec.period.end)
    return Violation(field, reason, f"pool {pool.name} covers {start} to {end}; move the period inside it or name another pool")


def _missing(resources: Iterable[ResourceHours], pool: QuotaPool) -> list[Violation]:
    held = {item.name for item in pool.spec.resources}
    return [
        Violation(
            f"spec.resources[{index}].name",
            Reason.RESOURCE_NOT_IN_POOL,
            f"pool {pool.name} holds no {item.name} hours; choose from {', '.join(sorted(held))} or name another pool",
        )
        for index, item in enumerate(resources)
        if item.name not in held
    ]


def _covers(outer: Period, inner: Period) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end

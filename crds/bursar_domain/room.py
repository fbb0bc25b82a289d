"""Pool room: which pool an allocation draws on, what that pool still holds, and the words of a refusal.

Webhook and operator call the same functions, so a dry run, an admission and a waiting request say the same thing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bursar_crds.common import Period
from bursar_crds.instants import parse_instant
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.units import with_percent

Hours = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the arithmetic needs it: hours per resource that it may grant (``limit``) and has granted."""

    name: str
    cluster: str
    parent: str | None
    start: datetime
    end: datetime
    limit: Hours
    granted: Hours
    projects: frozenset[str] | None = None

    @classmethod
    def of(cls, pool: QuotaPool) -> "Pool":
        """From the model."""
        spec = pool.spec
        return cls(
            name=pool.name,
            cluster=spec.cluster_ref.name,
            parent=spec.parent_ref.name if spec.parent_ref else None,
            start=spec.period.start,
            end=spec.period.end,
            limit={item.name: with_percent(item.hours, spec.overcommit_percent) for item in spec.resources},
            granted={item.name: item.hours for item in pool.status.granted},
            projects=None if spec.projects is None else frozenset(spec.projects),
        )

    @classmethod
    def from_object(cls, obj: Mapping[str, Any]) -> "Pool":
        """From an object as the API server stores it, without the cost of the model."""
        spec, status = obj["spec"], obj.get("status") or {}
        percent = spec.get("overcommitPercent", 0)
        projects = spec.get("projects")
        return cls(
            name=obj["metadata"]["name"],
            cluster=spec["clusterRef"]["name"],
            parent=spec["parentRef"]["name"] if spec.get("parentRef") else None,
            start=parse_instant(spec["period"]["start"]),
            end=parse_instant(spec["period"]["end"]),
            limit={item["name"]: with_percent(item["hours"], percent) for item in spec["resources"]},
            granted={item["name"]: item["hours"] for item in status.get("granted") or ()},
            projects=None if projects is None else frozenset(projects),
        )

    def covers(self, period: Period) -> bool:
        """Whether the period lies inside this pool's."""
        return self.start <= period.start and period.end <= self.end

    def admits(self, project: str) -> bool:
        """Whether the project may draw from this pool."""
        return self.projects is None or project in self.projects

    def left(self, resource: str) -> int:
        """Hours that may still be granted, never below zero."""
        return max(0, self.limit.get(resource, 0) - self.granted.get(resource, 0))


@dataclass(frozen=True, slots=True)
class Cause:
    """One violated dimension: a resource of a pool on the path. ``asked`` is what is asked for beyond what is held."""

    pool: str
    resource: str
    limit: int
    granted: int
    left: int
    asked: int
    message: str
    reason: Reason = Reason.QUOTA_EXCEEDED


@dataclass(frozen=True, slots=True)
class Problem:
    """Why no pool can be drawn on, and what to do about it."""

    reason: Reason
    message: str


def room(pools_on_path: Sequence[Pool], asked: Hours, holding: Hours) -> list[Cause]:
    """Every dimension in which a pool, root first, cannot raise ``holding`` to ``asked``; none: it fits.

    A resource that is not raised is never a cause, not even in a pool that is overcommitted.
    """
    return [
        _cause(pool, resource, more, holding.get(resource, 0))
        for pool in pools_on_path
        for resource, hours in sorted(asked.items())
        if (more := hours - holding.get(resource, 0)) > 0 and more > pool.left(resource)
    ]


def _cause(pool: Pool, resource: str, more: int, held: int) -> Cause:
    limit, left = pool.limit.get(resource), pool.left(resource)
    granted = pool.granted.get(resource, 0)
    if limit is None:
        message = f"pool {pool.name} holds no {resource} hours; leave {resource} out, or ask for a pool that has them."
        return Cause(pool.name, resource, 0, granted, 0, more, message, Reason.RESOURCE_NOT_IN_POOL)
    asks = f"{more:,} more" if held else f"{more:,}"
    ways = [f"ask for {held + left:,}{' in all' if held else ''}"] if left else []
    ways += [f"wait until {pool.end.astimezone(UTC):%Y-%m-%d}", "or ask for a larger pool"]
    remedy = ", ".join(ways)
    message = (
        f"pool {pool.name} has {left:,} of {limit:,} {resource} hours left; this asks for {asks}. "
        f"{remedy[0].upper()}{remedy[1:]}."
    )
    return Cause(pool.name, resource, limit, granted, left, more, message)


def candidate_pools(pools: Iterable[Pool], cluster: str, project: str, period: Period) -> list[Pool]:
    """Leaf pools of the cluster that cover the period and admit the project, by name."""
    known = list(pools)
    parents = {pool.parent for pool in known if pool.parent}
    fitting = (
        pool
        for pool in known
        if pool.cluster == cluster and pool.name not in parents and pool.covers(period) and pool.admits(project)
    )
    return sorted(fitting, key=lambda pool: pool.name)


def path_of(pools: Mapping[str, Pool], leaf: Pool) -> list[Pool] | Problem:
    """The pools from root to leaf; a problem where the parent is missing, does not fit or has a parent itself."""
    if leaf.parent is None:
        return [leaf]
    root = pools.get(leaf.parent)
    if root is None:
        return Problem(
            Reason.PARENT_NOT_FOUND, f"pool {leaf.name} hangs below pool {leaf.parent}, which is not there; create it."
        )
    if root.parent is not None:
        return Problem(
            Reason.POOL_TOO_DEEP, f"pool {root.name} hangs below a pool itself, so no pool may hang below it; use a root pool."
        )
    if root.cluster != leaf.cluster or root.start > leaf.start or leaf.end > root.end:
        return Problem(
            Reason.PARENT_MISMATCH,
            f"pool {root.name} is of another cluster, or its period does not cover pool {leaf.name}; change one of them.",
        )
    return [root, leaf]


def choose_path(
    pools: Mapping[str, Pool], pool_ref: str | None, cluster: str, project: str, period: Period
) -> list[Pool] | Problem:
    """The pools that an allocation draws on, root first: the named one, or the only one that fits."""
    leaf = _only(pools, cluster, project, period) if pool_ref is None else _named(pools, pool_ref, cluster, project, period)
    return leaf if isinstance(leaf, Problem) else path_of(pools, leaf)


def _only(pools: Mapping[str, Pool], cluster: str, project: str, period: Period) -> Pool | Problem:
    fitting = candidate_pools(pools.values(), cluster, project, period)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(pool.name for pool in fitting[:20])
        return Problem(Reason.AMBIGUOUS_POOL, f"several pools fit: {names}. Name one in spec.poolRef of a new allocation.")
    return Problem(
        Reason.NO_POOL,
        f"no pool of cluster {cluster} covers {_span(period.start, period.end)} and admits project {project}. "
        "Change the period, or ask for a pool.",
    )


def _named(pools: Mapping[str, Pool], name: str, cluster: str, project: str, period: Period) -> Pool | Problem:
    pool = pools.get(name)
    if pool is None or pool.cluster != cluster:
        return Problem(Reason.POOL_NOT_FOUND, f"cluster {cluster} has no pool {name}; check the name or create the pool.")
    if not pool.admits(project):
        return Problem(Reason.POOL_NOT_ADMITTED, f"pool {name} does not admit project {project}; name another pool.")
    if not pool.covers(period):
        return Problem(
            Reason.PERIOD_OUTSIDE_POOL,
            f"pool {name} covers {_span(pool.start, pool.end)}; choose a period inside it or name another pool.",
        )
    if any(other.parent == name for other in pools.values()):
        return Problem(Reason.POOL_NOT_A_LEAF, f"pools hang below pool {name}, so allocations draw on those; name one of them.")
    return pool


def _span(start: datetime, end: datetime) -> str:
    return f"{start.astimezone(UTC):%Y-%m-%d} to {end.astimezone(UTC):%Y-%m-%d}"

"""Pool room: which pool an allocation draws on, what that pool still holds, and the words of a refusal.

Webhook and operator call the same functions, so a dry run, an admission and a waiting request say the same thing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bursar_crds.common import Period
from bursar_crds.instants import parse_instant
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.units import with_percent

Hours = Mapping[str, int]
MAX_DEPTH = 8
"""Pools from root to leaf; each is one write of a grant."""


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool as the arithmetic needs it: hours per resource that it may grant (``limit``) and has granted.

    ``caps``: most that one project may hold of it, counted over the pools below it too.
    """

    name: str
    cluster: str
    parent: str | None
    start: datetime
    end: datetime
    limit: Hours
    granted: Hours
    projects: frozenset[str] | None = None
    caps: Hours = field(default_factory=dict)

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
            caps={item.name: item.hours for item in spec.per_project},
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
            caps={item["name"]: item["hours"] for item in spec.get("perProject") or ()},
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


def candidate_pools(pools: Mapping[str, Pool], cluster: str, project: str, period: Period) -> list[Pool]:
    """Leaf pools of the cluster that cover the period, and with every pool above them admit the project; by name."""
    parents = {pool.parent for pool in pools.values() if pool.parent}
    fitting = (
        pool
        for pool in pools.values()
        if pool.cluster == cluster and pool.name not in parents and pool.covers(period) and _admitted(pools, pool, project)
    )
    return sorted(fitting, key=lambda pool: pool.name)


def _admitted(pools: Mapping[str, Pool], leaf: Pool, project: str) -> bool:
    """A pool whose path is broken counts: what is wrong with it is said when it is chosen."""
    path = path_of(pools, leaf)
    return leaf.admits(project) and (isinstance(path, Problem) or all(pool.admits(project) for pool in path))


def path_of(pools: Mapping[str, Pool], leaf: Pool) -> list[Pool] | Problem:
    """The pools from root to leaf; a problem where one of them is missing, does not fit the next or hangs below itself."""
    path = [leaf]
    while (name := path[0].parent) is not None:
        below, above = path[0], pools.get(name)
        if above is None:
            return Problem(
                Reason.PARENT_NOT_FOUND, f"pool {below.name} hangs below pool {name}, which is not there; create it."
            )
        if any(pool.name == name for pool in path):
            return Problem(Reason.PARENT_MISMATCH, f"pool {name} hangs below itself; make pools anew without the circle.")
        if above.cluster != below.cluster or above.start > below.start or below.end > above.end:
            return Problem(
                Reason.PARENT_MISMATCH,
                f"pool {name} is of another cluster, or its period does not cover pool {below.name}; change one of them.",
            )
        if len(path) == MAX_DEPTH:
            return Problem(
                Reason.POOL_TOO_DEEP, f"pool {leaf.name} hangs below {MAX_DEPTH} or more pools; hang it below a higher one."
            )
        path.insert(0, above)
    return path


def draws_on(pools: Mapping[str, Pool], leaf: str | None, name: str) -> bool:
    """Whether what draws on a leaf draws on this pool too: it is the leaf, or one above it."""
    pool = pools.get(leaf or "")
    path = [] if pool is None else path_of(pools, pool)
    return not isinstance(path, Problem) and any(item.name == name for item in path)


def capped(pool: Pool, asked: Hours, holding: Hours, held: Hours) -> list[Cause]:
    """Every dimension in which raising ``holding`` to ``asked`` takes a project over what one may hold of the pool.

    ``held``: what the project holds of the pool in all, ``holding`` included.
    """
    return [
        _cap_cause(pool, resource, more, holding.get(resource, 0), pool.caps[resource] - held.get(resource, 0))
        for resource, hours in sorted(asked.items())
        if resource in pool.caps
        and (more := hours - holding.get(resource, 0)) > 0
        and held.get(resource, 0) + more > pool.caps[resource]
    ]


def _cap_cause(pool: Pool, resource: str, more: int, own: int, left: int) -> Cause:
    cap, left = pool.caps[resource], max(0, left)
    asks = f"{more:,} more" if own else f"{more:,}"
    remedy = (
        f"Ask for {own + left:,}{' in all' if own else ''}, or have" if left else "Delete or lower another allocation, or have"
    )
    message = (
        f"one project may hold {cap:,} {resource} hours of pool {pool.name}; this one has {left:,} of them left and asks for "
        f"{asks}. {remedy} perProject of the pool raised."
    )
    return Cause(pool.name, resource, cap, cap - left, left, more, message, Reason.PROJECT_SHARE_EXCEEDED)


def choose_path(
    pools: Mapping[str, Pool], pool_ref: str | None, cluster: str, project: str, period: Period
) -> list[Pool] | Problem:
    """The pools that an allocation draws on, root first: the named one, or the only one that fits, and those above it."""
    leaf = _only(pools, cluster, project, period) if pool_ref is None else _named(pools, pool_ref, cluster, project, period)
    path = leaf if isinstance(leaf, Problem) else path_of(pools, leaf)
    if isinstance(path, Problem):
        return path
    closed = next((pool.name for pool in path if not pool.admits(project)), None)
    return path if closed is None else _not_admitted(closed, project)


def _only(pools: Mapping[str, Pool], cluster: str, project: str, period: Period) -> Pool | Problem:
    fitting = candidate_pools(pools, cluster, project, period)
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
        return _not_admitted(name, project)
    if not pool.covers(period):
        return Problem(
            Reason.PERIOD_OUTSIDE_POOL,
            f"pool {name} covers {_span(pool.start, pool.end)}; choose a period inside it or name another pool.",
        )
    if any(other.parent == name for other in pools.values()):
        return Problem(Reason.POOL_NOT_A_LEAF, f"pools hang below pool {name}, so allocations draw on those; name one of them.")
    return pool


def _not_admitted(pool: str, project: str) -> Problem:
    return Problem(Reason.POOL_NOT_ADMITTED, f"pool {pool} does not admit project {project}; name another pool.")


def _span(start: datetime, end: datetime) -> str:
    return f"{start.astimezone(UTC):%Y-%m-%d} to {end.astimezone(UTC):%Y-%m-%d}"

"""Checks of an Allocation against the cluster, the project and the pools."""

from dataclasses import replace

from bursar_crds.allocation import Allocation
from bursar_crds.common import hours_by_name
from bursar_crds.reasons import Reason
from bursar_domain.references import check_access, check_cluster, check_pool
from bursar_domain.room import Cause, Pool, Problem, capped, choose_path, draws_on, room
from bursar_domain.schedule import end_violations
from bursar_domain.violations import Violation
from bursar_webhooks.facts import Facts
from bursar_webhooks.pool_warnings import fullness

_FIELD_OF = {
    Reason.PERIOD_OUTSIDE_POOL: "spec.period",
    Reason.NO_POOL: "spec.period",
    Reason.AMBIGUOUS_POOL: "spec.poolRef",
}


def references(new: Allocation, facts: Facts) -> list[Violation]:
    """What is wrong with the objects that it names. Pools are looked at only once the cluster lets the project in."""
    cluster, project = facts.cluster(new.spec.cluster_ref.name), facts.project_of(new.namespace or "")
    found = check_access(new, project, cluster) + check_cluster(new, cluster)
    if cluster is None or project is None or not cluster.spec.access.admits(project):
        return found
    return found + _pool(new, project, facts)


def changes(new: Allocation, old: Allocation | None, facts: Facts) -> list[Violation]:
    """Every resource and pool that cannot hold what is asked for beyond what is held, and an end that moves charges."""
    moved = end_violations(new.spec, old.spec, facts.now()) if old is not None else []
    return _beyond_room(new, old, facts) + moved


def _beyond_room(new: Allocation, old: Allocation | None, facts: Facts) -> list[Violation]:
    path = _path(new, old, facts)
    offered = _offered(new, facts)
    asked = {name: hours for name, hours in _raised(new, old).items() if name in offered}
    positions = {item.name: index for index, item in enumerate(new.spec.resources)}
    return [
        Violation(f"spec.resources[{positions[cause.resource]}].hours", cause.reason, cause.message)
        for cause in [*room(path, asked, _holding(old)), *_beyond_share(new, asked, old, path, facts)]
    ]


def _beyond_share(
    new: Allocation, asked: dict[str, int], old: Allocation | None, path: list[Pool], facts: Facts
) -> list[Cause]:
    """Pools of which the project would hold more than one may. What it used and gave up is the operator's to count."""
    shares = [capped(pool, asked, _holding(old), _held(new, pool, facts)) for pool in path if pool.caps]
    return [cause for causes in shares for cause in causes]


def _held(new: Allocation, pool: Pool, facts: Facts) -> dict[str, int]:
    """What the allocation's project holds of a pool."""
    items = list(facts.allocations_in(new.namespace or ""))
    leaves = {leaf for leaf in {item.pool for item in items} if draws_on(facts.pools(), leaf, pool.name)}
    return {name: sum(item.charged.get(name, 0) for item in items if item.pool in leaves) for name in pool.caps}


def warnings(new: Allocation, old: Allocation | None, facts: Facts) -> list[str]:
    """Pools, and the project's shares of them, that are nearly full once this is granted."""
    path, raised, holding = _path(new, old, facts), _raised(new, old), _holding(old)
    shares = [replace(pool, limit=pool.caps, granted=_held(new, pool, facts)) for pool in path if pool.caps]
    return fullness(path, raised, holding) + fullness(shares, raised, holding, "the project's share of ")


def _pool(new: Allocation, project: str, facts: Facts) -> list[Violation]:
    reference = new.spec.pool_ref
    if reference is not None and facts.pool(reference.name) is not None:
        known = check_pool(new, project, facts.pool(reference.name))
        misfits = [item for item in known if item.reason != Reason.RESOURCE_NOT_IN_POOL]
        if misfits:
            return known
    chosen = choose_path(
        facts.pools(), reference.name if reference else None, new.spec.cluster_ref.name, project, new.spec.period
    )
    if not isinstance(chosen, Problem):
        return []
    field = _FIELD_OF.get(chosen.reason, "spec.poolRef.name" if reference else "spec.poolRef")
    return [Violation(field, chosen.reason, chosen.message)]


def _path(new: Allocation, old: Allocation | None, facts: Facts) -> list[Pool]:
    project = facts.project_of(new.namespace or "")
    if project is None:
        return []
    named = new.spec.pool_ref.name if new.spec.pool_ref else None
    drawn = old.status.pool if old is not None else None
    chosen = choose_path(facts.pools(), named or drawn, new.spec.cluster_ref.name, project, new.spec.period)
    return [] if isinstance(chosen, Problem) else chosen


def _raised(new: Allocation, old: Allocation | None) -> dict[str, int]:
    """The resources that get more hours than the stored spec has; what was asked for before is not judged again."""
    before = hours_by_name(old.spec.resources) if old is not None else {}
    return {name: hours for name, hours in hours_by_name(new.spec.resources).items() if hours > before.get(name, 0)}


def _holding(old: Allocation | None) -> dict[str, int]:
    return hours_by_name(old.status.charged) if old is not None else {}


def _offered(new: Allocation, facts: Facts) -> set[str]:
    cluster = facts.cluster(new.spec.cluster_ref.name)
    project = facts.project_of(new.namespace or "")
    if cluster is None or project is None or not cluster.spec.access.admits(project):
        return set()
    return {item.name for item in cluster.spec.resources}

"""Checks of a QuotaPool against its cluster, its parent, the pools below it and what was drawn from it."""

from bursar_crds.common import Period
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.references import check_cluster, check_parent
from bursar_domain.room import MAX_DEPTH, Pool
from bursar_domain.violations import Violation
from bursar_webhooks.facts import Facts
from bursar_webhooks.pool_warnings import larger_than_cluster, overcommitment


def references(new: QuotaPool, facts: Facts) -> list[Violation]:
    """What is wrong with the cluster and the parent that it names."""
    circle = _circle(new, facts)
    if circle:
        return [*check_cluster(new, facts.cluster(new.spec.cluster_ref.name)), circle]
    parent = facts.pool(new.spec.parent_ref.name) if new.spec.parent_ref else None
    found = check_cluster(new, facts.cluster(new.spec.cluster_ref.name)) + check_parent(new, parent)
    if parent is not None:
        found += _larger_than_parent(new, parent) + _too_deep(new, facts) + _drawn_on(new, parent, facts)
    return found


def changes(new: QuotaPool, old: QuotaPool | None, facts: Facts) -> list[Violation]:
    """What the change would take away from pools and allocations that are there already."""
    if old is None:
        return []
    return _removed_resources(new, old) + _shut_out_children(new, old, facts) + _shut_out_allocations(new, old, facts)


def warnings(new: QuotaPool, old: QuotaPool | None, facts: Facts) -> list[str]:
    """Limits below what is granted or below a child's, and hours that the machine does not have."""
    return (
        overcommitment(new) + _children_larger(new, facts) + larger_than_cluster(new, facts.cluster(new.spec.cluster_ref.name))
    )


def _circle(new: QuotaPool, facts: Facts) -> Violation | None:
    """The way up from this pool that comes back to it."""
    way, reference = [new.name], new.spec.parent_ref
    while reference is not None and reference.name not in way:
        way.append(reference.name)
        above = facts.pool(reference.name)
        reference = above.spec.parent_ref if above is not None else None
    if reference is None or reference.name != new.name:
        return None
    message = f"the pools would hang below each other in a circle: {' → '.join([*way, new.name])}; name a root pool"
    return Violation("spec.parentRef.name", Reason.PARENT_MISMATCH, message)


def _too_deep(new: QuotaPool, facts: Facts) -> list[Violation]:
    above, pool = 0, new
    while (
        above < MAX_DEPTH and pool.spec.parent_ref is not None and (higher := facts.pool(pool.spec.parent_ref.name)) is not None
    ):
        above, pool = above + 1, higher
    levels = above + _height(new.name, facts)
    if levels <= MAX_DEPTH:
        return []
    message = f"the tree of pools would have {levels} levels and may have {MAX_DEPTH}; hang the pool below a higher one"
    return [Violation("spec.parentRef.name", Reason.POOL_TOO_DEEP, message)]


def _height(name: str, facts: Facts, most: int = MAX_DEPTH) -> int:
    """Levels from this pool down, itself included; one more than may be where there are more, or a circle."""
    return 1 + max((_height(child.name, facts, most - 1) for child in facts.children(name)), default=0) if most else 1


def _drawn_on(new: QuotaPool, parent: QuotaPool, facts: Facts) -> list[Violation]:
    """Allocations draw on leaves alone, so a pool that is drawn on stays one."""
    drawing = sorted(f"{item.namespace}/{item.name}" for item in facts.allocations_of_pool(parent.name))
    if not drawing:
        return []
    message = (
        f"allocations draw on pool {parent.name} itself, {drawing[0]} for one; delete them first, "
        f"or hang pool {new.name} below another pool"
    )
    return [Violation("spec.parentRef.name", Reason.PARENT_DRAWN_ON, message)]


def _larger_than_parent(new: QuotaPool, parent: QuotaPool) -> list[Violation]:
    limit, own = Pool.of(parent).limit, Pool.of(new).limit
    return [
        Violation(
            f"spec.resources[{index}].hours",
            Reason.PARENT_MISMATCH,
            f"pool {parent.name} holds {limit[item.name]:,} {item.name} hours, fewer than the {own[item.name]:,} here; "
            f"ask for {limit[item.name]:,} or raise pool {parent.name} first",
        )
        for index, item in enumerate(new.spec.resources)
        if item.name in limit and own[item.name] > limit[item.name]
    ]


def _removed_resources(new: QuotaPool, old: QuotaPool) -> list[Violation]:
    kept = {item.name for item in new.spec.resources}
    before = {item.name for item in old.spec.resources}
    return [
        Violation(
            "spec.resources",
            Reason.OVERCOMMITTED,
            f"{item.hours:,} {item.name} hours are granted from pool {new.name}, so {item.name} stays listed; "
            f"delete or lower those allocations first, or set its hours to 0 to grant no more",
        )
        for item in old.status.granted
        if item.hours > 0 and item.name in before - kept
    ]


def _shut_out_children(new: QuotaPool, old: QuotaPool, facts: Facts) -> list[Violation]:
    if new.spec.period == old.spec.period:
        return []
    return [
        Violation(
            "spec.period",
            Reason.PARENT_MISMATCH,
            f"pool {child.name} hangs below pool {new.name} and would lie outside its period; change pool {child.name} first",
        )
        for child in facts.children(new.name)
        if _covers(old.spec.period, child.spec.period) and not _covers(new.spec.period, child.spec.period)
    ]


def _shut_out_allocations(new: QuotaPool, old: QuotaPool, facts: Facts) -> list[Violation]:
    if new.spec.period == old.spec.period:
        return []
    before, after = Pool.of(old), Pool.of(new)
    outside = sorted(
        f"{item.namespace}/{item.name}"
        for item in facts.allocations_of_pool(new.name)
        if before.start <= item.start and item.end <= before.end and not (after.start <= item.start and item.end <= after.end)
    )
    if not outside:
        return []
    shown = ", ".join(outside[:5]) + (f" and {len(outside) - 5} more" if len(outside) > 5 else "")
    message = f"allocations that draw on pool {new.name} would lie outside its period: {shown}; change or delete them first"
    return [Violation("spec.period", Reason.PERIOD_OUTSIDE_POOL, message)]


def _children_larger(new: QuotaPool, facts: Facts) -> list[str]:
    limit = Pool.of(new).limit
    return [
        f"pool {child.name} below pool {new.name} holds {hours:,} {resource} hours, more than the {limit[resource]:,} here"
        for child in facts.children(new.name)
        for resource, hours in sorted(Pool.of(child).limit.items())
        if resource in limit and hours > limit[resource]
    ]


def _covers(outer: Period, inner: Period) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end

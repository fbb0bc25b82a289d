"""Checks of a Cluster against the projects' accounts and the pools that hold its hours."""

from bursar_crds.cluster import Cluster
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation
from bursar_webhooks.facts import Facts


def references(new: Cluster, facts: Facts) -> list[Violation]:
    """The root of Bursar's subtree is no project's account."""
    root = new.spec.scheduler.root_account
    taken = next((project.name for project in facts.projects() if project.account == root), None)
    if taken is None:
        return []
    message = f"account {root} belongs to project {taken}; choose another root account"
    return [Violation("spec.scheduler.rootAccount", Reason.ACCOUNT_TAKEN, message)]


def changes(new: Cluster, old: Cluster | None, facts: Facts) -> list[Violation]:
    """A resource that is granted stays."""
    if old is None:
        return []
    kept = {item.name for item in new.spec.resources}
    granted = {
        resource: pool.name
        for pool in facts.pools().values()
        if pool.cluster == new.name
        for resource, hours in pool.granted.items()
        if hours > 0
    }
    return [
        Violation(
            "spec.resources",
            Reason.OVERCOMMITTED,
            f"{item.name} hours are granted from pool {granted[item.name]}, so {item.name} stays listed; "
            "delete those allocations first",
        )
        for item in old.spec.resources
        if item.name in granted and item.name not in kept
    ]


def warnings(new: Cluster, old: Cluster | None, facts: Facts) -> list[str]:
    """Projects that lose access while they hold allocations: what they hold stays, new requests are refused."""
    if old is None or new.spec.access == old.spec.access:
        return []
    holders = {facts.project_of(item.namespace) for item in facts.allocations_of_cluster(new.name)}
    out = sorted(
        name for name in holders if name is not None and old.spec.access.admits(name) and not new.spec.access.admits(name)
    )
    return [f"project {name} keeps its allocations on cluster {new.name}, but gets no new ones" for name in out[:5]]

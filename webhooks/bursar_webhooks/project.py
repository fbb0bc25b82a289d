"""Checks of a Project against the other projects and the clusters' own accounts."""

from bursar_crds.project import Project
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation
from bursar_webhooks.facts import Facts


def references(new: Project, facts: Facts) -> list[Violation]:
    """Account and namespace belong to nobody else."""
    return _account(new, facts) + _namespace(new, facts)


def changes(new: Project, old: Project | None, facts: Facts) -> list[Violation]:
    """Nothing that depends on the state before."""
    return []


def warnings(new: Project, old: Project | None, facts: Facts) -> list[str]:
    """Nothing to warn of."""
    return []


def _account(new: Project, facts: Facts) -> list[Violation]:
    account, found = new.account, []
    rooted = sorted(cluster.name for cluster in facts.clusters() if cluster.spec.scheduler.root_account == account)
    if rooted:
        message = f"account {account} is Bursar's own root on cluster {rooted[0]}; set spec.account to another name"
        found.append(Violation("spec.account", Reason.ACCOUNT_RESERVED, message))
    if any(other.account == account for other in facts.projects() if other.name != new.name):
        message = f"account {account} belongs to another project; set spec.account to another name"
        found.append(Violation("spec.account", Reason.ACCOUNT_TAKEN, message))
    return found


def _namespace(new: Project, facts: Facts) -> list[Violation]:
    namespace = new.project_namespace
    if any(other.project_namespace == namespace for other in facts.projects() if other.name != new.name):
        message = f"namespace {namespace} belongs to another project; set spec.namespace to another name"
        return [Violation("spec.namespace", Reason.NAMESPACE_TAKEN, message)]
    return []

"""Checks of a Membership against its project and the other members."""

from bursar_crds.membership import Membership, Role
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation
from bursar_webhooks.facts import Facts


def references(new: Membership, facts: Facts) -> list[Violation]:
    """The namespace is a project's, and nobody is a member of it twice."""
    namespace = new.namespace or ""
    project = facts.project_of(namespace)
    if project is None:
        message = f"namespace {namespace} belongs to no Project; put the membership into a project's namespace"
        return [Violation("metadata.namespace", Reason.PROJECT_NOT_FOUND, message)]
    other = next((item for item in _others(new, facts) if item.spec.user == new.spec.user), None)
    if other is None:
        return []
    message = f"{new.spec.user} is a member of project {project} already by {other.name}; change that one"
    return [Violation("spec.user", Reason.DUPLICATE_MEMBER, message)]


def changes(new: Membership, old: Membership | None, facts: Facts) -> list[Violation]:
    """The last owner stays one."""
    stays = new.spec.role == Role.OWNER or old is None or old.spec.role != Role.OWNER
    if stays or any(item.spec.role == Role.OWNER for item in _others(new, facts)):
        return []
    message = f"{new.spec.user} is the project's last owner; make somebody else Owner first"
    return [Violation("spec.role", Reason.LAST_OWNER, message)]


def warnings(new: Membership, old: Membership | None, facts: Facts) -> list[str]:
    """Nothing to warn of."""
    return []


def _others(new: Membership, facts: Facts) -> list[Membership]:
    return [item for item in facts.members(new.namespace or "") if item.name != new.name and not item.metadata.deleting]

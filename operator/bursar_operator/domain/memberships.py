"""Memberships, decided: one RoleBinding per role, and what each membership is told."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from bursar_crds.conditions import READY, remove_condition, set_condition
from bursar_crds.instants import parse_instant
from bursar_crds.names import GROUP, MANAGED_BY, MANAGED_BY_LABEL, PROJECT_LABEL
from bursar_crds.reasons import Reason
from bursar_operator.domain.projects import OWNER, current, ended

Obj = dict[str, Any]
ACCOUNT_READY: Final = "AccountReady"
VIEWER: Final = "Viewer"
OWNERS: Final = f"{GROUP}/owners"  # annotation of the namespace: how many owners the project has
ROLES: Final[Mapping[str, str]] = {
    "Owner": "bursar-project-owner",
    "Manager": "bursar-project-manager",
    "Member": "bursar-project-member",
    VIEWER: "bursar-project-viewer",
}
RBAC: Final = "rbac.authorization.k8s.io"


@dataclass(frozen=True, slots=True)
class AccountView:
    """What one cluster's agent says of the project's account; `made` is false while nothing was read back."""

    cluster: str
    made: bool
    users_missing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Plan:
    """What the namespace's role bindings and memberships are to be."""

    bindings: Mapping[str, Obj]
    statuses: Mapping[str, Obj]
    owners: int = 0
    next_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of one project's people. `project` is None where the namespace belongs to none."""

    namespace: str
    project: str | None
    memberships: Sequence[Obj]
    accounts: Sequence[AccountView] = field(default=())


def effective(memberships: Iterable[Obj], now: datetime) -> dict[str, Obj]:
    """Per user the membership that counts: the oldest one that has not ended."""
    counting: dict[str, Obj] = {}
    for item in current(memberships, now):
        counting.setdefault(item["spec"]["user"], item)
    return counting


def computing(memberships: Iterable[Obj], now: datetime) -> tuple[str, ...]:
    """Users who get an association at the schedulers: every role but Viewer, in order."""
    return tuple(sorted(user for user, item in effective(memberships, now).items() if item["spec"]["role"] != VIEWER))


def plan(snapshot: Snapshot, user_prefix: str, now: datetime) -> Plan:
    """Bindings by name (none where nobody has the role) and statuses by membership name."""
    counting = effective(snapshot.memberships, now) if snapshot.project else {}
    statuses = {item["metadata"]["name"]: _status(item, snapshot, counting, now) for item in snapshot.memberships}
    owners = sum(item["spec"]["role"] == OWNER for item in counting.values())
    return Plan(_bindings(snapshot, counting, user_prefix), statuses, owners, _next_end(snapshot.memberships, now))


def _bindings(snapshot: Snapshot, counting: Mapping[str, Obj], user_prefix: str) -> dict[str, Obj]:
    bindings = {}
    for role, cluster_role in ROLES.items():
        users = sorted(user for user, item in counting.items() if item["spec"]["role"] == role)
        if users and snapshot.project:
            bindings[cluster_role] = _binding(snapshot, cluster_role, [f"{user_prefix}{user}" for user in users])
    return bindings


def _binding(snapshot: Snapshot, cluster_role: str, users: Collection[str]) -> Obj:
    return {
        "apiVersion": f"{RBAC}/v1",
        "kind": "RoleBinding",
        "metadata": {
            "name": cluster_role,
            "namespace": snapshot.namespace,
            "labels": {MANAGED_BY_LABEL: MANAGED_BY, PROJECT_LABEL: str(snapshot.project)},
        },
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": cluster_role},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": user} for user in users],
    }


def _status(membership: Obj, snapshot: Snapshot, counting: Mapping[str, Obj], now: datetime) -> Obj:
    generation = membership["metadata"].get("generation")
    before = dict(membership.get("status") or {})
    account = _account_ready(membership, snapshot)
    ready = _ready(membership, snapshot, counting, account, now)
    conditions = set_condition(before.get("conditions"), READY, *ready, now, generation)
    if account is None:
        conditions = remove_condition(conditions, ACCOUNT_READY)
    else:
        conditions = set_condition(conditions, ACCOUNT_READY, *account, now, generation)
    return before | {"conditions": conditions, "observedGeneration": generation}


def _ready(
    membership: Obj,
    snapshot: Snapshot,
    counting: Mapping[str, Obj],
    account: tuple[bool, Reason, str] | None,
    now: datetime,
) -> tuple[bool, Reason, str]:
    user, role = membership["spec"]["user"], membership["spec"]["role"]
    if snapshot.project is None:
        text = f"namespace {snapshot.namespace} belongs to no project; make the Membership in a project's namespace"
        return False, Reason.PROJECT_NOT_FOUND, text
    if ended(membership, now):
        return False, Reason.MEMBERSHIP_ENDED, "its time is over; move spec.until or delete it"
    holder = counting.get(user)
    if holder is not None and holder["metadata"]["name"] != membership["metadata"]["name"]:
        text = f"membership {holder['metadata']['name']} is of {user} too and older; change that one and delete this one"
        return False, Reason.DUPLICATE_MEMBER, text
    if account is not None and account[1] == Reason.USER_MISSING:
        return account
    return True, Reason.READY, f"{user} has the rights of a project {role.lower()}"


def _account_ready(membership: Obj, snapshot: Snapshot) -> tuple[bool, Reason, str] | None:
    user = membership["spec"]["user"]
    if snapshot.project is None or membership["spec"]["role"] == VIEWER:
        return None
    missing = sorted(view.cluster for view in snapshot.accounts if user in view.users_missing)
    if missing:
        text = f"{', '.join(missing)}: the host does not know {user}; make the Unix account there or correct the name"
        return False, Reason.USER_MISSING, text
    pending = sorted(view.cluster for view in snapshot.accounts if not view.made)
    if pending:
        return False, Reason.ACCOUNT_PENDING, f"{', '.join(pending)}: the association is not read back yet"
    if not snapshot.accounts:
        return False, Reason.NO_CLUSTER, "the project has no allocation yet; the account comes with the first one"
    return (
        True,
        Reason.ACCOUNT_READY,
        f"{', '.join(sorted(view.cluster for view in snapshot.accounts))}: the association is made",
    )


def _next_end(memberships: Iterable[Obj], now: datetime) -> datetime | None:
    ends = (parse_instant(item["spec"]["until"]) for item in memberships if item["spec"].get("until"))
    return min((end for end in ends if end > now), default=None)


def differs(wanted: Obj, found: Obj | None) -> bool:
    """Whether a binding has to be written."""
    return found is None or any(wanted[name] != found.get(name) for name in ("roleRef", "subjects"))

"""Projects, decided: who has an account and a namespace first, what is to be made, what the status says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Any, Final

from bursar_crds.conditions import READY, set_condition
from bursar_crds.instants import parse_instant
from bursar_crds.names import API_VERSION, MANAGED_BY, MANAGED_BY_LABEL, PROJECT_LABEL, project_namespace
from bursar_crds.reasons import Reason

Obj = dict[str, Any]
OWNER: Final = "Owner"


@dataclass(frozen=True, slots=True)
class Claim:
    """What a Project claims for itself. Who holds it already keeps it; else the older one (then the lower uid) has it."""

    name: str
    uid: str
    created: str
    account: str
    namespace: str
    held: bool = False

    @classmethod
    def of(cls, project: Mapping[str, Any]) -> "Claim":
        """From the object as it is stored."""
        metadata, spec, status = project["metadata"], project["spec"], project.get("status") or {}
        name = metadata["name"]
        return cls(
            name=name,
            uid=metadata["uid"],
            created=metadata["creationTimestamp"],
            account=spec.get("account") or name,
            namespace=spec.get("namespace") or project_namespace(name),
            held=bool(status.get("account") and status.get("namespace")),
        )

    @property
    def rank(self) -> tuple[bool, str, str]:
        """The lower one goes first."""
        return not self.held, self.created, self.uid


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a project may have what it claims, why, and what is to be done about the namespace.

    ``keeps``: its namespace is being deleted, and until that is gone whatever is left in there is still the project's: what was
    granted is published, taken back and acknowledged under its account.
    """

    settled: bool
    reason: Reason
    message: str
    create_namespace: bool = False
    label_namespace: bool = False
    keeps: bool = False


def judge(
    claim: Claim, others: Iterable[Claim], namespace: Obj | None, roots: Mapping[str, str], reserved: Iterable[str]
) -> Verdict:
    """`roots` maps root accounts to their clusters; `namespace` is the claimed one as it is, `reserved` never are given."""
    earlier = sorted((other for other in others if other.uid != claim.uid and other.rank < claim.rank), key=lambda o: o.rank)
    for other in earlier:
        if other.account == claim.account:
            text = f"project {other.name} has the account {claim.account}; make this project again with another spec.account"
            return Verdict(False, Reason.ACCOUNT_TAKEN, text)
        if other.namespace == claim.namespace:
            return _taken(claim.namespace, f"belongs to project {other.name}")
    if claim.account in roots:
        text = f"{claim.account} is the root account of cluster {roots[claim.account]}; choose another spec.account"
        return Verdict(False, Reason.ACCOUNT_RESERVED, text)
    if claim.namespace in reserved:
        return _taken(claim.namespace, "belongs to the system")
    return _judge_namespace(claim, namespace)


def _taken(namespace: str, why: str) -> Verdict:
    text = f"namespace {namespace} {why}; make this project again with another spec.namespace"
    return Verdict(False, Reason.NAMESPACE_TAKEN, text)


def _judge_namespace(claim: Claim, namespace: Obj | None) -> Verdict:
    ready = f"namespace {claim.namespace} belongs to this project"
    if namespace is None:
        return Verdict(True, Reason.NAMESPACE_READY, ready, create_namespace=True)
    metadata = namespace["metadata"]
    if metadata.get("deletionTimestamp"):
        text = f"namespace {claim.namespace} is being deleted; this project gets a new one then"
        return Verdict(False, Reason.WAITING, text, keeps=claim.held and belongs(namespace, claim.name))
    label = (metadata.get("labels") or {}).get(PROJECT_LABEL)
    if label is not None and label != claim.name:
        return _taken(claim.namespace, f"belongs to project {label}")
    return Verdict(True, Reason.NAMESPACE_READY, ready, label_namespace=label is None)


def namespace_object(claim: Claim) -> Obj:
    """The namespace as it is made; the manager's label says that it goes away with the project."""
    labels = {PROJECT_LABEL: claim.name, MANAGED_BY_LABEL: MANAGED_BY}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": claim.namespace, "labels": labels}}


def belongs(namespace: Obj, project: str) -> bool:
    """Whether the namespace is this project's."""
    return (namespace["metadata"].get("labels") or {}).get(PROJECT_LABEL) == project


def made_here(namespace: Obj) -> bool:
    """Whether the operator made it, so that it goes away with the project; an adopted one stays."""
    return (namespace["metadata"].get("labels") or {}).get(MANAGED_BY_LABEL) == MANAGED_BY


def current(memberships: Iterable[Obj], now: datetime) -> list[Obj]:
    """The memberships that count now, oldest first."""
    found = [item for item in memberships if not item["metadata"].get("deletionTimestamp") and not ended(item, now)]
    return sorted(found, key=lambda item: (item["metadata"]["creationTimestamp"], item["metadata"]["uid"]))


def ended(membership: Obj, now: datetime) -> bool:
    """Whether its time is over."""
    until = membership["spec"].get("until")
    return until is not None and parse_instant(until) <= now


def first_membership(project: Obj, claim: Claim, memberships: Sequence[Obj], now: datetime) -> Obj | None:
    """The owner's Membership where the project has no owner and the one it names is no member in another role."""
    owner = project["spec"]["owner"]
    counting = current(memberships, now)
    if any(item["spec"]["role"] == OWNER or item["spec"]["user"] == owner for item in counting):
        return None
    taken = {item["metadata"]["name"] for item in memberships}
    name = membership_name(owner)
    return {
        "apiVersion": API_VERSION,
        "kind": "Membership",
        "metadata": {"name": f"{name}-owner" if name in taken else name, "namespace": claim.namespace},
        "spec": {"user": owner, "role": OWNER},
    }


def membership_name(user: str) -> str:
    """An object name for the user: itself, or with a short hash where the user's name is no object name."""
    plain = user.replace("_", "-").strip("-") or "user"
    return plain if plain == user else f"{plain}-{sha256(user.encode()).hexdigest()[:6]}"


def status(project: Obj, claim: Claim, verdict: Verdict, members: int, has_use: bool, now: datetime) -> Obj:
    """The status that answers this spec; account and namespace stand in it only while the project has or keeps them."""
    generation = project["metadata"].get("generation")
    before = dict(project.get("status") or {})
    conditions = set_condition(
        before.get("conditions"), READY, verdict.settled, verdict.reason, verdict.message, now, generation
    )
    for name in ("account", "namespace"):
        before.pop(name, None)
    held = {"account": claim.account, "namespace": claim.namespace} if verdict.settled or verdict.keeps else {}
    said = {"conditions": conditions, "observedGeneration": generation, "memberCount": members, "hasUse": has_use}
    return before | said | held

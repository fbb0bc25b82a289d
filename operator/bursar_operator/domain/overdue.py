"""Deletions that hang: from when on they are overdue, and what is said of them then. Pure."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bursar_crds.instants import format_instant, parse_instant
from bursar_crds.reasons import Reason
from bursar_operator.domain import events

Obj = Mapping[str, Any]
Verdict = tuple[bool, Reason, str]
PAGE: Final = 'the how-to page "Release an allocation by hand"'
SOON_SECONDS: Final = 1.0
SELDOM_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Hanging:
    """An allocation that is being deleted, and what it waits for.

    ``agent_seen``: when the cluster's agent last called, None where that is as it should be; ``never``: it never did.
    ``known_until``: up to which second of the cluster's clock the books know its use.
    """

    obj: Obj
    project: str
    account: str
    revision: int
    acknowledged: bool
    committed: Mapping[str, int]
    known_until: int
    agent_seen: datetime | None = None
    agent_never: bool = False
    braked: bool = False

    @property
    def command(self) -> str:
        """What states, on the scheduler's host, that the limit is gone."""
        claim = f"{self.account} {self.obj['metadata']['uid']} {self.revision} --used-since {self.known_until}"
        resources = "".join(f" --resource {item['name']}" for item in self.obj["spec"]["resources"])
        return f"bursar-agent attest {claim}{resources} --config FILE"


def deleted_at(obj: Obj) -> datetime | None:
    """Since when an object is being deleted."""
    stamp = obj["metadata"].get("deletionTimestamp")
    return None if stamp is None else parse_instant(stamp)


def is_overdue(obj: Obj, now: datetime, deadline_seconds: int) -> bool:
    """Whether its deletion takes longer than it should."""
    since = deleted_at(obj)
    return since is not None and (now - since).total_seconds() >= deadline_seconds


def still_grants(obj: Obj) -> bool:
    """Whether it is being deleted and its grant was not taken back yet: nobody can state such a revision gone."""
    return deleted_at(obj) is not None and any(item["hours"] for item in (obj.get("status") or {}).get("granted") or ())


def patience(obj: Obj, now: datetime) -> float:
    """Seconds until a deletion is looked at again that waits for what may never come: the longer it took, the more."""
    since = deleted_at(obj)
    age = 0.0 if since is None else (now - since).total_seconds()
    return min(SELDOM_SECONDS, max(SOON_SECONDS, age))


def plain(obj: Obj, waiting: str, now: datetime, deadline_seconds: int) -> tuple[Reason, str]:
    """What is said of a project or cluster that is being deleted and waits."""
    if not is_overdue(obj, now, deadline_seconds):
        return Reason.DELETING, waiting
    return Reason.RELEASE_OVERDUE, f"{_since(obj)}: {waiting}; look at what hangs, and see {PAGE}"


def of_allocation(hanging: Hanging) -> Verdict:
    """Condition Ready of an overdue allocation: since when, what it waits for, whose agent is silent, the way out."""
    cluster = hanging.obj["spec"]["clusterRef"]["name"]
    name = hanging.obj["metadata"]["name"]
    words = [f"{_since(hanging.obj)}: {_waits_for(hanging)}.", _agent(hanging, cluster)]
    if not hanging.acknowledged or hanging.committed:
        words.append(
            f"If the agent can't be mended, stop it, run `{hanging.command}` on the scheduler's host, and take what it prints "
            f"to `bursar allocations release {hanging.project} {name} --statement FILE`; see {PAGE}."
        )
    return False, Reason.RELEASE_OVERDUE, " ".join(words)


def _since(obj: Obj) -> str:
    since = deleted_at(obj)
    return f"being deleted since {format_instant(since)}" if since is not None else "being deleted"


def _waits_for(hanging: Hanging) -> str:
    if not hanging.acknowledged:
        return f"the scheduler's side has not confirmed revision {hanging.revision}, which takes the limit away"
    if hanging.committed:
        amounts = ", ".join(f"{amount} {name} hours" for name, amount in sorted(hanging.committed.items()))
        return f"jobs that run on account {hanging.account} may still use {amounts}"
    return "its hours are on their way back to the pool; the operator's log says what fails"


def _agent(hanging: Hanging, cluster: str) -> str:
    if hanging.agent_never:
        return f"No agent of cluster {cluster} ever called: start it."
    if hanging.agent_seen is not None:
        return f"The agent of cluster {cluster} was last heard of at {format_instant(hanging.agent_seen)}: start or mend it."
    if hanging.braked:
        return f"The brake of cluster {cluster} is engaged: acknowledge what it stopped, as the Cluster's condition says."
    return f"The agent of cluster {cluster} calls in: look at the Cluster's conditions for what keeps it from writing."


def event(obj: Obj, kind: str, reason: Reason, note: str, now: datetime, *, once: str, is_loud: bool = True) -> dict[str, Any]:
    """An Event on an object, the same one whenever it is told under the same word ``once``."""
    metadata = obj["metadata"]
    identity = hashlib.sha256(f"{metadata['uid']}|{reason}|{once}".encode()).hexdigest()[:16]
    name = f"{metadata['name'][:40].rstrip('.-')}.{identity}"
    return events.event(obj, kind, name, reason, "Delete", note, now, is_loud=is_loud)

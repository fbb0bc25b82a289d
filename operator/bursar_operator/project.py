"""Projects: an account, a namespace and the owner's Membership; and on deletion everything away in a safe order."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bursar_crds.conditions import READY, set_condition
from bursar_crds.names import (
    DEFAULT_ROOT_ACCOUNT,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    PROJECT_LABEL,
    RESERVED_NAMESPACE_PREFIX,
    RESERVED_NAMESPACES,
)
from bursar_kube.client import Kube
from bursar_kube.errors import AlreadyExists, Conflict, NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import ALLOCATIONS, MEMBERSHIPS, NAMESPACES, PROJECTS, ROLEBINDINGS
from bursar_operator.books import Books
from bursar_operator.desired import DesiredState
from bursar_operator.domain import overdue, projects
from bursar_operator.domain.memberships import OWNERS
from bursar_operator.domain.projects import Claim, Verdict
from bursar_operator.informers import BY_ACCOUNT, BY_NAMESPACE, Informers
from bursar_operator.statuses import write_status

Obj = dict[str, Any]
AGAIN_SECONDS: Final = 0.1
WORKERS: Final = 4
COMPARE_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a decision about one project needs."""

    project: Obj
    claim: Claim
    namespace: Obj | None
    verdict: Verdict
    memberships: list[Obj]
    has_use: bool


class Projects:
    """Keyed by name. Kopf says which project to look at (`touch`) and calls `release` until the finalizer may go."""

    def __init__(
        self,
        kube: Kube,
        informers: Informers,
        books: Books,
        desired: DesiredState,
        system_namespace: str,
        now: Callable[[], datetime],
        deadline_seconds: int,
    ) -> None:
        self._kube = kube
        self._informers = informers
        self._books = books
        self._desired = desired
        self._reserved = (*RESERVED_NAMESPACES, system_namespace)
        self._now = now
        self._deadline_seconds = deadline_seconds
        self.queue: WorkQueue[str] = WorkQueue("projects")
        informers.memberships.subscribe(self._membership)
        informers.projects.subscribe(self._other)

    def touch(self, name: str) -> None:
        """Look at the project again."""
        self.queue.add(name)

    def touch_account(self, account: str) -> None:
        """Use of the account was booked; only the first one shows in the status."""
        for item in self._informers.projects.by_index(BY_ACCOUNT, account):
            if not (item.get("status") or {}).get("hasUse") and self._books.has_use(account):
                self.touch(item["metadata"]["name"])

    async def run(self) -> None:
        """Work on what was touched."""
        await self.queue.run(WORKERS, self._look)

    async def _look(self, name: str) -> float | None:
        try:
            return await self._reconcile(name)
        except Conflict:
            return AGAIN_SECONDS  # Kopf or an administrator wrote in between: decide again from what is there now

    async def _reconcile(self, name: str) -> float | None:
        try:
            project = await self._kube.get(PROJECTS, name)
        except NotFound:
            self.queue.forget(name)
            return None
        if "deletionTimestamp" in project["metadata"]:
            return None
        snapshot = await self._gather(project)
        await self._apply(snapshot)
        return COMPARE_SECONDS if snapshot.verdict.settled else 10.0

    async def _gather(self, project: Obj) -> Snapshot:
        claim = Claim.of(project)
        namespace = await self._namespace(claim.namespace)
        verdict = projects.judge(claim, self._rivals(claim), namespace, self._roots(), self._reserved_for(claim))
        memberships = self._informers.memberships.by_index(BY_NAMESPACE, claim.namespace) if verdict.settled else []
        return Snapshot(project, claim, namespace, verdict, memberships, self._books.has_use(claim.account))

    async def _apply(self, found: Snapshot) -> None:
        await self._ensure_namespace(found)
        first = projects.first_membership(found.project, found.claim, found.memberships, self._now())
        if first is not None and found.verdict.settled:
            await self._create(MEMBERSHIPS, first)
        counting = projects.current(found.memberships, self._now())
        members = len({item["spec"]["user"] for item in counting})
        status = projects.status(found.project, found.claim, found.verdict, members, found.has_use, self._now())
        await write_status(self._kube, PROJECTS, found.project, status)

    async def _ensure_namespace(self, found: Snapshot) -> None:
        wanted = projects.namespace_object(found.claim)
        if found.verdict.create_namespace and not await self._create(NAMESPACES, wanted):
            raise Conflict(f"namespace {found.claim.namespace} was made by somebody else just now", call="project")
        if found.verdict.label_namespace and found.namespace is not None:
            label = {PROJECT_LABEL: found.claim.name}
            metadata = {"labels": label, "resourceVersion": found.namespace["metadata"]["resourceVersion"]}
            await self._kube.merge_patch(NAMESPACES, found.claim.namespace, {"metadata": metadata})

    async def _create(self, rt: Any, obj: Obj) -> bool:
        try:
            await self._kube.create(rt, obj)
        except AlreadyExists:
            return False
        return True

    async def _namespace(self, name: str) -> Obj | None:
        try:
            return await self._kube.get(NAMESPACES, name)
        except NotFound:
            return None

    def _rivals(self, claim: Claim) -> list[Claim]:
        found = self._informers.projects
        same = [*found.by_index(BY_ACCOUNT, claim.account), *found.by_index(BY_NAMESPACE, claim.namespace)]
        return [Claim.of(item) for item in same]

    def _roots(self) -> dict[str, str]:
        found = {}
        for cluster in self._informers.clusters.items():
            found[cluster["spec"]["scheduler"].get("rootAccount") or DEFAULT_ROOT_ACCOUNT] = cluster["metadata"]["name"]
        return found

    def _reserved_for(self, claim: Claim) -> tuple[str, ...]:
        system = claim.namespace.startswith(RESERVED_NAMESPACE_PREFIX)
        return (*self._reserved, claim.namespace) if system else self._reserved

    # Deletion

    async def release(self, project: Obj) -> str | None:
        """Take the project apart, one step a call: allocations, accounts at the schedulers, people, namespace.

        What it still waits for; None when nothing is left and the finalizer may go.
        """
        claim = Claim.of(project)
        seen = self._informers.projects.get(None, claim.name)
        if seen is not None and "deletionTimestamp" not in seen["metadata"]:
            return "the deletion has just begun"
        namespace = await self._namespace(claim.namespace)
        if namespace is not None and projects.belongs(namespace, claim.name):
            waiting = await self._release_allocations(claim)
            if waiting:
                await self._say(project["metadata"]["name"], waiting)
                return waiting
            await self._close_accounts(project, claim)
            await self._clear(namespace)
        return None

    async def _release_allocations(self, claim: Claim) -> str | None:
        left = await self._kube.list(ALLOCATIONS, claim.namespace)
        for item in left:
            if "deletionTimestamp" not in item["metadata"]:
                await self._delete(ALLOCATIONS, item)
        # The books look at what was seen last: a list that is empty while the copy is not would keep an entry open.
        waiting = len(left) or len(self._informers.allocations.keys_by_index(BY_NAMESPACE, claim.namespace))
        return f"{waiting} allocations have to be taken away at the scheduler first" if waiting else None

    async def _close_accounts(self, project: Obj, claim: Claim) -> None:
        if (project.get("status") or {}).get("account") == claim.account:
            self._desired.touch_account(claim.account)
            await self._desired.flush(*self._desired.clusters_of(claim.account))

    async def _clear(self, namespace: Obj) -> None:
        name = namespace["metadata"]["name"]
        if projects.made_here(namespace):
            await self._delete(NAMESPACES, namespace)
            return
        # The count goes first: while it stands, the last owner may not be deleted.
        await self._kube.merge_patch(NAMESPACES, name, {"metadata": {"annotations": {OWNERS: None}}})
        selector = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
        for binding in await self._kube.list(ROLEBINDINGS, name, label_selector=selector):
            await self._delete(ROLEBINDINGS, binding)
        for membership in await self._kube.list(MEMBERSHIPS, name):
            await self._delete(MEMBERSHIPS, membership)
        await self._kube.merge_patch(NAMESPACES, name, {"metadata": {"labels": {PROJECT_LABEL: None}}})

    async def _delete(self, rt: Any, obj: Obj) -> None:
        metadata = obj["metadata"]
        try:
            await self._kube.delete(rt, metadata["name"], metadata.get("namespace"), uid=metadata["uid"])
        except (NotFound, Conflict):
            return

    async def _say(self, name: str, message: str) -> None:
        project = await self._kube.get(PROJECTS, name)
        before, generation = project.get("status") or {}, project["metadata"].get("generation")
        said = overdue.plain(project, message, self._now(), self._deadline_seconds)
        conditions = set_condition(before.get("conditions"), READY, False, *said, self._now(), generation)
        await write_status(self._kube, PROJECTS, project, before | {"conditions": conditions})

    def _membership(self, _: str, old: Obj | None, new: Obj | None) -> None:
        item = new or old
        project = self._informers.project_of(item["metadata"]["namespace"]) if item else None
        if project is not None and (old is None or new is None or old["spec"] != new["spec"]):
            self.touch(project["metadata"]["name"])

    def _other(self, event: str, old: Obj | None, _: Obj | None) -> None:
        """A project that went away may leave its account or namespace to another one."""
        if event == "DELETED" and old is not None:
            for claim in self._rivals(Claim.of(old)):
                self.touch(claim.name)

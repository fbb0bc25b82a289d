"""Memberships: role bindings in the project's namespace, one per role, and what each member is told."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from bursar_crds.names import MANAGED_BY, MANAGED_BY_LABEL
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import MEMBERSHIPS, NAMESPACES, ROLEBINDINGS
from bursar_operator.books import Books
from bursar_operator.desired import DesiredState
from bursar_operator.directory import Directory, Owner
from bursar_operator.domain import memberships
from bursar_operator.domain.memberships import OWNERS, AccountView, Plan, Snapshot
from bursar_operator.informers import BY_NAMESPACE, Informers
from bursar_operator.statuses import write_status

Obj = dict[str, Any]
AGAIN_SECONDS: Final = 0.1
WORKERS: Final = 4
COMPARE_SECONDS: Final = 600.0


class Memberships:
    """Keyed by namespace: one decision for all members of a project."""

    def __init__(
        self,
        kube: Kube,
        informers: Informers,
        books: Books,
        desired: DesiredState,
        user_prefix: str,
        now: Callable[[], datetime],
    ) -> None:
        self._kube = kube
        self._informers = informers
        self._directory = Directory(informers)
        self._books = books
        self._desired = desired
        self._user_prefix = user_prefix
        self._now = now
        self.queue: WorkQueue[str] = WorkQueue("memberships")
        informers.memberships.subscribe(self._membership)
        informers.projects.subscribe(self._project)

    def touch_account(self, account: str) -> None:
        """What a scheduler says of the account changed."""
        owner = self._directory.of_account(account)
        if owner is not None:
            self.queue.add(owner.namespace)

    async def run(self) -> None:
        """Work on what was touched."""
        await self.queue.run(WORKERS, self._look)

    async def _look(self, namespace: str) -> float | None:
        try:
            return await self._reconcile(namespace)
        except Conflict:
            return AGAIN_SECONDS  # Kopf or an administrator wrote in between: decide again from what is there now

    async def _reconcile(self, namespace: str) -> float | None:
        owner = self._directory.of_namespace(namespace)
        members = self._informers.memberships.by_index(BY_NAMESPACE, namespace)
        if owner is not None and (owner.deleting or await self._is_going(namespace)):
            return None
        plan = memberships.plan(self._snapshot(namespace, owner, members), self._user_prefix, self._now())
        if owner is not None:
            await self._bind(namespace, plan)
            await self._count_owners(namespace, plan)
            self._desired.touch_account(owner.account)
        for item in members:
            if "deletionTimestamp" not in item["metadata"]:
                await self._say(item, plan.statuses[item["metadata"]["name"]])
        return self._again(plan)

    async def _is_going(self, namespace: str) -> bool:
        """Whether nothing can be made in there any more; in the one after it, the owner's membership comes first."""
        try:
            return "deletionTimestamp" in (await self._kube.get(NAMESPACES, namespace))["metadata"]
        except NotFound:
            return True

    def _snapshot(self, namespace: str, owner: Owner | None, members: list[Obj]) -> Snapshot:
        if owner is None:
            return Snapshot(namespace, None, members)
        return Snapshot(namespace, owner.project, members, [self._view(name, owner) for name in self._clusters(owner)])

    def _clusters(self, owner: Owner) -> list[str]:
        return [name for name in self._desired.clusters_of(owner.account) if self._informers.clusters.get(None, name)]

    def _view(self, cluster: str, owner: Owner) -> AccountView:
        state = self._books.states(cluster).get(owner.account)
        if state is None:
            return AccountView(cluster, made=False)
        return AccountView(cluster, state.state in ("Enforced", "Observed"), frozenset(state.users_missing))

    async def _bind(self, namespace: str, plan: Plan) -> None:
        selector = f"{MANAGED_BY_LABEL}={MANAGED_BY}"
        found = {
            item["metadata"]["name"]: item for item in await self._kube.list(ROLEBINDINGS, namespace, label_selector=selector)
        }
        for name, wanted in plan.bindings.items():
            before = found.pop(name, None)
            if before is not None and before["roleRef"] != wanted["roleRef"]:
                await self._unbind(before)  # a role reference cannot be changed in place
                before = None
            if before is None:
                await self._kube.create(ROLEBINDINGS, wanted)
            elif memberships.differs(wanted, before):
                await self._kube.replace(ROLEBINDINGS, before | {"subjects": wanted["subjects"]})
        for name in set(found) & set(memberships.ROLES.values()):
            await self._unbind(found[name])

    async def _count_owners(self, namespace: str, plan: Plan) -> None:
        """A policy looks at the count when an owner is deleted; it sees the namespace and no other membership."""
        found = await self._kube.get(NAMESPACES, namespace)
        count = str(plan.owners)
        if (found["metadata"].get("annotations") or {}).get(OWNERS) != count and "deletionTimestamp" not in found["metadata"]:
            await self._kube.merge_patch(NAMESPACES, namespace, {"metadata": {"annotations": {OWNERS: count}}})

    async def _unbind(self, binding: Obj) -> None:
        metadata = binding["metadata"]
        try:
            await self._kube.delete(ROLEBINDINGS, metadata["name"], metadata["namespace"], uid=metadata["uid"])
        except NotFound:
            return

    async def _say(self, membership: Obj, status: Obj) -> None:
        try:
            await write_status(self._kube, MEMBERSHIPS, membership, status)
        except NotFound:
            return

    def _again(self, plan: Plan) -> float:
        if plan.next_end is None:
            return COMPARE_SECONDS
        return min(COMPARE_SECONDS, max(0.1, (plan.next_end - self._now()).total_seconds()))

    def _membership(self, _: str, old: Obj | None, new: Obj | None) -> None:
        item = new or old
        if item is not None and (old is None or new is None or old["spec"] != new["spec"] or _leaves(old) != _leaves(new)):
            self.queue.add(item["metadata"]["namespace"])

    def _project(self, _: str, old: Obj | None, new: Obj | None) -> None:
        before, after = (Owner.of(item) if item else None for item in (old, new))
        for owner in (before, after):
            if owner is not None and before != after:
                self.queue.add(owner.namespace)


def _leaves(membership: Obj) -> bool:
    return "deletionTimestamp" in membership["metadata"]

"""Taking Bursar out of a cluster, in the order in which nothing gets stuck; begun again, it goes on where it stopped.

Custom resources first, while the operator lives that releases them: allocations, pools from the leaves up, projects with their
memberships, clusters. Then admission, the operator with its rights, and the definitions last. A namespace that was made for a
project goes with it, and with all that anybody put there; one that was only adopted stays as it is, and so do the ledger, and
accounts and limits at schedulers.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bursar_crds.conditions import READY, find_condition
from bursar_crds.names import (
    CONFIRM_DELETE,
    FINALIZER,
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    PROJECT_LABEL,
    SYSTEM_NAMESPACE,
)
from bursar_kube import resources
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, Forbidden, NotFound
from bursar_kube.resources import ResourceType

Obj = dict[str, Any]
Say = Callable[[str], None]

PART_OF: Final = "app.kubernetes.io/part-of=bursar"
OWNERS: Final = f"{GROUP}/owners"
LEASE: Final = "bursar-operator"
LEASE_SECONDS: Final = 15.0
AT_ONCE: Final = 16
LOOK_SECONDS: Final = 0.5
SHOWN: Final = 5

_ADMISSION: Final = "admissionregistration.k8s.io"
ADMISSION: Final = (
    resources.WEBHOOKCONFIGS,
    ResourceType(_ADMISSION, "v1", "mutatingadmissionpolicybindings", "MutatingAdmissionPolicyBinding", False),
    ResourceType(_ADMISSION, "v1", "mutatingadmissionpolicies", "MutatingAdmissionPolicy", False),
    ResourceType(_ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding", False),
    ResourceType(_ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy", False),
)
PARTS: Final = (
    ResourceType("apps", "v1", "deployments", "Deployment", True),
    ResourceType("apps", "v1", "statefulsets", "StatefulSet", True),
    ResourceType("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", True),
    ResourceType("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True),
    ResourceType("", "v1", "services", "Service", True),
    resources.ROLEBINDINGS,
    resources.ROLES,
    resources.SERVICEACCOUNTS,
)
RIGHTS: Final = (resources.CLUSTERROLEBINDINGS, resources.CLUSTERROLES)
MADE: Final = (
    (resources.LEASES, LEASE),
    (resources.SECRETS, "bursar-webhook-tls"),
    (resources.CONFIGMAPS, "bursar-signing-key"),
)
"""What the operator makes for itself in its namespace."""


class Stuck(Exception):
    """Something hangs; the message says what, and what to do before the next attempt."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What there is, in the order in which it goes."""

    own: Mapping[str, int] = field(default_factory=dict)
    spent: Sequence[str] = ()
    used: Sequence[str] = ()
    namespaces: Sequence[str] = ()
    admission: Sequence[str] = ()
    parts: Sequence[str] = ()
    definitions: Sequence[str] = ()
    operator: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether nothing of Bursar is there."""
        return not (any(self.own.values()) or self.admission or self.parts or self.definitions)

    def lines(self) -> list[str]:
        """For people."""
        found = [f"{number}. {count} {kind}" for number, (kind, count) in enumerate(self.own.items(), 1)]
        if self.spent:
            found.append(
                f"   with the account of hours that were used, in pools {', '.join(self.spent)} (the ledger keeps its own)"
            )
        if self.used:
            found.append(f"   with projects that the books hold use of: {', '.join(self.used)}")
        if self.namespaces:
            found.append(f"   with them these namespaces and all that is in them: {', '.join(self.namespaces)}")
        found.append(f"{len(self.own) + 1}. webhook configuration and policies: {', '.join(self.admission) or 'none'}")
        found.append(f"{len(self.own) + 2}. operator and rights: {', '.join(self.parts) or 'none'}")
        found.append(f"{len(self.own) + 3}. definitions: {', '.join(self.definitions) or 'none'}")
        found.append(f"the operator: {self.operator}")
        return [*found, *KEPT]


NONE_LEADS: Final = "none leads; start it, or give --abandon: finalizers are taken off then, and limits stay at the schedulers"
KEPT: Final = (
    "kept: the ledger's database, accounts and limits at the schedulers (blocked, not removed), the agents on their hosts,",
    f"      namespace {SYSTEM_NAMESPACE} with volumes and other Secrets,",
    "      namespaces that projects only adopted, with what is in them",
)


class Uninstall:
    """One attempt. ``abandon``: there is no operator any more, so finalizers are taken off, and limits stay where they are."""

    def __init__(
        self,
        kube: Kube,
        say: Say,
        *,
        patience_seconds: float = 300.0,
        abandon: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kube = kube
        self._say = say
        self._patience_seconds = patience_seconds
        self._abandon = abandon
        self._monotonic = monotonic

    async def look(self) -> Plan:
        """What would go; changes nothing."""
        pools, projects = await self._list(resources.QUOTAPOOLS), await self._list(resources.PROJECTS)
        own = {rt.plural: len(await self._list(rt)) for rt in (resources.ALLOCATIONS, resources.QUOTAPOOLS)}
        own |= {rt.plural: len(await self._list(rt)) for rt in (resources.PROJECTS, resources.MEMBERSHIPS, resources.CLUSTERS)}
        return Plan(
            own=own,
            spent=[_name(item) for item in pools if _is_spent(item)],
            used=[_name(item) for item in projects if (item.get("status") or {}).get("hasUse")],
            namespaces=await self._made_for({_name(item) for item in projects}),
            admission=await self._labelled(ADMISSION),
            parts=[*await self._labelled(PARTS, SYSTEM_NAMESPACE), *await self._labelled(RIGHTS)],
            definitions=[_name(item) for item in await self._definitions()],
            operator="one leads; it releases what is deleted" if await self._leads() else NONE_LEADS,
        )

    async def run(self) -> None:
        """Take everything out. `Stuck` says what hangs; what is gone by then stays gone."""
        await self._check_operator()
        if self._abandon:
            await self._remove_labelled(ADMISSION)
        await self._empty(resources.ALLOCATIONS)
        for level in range(64):
            if not await self._prune_pools(level):
                break
        await self._empty(resources.PROJECTS)
        await self._free_owners()
        await self._empty(resources.MEMBERSHIPS)
        await self._empty(resources.CLUSTERS)
        await self._remove_labelled(ADMISSION)
        await self._remove_labelled(PARTS, SYSTEM_NAMESPACE)
        await self._remove_made()
        await self._remove_labelled(RIGHTS)
        await self._remove_definitions()

    async def _check_operator(self) -> None:
        """Without one nothing would ever go; beside one, finalizers that are taken off would lose hours and limits."""
        leads = await self._leads()
        if self._abandon and leads:
            raise Stuck("an operator leads, and releases what is deleted: leave --abandon out, or stop it for good first")
        if not self._abandon and not leads and any([await self._list(rt) for rt in resources.OWN]):
            raise Stuck(f"the operator: {NONE_LEADS}")

    # Custom resources

    async def _empty(self, rt: ResourceType) -> None:
        """Delete every object of a kind, those too that come meanwhile, and wait until none is left."""
        await self._until_gone(rt, lambda items: items)

    async def _prune_pools(self, level: int) -> bool:
        """Delete the pools that no pool hangs below; whether there were any."""
        items = await self._list(resources.QUOTAPOOLS)
        parents = {_parent(item) for item in items}
        leaves = {_name(item) for item in items if _name(item) not in parents} or {_name(item) for item in items}
        if leaves:
            await self._until_gone(resources.QUOTAPOOLS, lambda found: [item for item in found if _name(item) in leaves])
        return bool(leaves)

    async def _until_gone(self, rt: ResourceType, chosen: Callable[[list[Obj]], list[Obj]]) -> None:
        fewest, since, refused = None, self._monotonic(), ""
        while left := chosen(await self._list(rt)):
            if fewest is None or len(left) < fewest:
                fewest, since = len(left), self._monotonic()
                self._say(f"{rt.plural}: {len(left)} left")
            elif self._monotonic() - since >= self._patience_seconds:
                raise Stuck(self._hangs(rt, left, refused))
            refused = await self._delete_all(rt, left)
            await asyncio.sleep(LOOK_SECONDS)
        if fewest is not None:
            self._say(f"{rt.plural}: gone")

    async def _delete_all(self, rt: ResourceType, items: Iterable[Obj]) -> str:
        """Ask for each that was not asked for yet; what the API server refused last."""
        slots, refused = asyncio.Semaphore(AT_ONCE), [""]

        async def one(item: Obj) -> None:
            async with slots:
                try:
                    await self._delete(rt, item)
                except Forbidden as error:
                    if error.reason == "Forbidden" and "cannot delete resource" in error.message:
                        raise
                    refused[0] = error.message

        await asyncio.gather(*(one(item) for item in items))
        return refused[0]

    async def _delete(self, rt: ResourceType, item: Obj) -> None:
        metadata = item["metadata"]
        if "deletionTimestamp" not in metadata:
            await self._confirm(rt, item)
            await self._gone(self._kube.delete(rt, metadata["name"], metadata.get("namespace"), uid=metadata["uid"]))
        if self._abandon and FINALIZER in metadata.get("finalizers", ()):
            rest = [name for name in metadata["finalizers"] if name != FINALIZER]
            patch = {"metadata": {"uid": metadata["uid"], "finalizers": rest}}
            await self._gone(self._kube.merge_patch(rt, metadata["name"], patch, metadata.get("namespace")))

    async def _confirm(self, rt: ResourceType, item: Obj) -> None:
        """The administrator said yes to all of it: policies that ask again for one object get their answer."""
        is_asked = rt is resources.QUOTAPOOLS and _is_spent(item)
        is_asked |= rt is resources.PROJECTS and bool((item.get("status") or {}).get("hasUse"))
        name = _name(item)
        if not is_asked or (item["metadata"].get("annotations") or {}).get(CONFIRM_DELETE) == name:
            return
        patch = {"metadata": {"uid": item["metadata"]["uid"], "annotations": {CONFIRM_DELETE: name}}}
        await self._gone(self._kube.merge_patch(rt, name, patch))

    async def _free_owners(self) -> None:
        """Memberships of namespaces that no project has any more: nobody counts owners there."""
        for namespace in {item["metadata"]["namespace"] for item in await self._list(resources.MEMBERSHIPS)}:
            await self._gone(
                self._kube.merge_patch(resources.NAMESPACES, namespace, {"metadata": {"annotations": {OWNERS: None}}})
            )

    def _hangs(self, rt: ResourceType, left: list[Obj], refused: str) -> str:
        lines = [f"{len(left)} {rt.plural} hang:"]
        for item in left[:SHOWN]:
            ready = find_condition((item.get("status") or {}).get("conditions"), READY)
            said = ready["message"] if ready is not None else "nothing is said of it"
            lines.append(f"  {_full_name(item)}: {said}")
        lines += [f"  … and {len(left) - SHOWN} more"] if len(left) > SHOWN else []
        lines += [f"the API server says: {refused}"] if refused else []
        return "\n".join([*lines, "mend that and run `bursar uninstall` again: it goes on from here"])

    # The rest

    async def _remove_labelled(self, types: Iterable[ResourceType], namespace: str | None = None) -> None:
        for rt in types:
            for item in await self._list(rt, namespace, label_selector=PART_OF):
                await self._gone(self._kube.delete(rt, _name(item), item["metadata"].get("namespace")))
                self._say(f"{rt.kind} {_name(item)}: deleted")

    async def _remove_made(self) -> None:
        for rt, name in MADE:
            await self._gone(self._kube.delete(rt, name, SYSTEM_NAMESPACE))
        for item in await self._list(resources.SECRETS, SYSTEM_NAMESPACE):
            if item.get("type") == "bursar.dev/enrolment":
                await self._gone(self._kube.delete(resources.SECRETS, _name(item), SYSTEM_NAMESPACE))

    async def _remove_definitions(self) -> None:
        for rt in resources.OWN:
            if came := await self._list(rt):
                raise Stuck(
                    f"{_full_name(came[0])} was made meanwhile; stop whoever makes it (GitOps?), delete it, and run "
                    "`bursar uninstall` again"
                )
        await self._until_gone(resources.CUSTOMRESOURCEDEFINITIONS, _of_ours)

    async def _definitions(self) -> list[Obj]:
        return _of_ours(await self._list(resources.CUSTOMRESOURCEDEFINITIONS))

    async def _labelled(self, types: Iterable[ResourceType], namespace: str | None = None) -> list[str]:
        return [f"{rt.kind} {_name(item)}" for rt in types for item in await self._list(rt, namespace, label_selector=PART_OF)]

    async def _made_for(self, projects: Collection[str]) -> list[str]:
        """Namespaces that go with these projects; without an operator nobody deletes them."""
        if self._abandon:
            return []
        made = await self._list(resources.NAMESPACES, label_selector=f"{MANAGED_BY_LABEL}={MANAGED_BY}")
        return [_name(item) for item in made if item["metadata"]["labels"].get(PROJECT_LABEL) in projects]

    async def _leads(self) -> bool:
        """Whether an operator leads: without it nothing releases what has a finalizer.

        It does where its Lease is renewed while this looks on: the clocks of this host and of the operator's are not compared.
        """
        seen = await self._lease()
        if seen is None:
            return False
        until = self._monotonic() + float(seen["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)
        while self._monotonic() < until:
            await asyncio.sleep(LOOK_SECONDS)
            now = await self._lease()
            if now is None or now["metadata"]["resourceVersion"] != seen["metadata"]["resourceVersion"]:
                return now is not None
        return False

    async def _lease(self) -> Obj | None:
        """The operator's Lease, where somebody holds it."""
        try:
            found = await self._kube.get(resources.LEASES, LEASE, SYSTEM_NAMESPACE)
        except NotFound:
            return None
        return found if found["spec"].get("holderIdentity") else None

    async def _list(self, rt: ResourceType, namespace: str | None = None, *, label_selector: str | None = None) -> list[Obj]:
        """Those that are there; none of a kind that the API server does not know (any more)."""
        try:
            return await self._kube.list(rt, namespace, label_selector=label_selector)
        except NotFound:
            return []

    @staticmethod
    async def _gone(call: Awaitable[object]) -> None:
        """What is gone, or another one by now, needs nothing."""
        try:
            await call
        except (NotFound, Conflict):
            return


def _name(item: Obj) -> str:
    return str(item["metadata"]["name"])


def _full_name(item: Obj) -> str:
    namespace = item["metadata"].get("namespace")
    return f"{item['kind']} {namespace}/{_name(item)}" if namespace else f"{item['kind']} {_name(item)}"


def _parent(item: Obj) -> str:
    return str((item["spec"].get("parentRef") or {}).get("name", ""))


def _is_spent(item: Obj) -> bool:
    return any(entry["hours"] for entry in (item.get("status") or {}).get("granted") or ())


def _of_ours(items: list[Obj]) -> list[Obj]:
    return [item for item in items if item["spec"]["group"] == GROUP]

"""The informers that the operator's parts share, with the indices that they look things up by."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from bursar_crds.names import project_namespace
from bursar_kube import resources
from bursar_kube.client import Kube
from bursar_kube.informer import Informer

Obj = dict[str, Any]

BY_NAMESPACE: Final = "namespace"
BY_CLUSTER: Final = "cluster"
BY_PARENT: Final = "parent"
BY_ACCOUNT: Final = "account"


@dataclass(frozen=True, slots=True)
class Informers:
    """One informer per kind. `start` leaves the allocations alone: they are followed only after every pool was claimed, so that
    their first copy is the quorum list that the protocol asks for (10,000 are read once, not twice).
    """

    clusters: Informer[Obj]
    projects: Informer[Obj]
    memberships: Informer[Obj]
    pools: Informer[Obj]
    allocations: Informer[Obj]

    @classmethod
    def build(cls, kube: Kube) -> "Informers":
        """Make them, not started."""
        return cls(
            clusters=Informer(kube, resources.CLUSTERS),
            projects=Informer(
                kube, resources.PROJECTS, indices={BY_NAMESPACE: namespace_of_project, BY_ACCOUNT: account_of_project}
            ),
            memberships=Informer(kube, resources.MEMBERSHIPS, indices={BY_NAMESPACE: _namespace}),
            pools=Informer(kube, resources.QUOTAPOOLS, indices={BY_CLUSTER: _cluster, BY_PARENT: _parent}),
            allocations=Informer(
                kube, resources.ALLOCATIONS, packed=True, indices={BY_NAMESPACE: _namespace, BY_CLUSTER: _cluster}
            ),
        )

    async def start(self) -> None:
        """Follow everything but the allocations, and wait for the first copies."""
        early = (self.clusters, self.projects, self.memberships, self.pools)
        for informer in early:
            await informer.start()
        await asyncio.gather(*(informer.synced() for informer in early))

    async def read_allocations(self) -> None:
        """Begin to read the allocations, for the pools are claimed. `Grants.start` has them told of, once all else is read."""
        self.allocations.hold()
        await self.allocations.start()

    async def stop(self) -> None:
        """Stop following."""
        for informer in (self.allocations, self.pools, self.memberships, self.projects, self.clusters):
            await informer.stop()

    def project_of(self, namespace: str) -> Obj | None:
        """The project that owns the namespace."""
        owners = self.projects.by_index(BY_NAMESPACE, namespace)
        return min(owners, key=lambda obj: (obj["metadata"]["creationTimestamp"], obj["metadata"]["name"]), default=None)


def namespace_of_project(obj: Obj) -> Iterable[str]:
    """The namespace that a Project owns."""
    yield obj["spec"].get("namespace") or project_namespace(obj["metadata"]["name"])


def account_of_project(obj: Obj) -> Iterable[str]:
    """The account that a Project has at every scheduler."""
    yield obj["spec"].get("account") or obj["metadata"]["name"]


def _namespace(obj: Obj) -> Iterable[str]:
    yield obj["metadata"]["namespace"]


def _cluster(obj: Obj) -> Iterable[str]:
    yield obj["spec"]["clusterRef"]["name"]


def _parent(obj: Obj) -> Iterable[str]:
    parent = obj["spec"].get("parentRef")
    if parent:
        yield parent["name"]

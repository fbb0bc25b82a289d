"""What a request finds: caches of the API server, the ledger, the token check. Built once per process, no globals."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bursar_api.access import Access
from bursar_api.identity.tokens import Verifier
from bursar_domain.billing import billing_of
from bursar_domain.units import UNSCALED, Scales
from bursar_domain.wire import BillingEntry
from bursar_kube import resources
from bursar_kube.client import Kube, Obj
from bursar_kube.informer import Informer
from bursar_ledger import Ledger

BY_NAMESPACE: Final = "namespace"


def _namespace(obj: Obj) -> Iterable[str]:
    return (obj["metadata"]["namespace"],)


@dataclass(frozen=True, slots=True)
class Caches:
    """Informers over the five kinds; read-only copies of the API server."""

    clusters: Informer[Obj]
    projects: Informer[Obj]
    memberships: Informer[Obj]
    pools: Informer[Obj]
    allocations: Informer[Obj]

    @classmethod
    def over(cls, kube: Kube) -> "Caches":
        """Informers that are not started yet."""
        return cls(
            Informer(kube, resources.CLUSTERS),
            Informer(kube, resources.PROJECTS),
            Informer(kube, resources.MEMBERSHIPS, indices={BY_NAMESPACE: _namespace}),
            Informer(kube, resources.QUOTAPOOLS),
            Informer(kube, resources.ALLOCATIONS, indices={BY_NAMESPACE: _namespace}),
        )

    def all(self) -> tuple[Informer[Obj], ...]:
        """Every one."""
        return (self.clusters, self.projects, self.memberships, self.pools, self.allocations)

    async def start(self) -> None:
        """Start all and wait until each has its first full list."""
        for informer in self.all():
            await informer.start()
        for informer in self.all():
            await informer.synced()

    async def stop(self) -> None:
        """Stop all."""
        for informer in self.all():
            await informer.stop()


@dataclass(frozen=True, slots=True)
class Gateway:
    """Everything an endpoint may use."""

    kube: Kube
    caches: Caches
    ledger: Ledger
    verifier: Verifier
    access: Access
    development: bool = False

    async def cluster_names(self) -> list[str]:
        """Every cluster, in order; also those whose objects are gone and whose books go on."""
        there = {str(found["metadata"]["name"]) for found in self.caches.clusters.items()}
        return sorted(there.union(await self.ledger.desired_generations()))

    async def scales(self, cluster: str) -> Scales:
        """How the cluster's hours are counted."""
        found = await self.billing(cluster)
        return UNSCALED if found is None else found.scales

    async def billing(self, cluster: str) -> BillingEntry | None:
        """The weights of the cluster, where it has any; of one whose object was torn away, as they were published."""
        found = self.caches.clusters.get(None, cluster)
        if found is not None:
            return billing_of(found)
        published = await self.ledger.published_settings(cluster)
        return None if published is None else published.billing

"""The webhook's facts from a table: what no API server lets one build up, and decisions by the thousand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from bursar_crds.cluster import Cluster
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_domain.room import Pool
from bursar_webhooks.facts import AllocationFacts


@dataclass(frozen=True)
class Table:
    """What there is, in lists."""

    cluster_list: tuple[Cluster, ...] = ()
    project_list: tuple[Project, ...] = ()
    pool_list: tuple[QuotaPool, ...] = ()
    allocation_list: tuple[AllocationFacts, ...] = ()
    member_list: tuple[Membership, ...] = ()
    time: datetime = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        """The fixed time."""
        return self.time

    def cluster(self, name: str) -> Cluster | None:
        """By name."""
        return next((item for item in self.cluster_list if item.name == name), None)

    def clusters(self) -> Iterable[Cluster]:
        """All."""
        return self.cluster_list

    def project_of(self, namespace: str) -> str | None:
        """By namespace."""
        return next((item.name for item in self.project_list if item.project_namespace == namespace), None)

    def projects(self) -> Iterable[Project]:
        """All."""
        return self.project_list

    def members(self, namespace: str) -> Iterable[Membership]:
        """Of a namespace."""
        return [item for item in self.member_list if item.namespace == namespace]

    def pool(self, name: str) -> QuotaPool | None:
        """By name."""
        return next((item for item in self.pool_list if item.name == name), None)

    def pools(self) -> Mapping[str, Pool]:
        """For the arithmetic."""
        return {item.name: Pool.of(item) for item in self.pool_list}

    def children(self, name: str) -> Iterable[QuotaPool]:
        """By parent."""
        return [item for item in self.pool_list if item.spec.parent_ref and item.spec.parent_ref.name == name]

    def allocations_of_pool(self, name: str) -> Iterable[AllocationFacts]:
        """By pool."""
        return [item for item in self.allocation_list if item.pool == name]

    def allocations_in(self, namespace: str) -> Iterable[AllocationFacts]:
        """By namespace."""
        return [item for item in self.allocation_list if item.namespace == namespace]

    def allocations_of_cluster(self, name: str) -> Iterable[AllocationFacts]:
        """By cluster."""
        return [item for item in self.allocation_list if item.cluster == name]

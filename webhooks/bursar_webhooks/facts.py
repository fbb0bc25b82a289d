"""What the checks may ask about other objects. The view answers from informers; a test answers from a table."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bursar_crds.cluster import Cluster
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_domain.room import Pool


@dataclass(frozen=True, slots=True)
class AllocationFacts:
    """The little that others need to know of an allocation."""

    namespace: str
    name: str
    cluster: str
    pool: str | None
    start: datetime
    end: datetime
    charged: Mapping[str, int] = field(default_factory=dict)
    """Hours that its pools hold for it."""


class Facts(Protocol):
    """The other objects, as of now. Every answer comes from memory."""

    def now(self) -> datetime:
        """The moment in which the question is asked."""

    def cluster(self, name: str) -> Cluster | None:
        """A Cluster by name."""

    def clusters(self) -> Iterable[Cluster]:
        """Every Cluster."""

    def project_of(self, namespace: str) -> str | None:
        """Name of the Project whose namespace this is."""

    def projects(self) -> Iterable[Project]:
        """Every Project."""

    def members(self, namespace: str) -> Iterable[Membership]:
        """The Memberships in a namespace."""

    def pool(self, name: str) -> QuotaPool | None:
        """A QuotaPool by name."""

    def pools(self) -> Mapping[str, Pool]:
        """Every pool, as the arithmetic needs it."""

    def children(self, name: str) -> Iterable[QuotaPool]:
        """The pools below a pool."""

    def allocations_of_pool(self, name: str) -> Iterable[AllocationFacts]:
        """The allocations that draw on a pool."""

    def allocations_in(self, namespace: str) -> Iterable[AllocationFacts]:
        """The allocations of a namespace."""

    def allocations_of_cluster(self, name: str) -> Iterable[AllocationFacts]:
        """The allocations on a cluster."""

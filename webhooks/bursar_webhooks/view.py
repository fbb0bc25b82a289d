"""The facts from informers: typed copies of the objects that checks ask about, kept by the API server's watch."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import structlog
from pydantic import ValidationError

from bursar_crds.cluster import Cluster
from bursar_crds.common import Resource
from bursar_crds.instants import parse_instant
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_domain.room import Pool
from bursar_kube.client import Kube, Obj
from bursar_kube.informer import EventType, Informer
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, MEMBERSHIPS, PROJECTS, QUOTAPOOLS
from bursar_webhooks.facts import AllocationFacts

R = TypeVar("R", bound=Resource[Any, Any])
T = TypeVar("T")
_LOG = structlog.get_logger("bursar.webhooks")


class View:
    """`Facts` over five informers. `await start()`, then ask `problem()` before trusting an answer."""

    def __init__(self, kube: Kube, *, stale_seconds: float, now: Callable[[], datetime]) -> None:
        self.now = now
        self._stale_seconds = stale_seconds
        self._pools: dict[str, Pool] = {}
        self.cluster_copy = Informer(kube, CLUSTERS, transform=_reader(Cluster))
        self.project_copy = Informer(kube, PROJECTS, transform=_reader(Project), indices={"namespace": _project_namespace})
        self.membership_copy = Informer(kube, MEMBERSHIPS, transform=_reader(Membership), indices={"namespace": _namespace})
        self.pool_copy = Informer(kube, QUOTAPOOLS, transform=_reader(QuotaPool), indices={"parent": _parent})
        self.allocation_copy = Informer(
            kube,
            ALLOCATIONS,
            transform=_allocation,
            indices={"pool": _drawn_on, "cluster": _on_cluster, "namespace": _placed_in},
        )
        self.pool_copy.subscribe(self._keep_pool)

    @property
    def informers(self) -> Sequence[Informer[Any]]:
        """All of them."""
        return (self.cluster_copy, self.project_copy, self.membership_copy, self.pool_copy, self.allocation_copy)

    async def start(self) -> None:
        """Begin to follow; returns at once."""
        for informer in self.informers:
            await informer.start()

    async def complete(self) -> None:
        """Wait until there is a first copy of everything."""
        await asyncio.gather(*(informer.synced() for informer in self.informers))

    async def stop(self) -> None:
        """Stop following."""
        await asyncio.gather(*(informer.stop() for informer in self.informers))

    def problem(self) -> str | None:
        """Why nothing may be decided now, or None."""
        for informer in self.informers:
            if not informer.is_synced:
                error = f" ({informer.last_error})" if informer.last_error is not None else ""
                return f"its copy of {informer.rt.plural} is not complete yet{error}"
            if informer.last_event_age > self._stale_seconds:
                return f"it has heard nothing of {informer.rt.plural} for {informer.last_event_age:.0f} seconds"
        return None

    def cluster(self, name: str) -> Cluster | None:
        """A Cluster by name."""
        return self.cluster_copy.get(None, name)

    def clusters(self) -> Iterable[Cluster]:
        """Every Cluster."""
        return _there(self.cluster_copy.items())

    def project_of(self, namespace: str) -> str | None:
        """Name of the Project whose namespace this is; of two that claim it, the older one."""
        claims = _there(self.project_copy.by_index("namespace", namespace))
        oldest = min(claims, key=lambda project: (str(project.metadata.creation_timestamp), project.name), default=None)
        return None if oldest is None else oldest.name

    def projects(self) -> Iterable[Project]:
        """Every Project."""
        return _there(self.project_copy.items())

    def members(self, namespace: str) -> Iterable[Membership]:
        """The Memberships in a namespace."""
        return _there(self.membership_copy.by_index("namespace", namespace))

    def pool(self, name: str) -> QuotaPool | None:
        """A QuotaPool by name."""
        return self.pool_copy.get(None, name)

    def pools(self) -> Mapping[str, Pool]:
        """Every pool, as the arithmetic needs it."""
        return self._pools

    def children(self, name: str) -> Iterable[QuotaPool]:
        """The pools below a pool."""
        return _there(self.pool_copy.by_index("parent", name))

    def allocations_of_pool(self, name: str) -> Iterable[AllocationFacts]:
        """The allocations that draw on a pool."""
        return _there(self.allocation_copy.by_index("pool", name))

    def allocations_in(self, namespace: str) -> Iterable[AllocationFacts]:
        """The allocations of a namespace."""
        return _there(self.allocation_copy.by_index("namespace", namespace))

    def allocations_of_cluster(self, name: str) -> Iterable[AllocationFacts]:
        """The allocations on a cluster."""
        return _there(self.allocation_copy.by_index("cluster", name))

    def _keep_pool(self, kind: EventType, old: QuotaPool | None, new: QuotaPool | None) -> None:
        if new is not None:
            self._pools[new.name] = Pool.of(new)
        elif old is not None:
            self._pools.pop(old.name, None)


def _reader(model: type[R]) -> Callable[[Obj], R | None]:
    """Reads stored objects; one that this version cannot read is left out and named in the log."""

    def read(obj: Obj) -> R | None:
        try:
            return model.parse_stored(obj)
        except ValidationError as error:
            _LOG.error(
                "cannot read a stored object", kind=obj.get("kind"), name=obj["metadata"]["name"], errors=error.error_count()
            )
            return None

    return read


def _allocation(obj: Obj) -> AllocationFacts | None:
    """By hand: there are many, and the model costs more than everything else together."""
    metadata, spec = obj["metadata"], obj["spec"]
    try:
        return AllocationFacts(
            namespace=metadata["namespace"],
            name=metadata["name"],
            cluster=spec["clusterRef"]["name"],
            pool=obj.get("status", {}).get("pool") or spec.get("poolRef", {}).get("name"),
            start=parse_instant(spec["period"]["start"]),
            end=parse_instant(spec["period"]["end"]),
            charged={item["name"]: item["hours"] for item in obj.get("status", {}).get("charged", ())},
        )
    except (KeyError, ValueError) as error:
        _LOG.error("cannot read a stored object", kind="Allocation", name=metadata["name"], error=str(error))
        return None


def _there(items: Iterable[T | None]) -> list[T]:
    return [item for item in items if item is not None]


def _project_namespace(project: Project | None) -> tuple[str, ...]:
    return () if project is None else (project.project_namespace,)


def _namespace(membership: Membership | None) -> tuple[str, ...]:
    return () if membership is None or membership.namespace is None else (membership.namespace,)


def _parent(pool: QuotaPool | None) -> tuple[str, ...]:
    return () if pool is None or pool.spec.parent_ref is None else (pool.spec.parent_ref.name,)


def _drawn_on(allocation: AllocationFacts | None) -> tuple[str, ...]:
    return () if allocation is None or allocation.pool is None else (allocation.pool,)


def _placed_in(allocation: AllocationFacts | None) -> tuple[str, ...]:
    return () if allocation is None else (allocation.namespace,)


def _on_cluster(allocation: AllocationFacts | None) -> tuple[str, ...]:
    return () if allocation is None else (allocation.cluster,)

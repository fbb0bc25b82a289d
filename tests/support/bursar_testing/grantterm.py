"""A place for tests of grants: cluster, project and pools on a real API server, and terms of the grant core on it."""

import asyncio
import itertools
import os
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from bursar_crds.names import FINALIZER
from bursar_kube.client import Kube
from bursar_kube.errors import KubeError, NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, NAMESPACES, PROJECTS, QUOTAPOOLS, ResourceType
from bursar_operator.allocation import Grants
from bursar_operator.domain import hours
from bursar_operator.domain.rows import Book, Row, book_of, row_of
from bursar_operator.domain.shape import path_up
from bursar_operator.informers import Informers
from bursar_testing import manifests
from bursar_testing.grantledger import GrantLedger

Obj = dict[str, Any]
BOUND_SECONDS = 30.0
_NUMBERS = itertools.count(1)


async def eventually(ask: Callable[[], Awaitable[object]], wanted: object, what: str = "") -> None:
    """Ask until the answer is what is wanted; AssertionError with the last answer when it never is."""
    last: object = None
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            while (last := await ask()) != wanted:  # noqa: ASYNC110 - the answer is another process's
                await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise AssertionError(f"{what or ask}: wanted {wanted}, last seen {last}") from error


@dataclass(slots=True)
class Term:
    """One leader: its informers and its grant core."""

    informers: Informers
    grants: Grants

    async def stop(self) -> None:
        """End it at once, as a crash does: nothing is finished. An error of its own comes out here."""
        await self.grants.stop()
        await self.informers.stop()


@dataclass(slots=True)
class Site:
    """One cluster and one project; what is made here is removed by `clear`."""

    kube: Kube
    name: str
    ledger: GrantLedger = field(default_factory=GrantLedger)
    terms: list[Term] = field(default_factory=list)
    pools: list[str] = field(default_factory=list)

    @classmethod
    async def make(cls, kube: Kube) -> "Site":
        """Cluster, project (settled) and namespace under a name of their own."""
        site = cls(kube, f"g{os.getpid() % 10_000}-{next(_NUMBERS)}")
        await kube.create(CLUSTERS, manifests.cluster(site.name))
        project = await kube.create(PROJECTS, manifests.project(site.name, "alice"))
        project["status"] = {"account": site.name, "namespace": site.namespace}
        await kube.replace_status(PROJECTS, project)
        await kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace}})
        return site

    @property
    def namespace(self) -> str:
        """Namespace of the project."""
        return f"project-{self.name}"

    async def pool(self, suffix: str, limit: int, parent: str | None = None, spec: Obj | None = None, **resources: int) -> str:
        """A pool of CPU hours (and others), with more fields of its spec; its full name."""
        name = f"{self.name}-{suffix}"
        manifest = manifests.pool(name, self.name, limit, f"{self.name}-{parent}" if parent else None)
        manifest["spec"] |= spec or {}
        manifest["spec"]["resources"] += [{"name": key, "hours": amount} for key, amount in resources.items()]
        await self.kube.create(QUOTAPOOLS, manifest)
        self.pools.append(name)
        return name

    async def ask(self, name: str, pool: str | None, cpu: int, *, finalizer: bool = True, **resources: int) -> Obj:
        """An allocation."""
        manifest = manifests.allocation(self.name, name, pool or "", cpu, self.name)
        if pool is None:
            del manifest["spec"]["poolRef"]
        manifest["spec"]["resources"] += [{"name": key, "hours": amount} for key, amount in resources.items()]
        if finalizer:
            manifest["metadata"]["finalizers"] = [FINALIZER]
        return await self.kube.create(ALLOCATIONS, manifest)

    async def change(self, name: str, cpu: int) -> None:
        """Ask for another number of CPU hours."""
        patch = {"spec": {"resources": [{"name": "cpu", "hours": cpu}]}}
        await self.kube.merge_patch(ALLOCATIONS, name, patch, self.namespace)

    async def delete(self, name: str) -> None:
        """Delete an allocation; it stays until its finalizer goes."""
        await self.kube.delete(ALLOCATIONS, name, self.namespace)

    async def tear_away(self, name: str) -> bool:
        """Take the finalizer by force and delete; whether it is gone, for a leader may have stamped it again."""
        try:
            await self.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, self.namespace)
            await self.delete(name)
            await self.kube.get(ALLOCATIONS, name, self.namespace)
        except NotFound:
            return True
        return False

    async def lead(self, **settings: Any) -> Term:
        """A new term with the next epoch."""
        return await self.lead_as(await self.next_epoch(), **settings)

    async def next_epoch(self) -> int:
        """One more than the highest of all pools."""
        return 1 + max([book_of(obj).epoch or 0 for obj in await self.kube.list(QUOTAPOOLS)], default=0)

    async def lead_as(
        self,
        epoch: int,
        *,
        kube: Kube | None = None,
        ledger: GrantLedger | None = None,
        clock: Callable[[], float] | None = None,
        **settings: Any,
    ) -> Term:
        """A new term with this epoch, over a connection and a view of the books of its own where they are given."""
        informers = Informers.build(kube or self.kube)
        grants = Grants(
            kube or self.kube,
            books := ledger or self.ledger,
            informers,
            epoch=epoch,
            published=lambda cluster, account: None,
            clock=clock or time.time,
            **settings,
        )
        books.follow(informers, grants.touch)
        term = Term(informers, grants)
        self.terms.append(term)
        await informers.start()
        await grants.start()
        return term

    async def book(self, pool: str) -> Book:
        """The pool's book as it is stored."""
        return book_of(await self.kube.get(QUOTAPOOLS, pool))

    async def granted(self, pool: str) -> int:
        """CPU hours that the pool has granted."""
        return ((await self.book(pool)).granted or {}).get("cpu", 0)

    async def rows(self) -> dict[str, Row]:
        """The project's allocations by name."""
        return {row.name: row for row in map(row_of, await self.kube.list(ALLOCATIONS, self.namespace))}

    async def row(self, name: str) -> Row | None:
        """One allocation."""
        return (await self.rows()).get(name)

    async def cpu(self, name: str) -> tuple[int, int]:
        """CPU hours granted and charged."""
        row = await self.row(name)
        return (0, 0) if row is None else (row.state.granted.get("cpu", 0), row.state.charged.get("cpu", 0))

    async def condition(self, name: str, type_: str) -> tuple[str, str, str]:
        """Status, reason and message of a condition."""
        obj = await self.kube.get(ALLOCATIONS, name, self.namespace)
        found = next((item for item in (obj.get("status") or {}).get("conditions", ()) if item["type"] == type_), None)
        return ("", "", "") if found is None else (found["status"], found["reason"], found["message"])

    async def unbalanced(self) -> list[str]:
        """Pools whose total is not the sum of what they hold, once nothing is open; empty when all is well."""
        rows = list((await self.rows()).values())
        books = {name: await self.book(name) for name in self.pools}
        parents = {name: item.pool.parent for name, item in books.items()}
        wrong = []
        for name, book in books.items():
            below = {other for other in books if name in path_up(parents, other)}
            held = hours.total([row.state.charged for row in rows if row.leaf in below])
            if book.intents or not hours.same(book.granted or {}, hours.plus(held, book.spent)):
                wrong.append(f"{name}: granted {book.granted}, held {held}, spent {book.spent}, open {len(book.intents)}")
        return wrong

    async def clear(self) -> None:
        """Stop every term and remove everything."""
        for term in self.terms:
            await term.stop()
        await self.empty()
        for rt, name in ((PROJECTS, self.name), (CLUSTERS, self.name), (NAMESPACES, self.namespace)):
            await self._remove(rt, name)

    async def empty(self) -> None:
        """Remove allocations, pools and books, by force; no leader may run."""
        for obj in await self.kube.list(ALLOCATIONS, self.namespace):
            name = obj["metadata"]["name"]
            try:
                await self.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, self.namespace)
                await self.kube.delete(ALLOCATIONS, name, self.namespace)
            except NotFound:
                continue
        for name in self.pools:
            await self._remove(QUOTAPOOLS, name)
        self.pools, self.ledger = [], GrantLedger()

    async def _remove(self, rt: ResourceType, name: str) -> None:
        with suppress(KubeError):
            await self.kube.delete(rt, name)

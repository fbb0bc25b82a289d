"""Leaders that are killed in the middle of a storm, or wake up after another one has taken over."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bursar_kube.client import Kube
from bursar_kube.informer import Informer
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_operator.domain import hours
from bursar_operator.domain.rows import book_of, row_of
from bursar_operator.poolcopies import Fenced
from bursar_testing.frailkube import PausedKube
from bursar_testing.grantterm import Site, eventually


class Witness:
    """Reads every revision of pools and allocations, and remembers each one that breaks an invariant."""

    def __init__(self, kube: Kube, site: Site) -> None:
        self.broken: list[str] = []
        self.epochs: list[int] = []
        self._site = site
        self._charged: dict[str, dict[str, int]] = {}
        self._books: dict[str, Any] = {}
        self._pools = Informer(kube, QUOTAPOOLS)
        self._allocations = Informer(kube, ALLOCATIONS, site.namespace)

    async def __aenter__(self) -> "Witness":
        self._pools.subscribe(lambda event, old, new: self._pool(new))
        self._allocations.subscribe(lambda event, old, new: self._allocation(new))
        for informer in (self._pools, self._allocations):
            await informer.start()
            await informer.synced()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._pools.stop()
        await self._allocations.stop()

    def _pool(self, obj: dict[str, Any] | None) -> None:
        if obj is None or obj["metadata"]["name"] not in self._site.pools:
            return
        book, before = book_of(obj), self._books.get(obj["metadata"]["name"])
        self._books[book.name] = book
        self.epochs.append(book.epoch or 0)
        granted = book.granted or {}
        raised = before is not None and not hours.at_least(before.granted or {}, granted)
        if raised and not hours.at_least(book.pool.limit, granted):
            self.broken.append(f"{book.name} was raised over its limit: {granted}")

    def _allocation(self, obj: dict[str, Any] | None) -> None:
        if obj is None:
            return
        row = row_of(obj)
        if not hours.at_least(row.state.charged, row.state.granted):
            self.broken.append(f"{row.name} has more granted than charged")


@pytest.fixture
async def witness(kube: Kube, site: Site) -> AsyncIterator[Witness]:
    async with Witness(kube, site) as found:
        yield found
    assert found.broken == []


async def test_leaders_killed_in_a_storm_grant_exactly_what_fits(site: Site, witness: Witness) -> None:
    root = await site.pool("root", 300)
    leaves = [await site.pool(f"leaf{number}", 200, "root") for number in range(2)]
    await site.lead()

    async def storm() -> None:
        for number in range(60):
            await site.ask(f"a{number}", leaves[number % 2], 7)

    storming = asyncio.create_task(storm())
    for _ in range(5):
        await asyncio.sleep(0.25)
        await site.terms[-1].stop()
        await site.lead()
    await storming

    async def total() -> int:
        return sum(row.state.granted.get("cpu", 0) for row in (await site.rows()).values())

    await eventually(total, 42 * 7)
    await eventually(site.unbalanced, [])
    assert await site.granted(root) == 42 * 7


async def test_a_leader_that_wakes_up_too_late_writes_nothing(
    controlplane: ControlPlane, kube: Kube, site: Site, witness: Witness
) -> None:
    pool = await site.pool("year", 100)
    sleeper = await PausedKube.connect(str(controlplane.kubeconfig))
    assert isinstance(sleeper, PausedKube)
    old = await site.lead_as(await site.next_epoch(), kube=sleeper)
    await site.ask("before", pool, 10)
    await eventually(lambda: site.cpu("before"), (10, 10))
    for number in range(8):
        await site.ask(f"a{number}", pool, 10)
        if number == 3:
            sleeper.running.clear()
    new = await site.lead()
    await eventually(lambda: site.granted(pool), 90)
    await eventually(site.unbalanced, [])
    epoch = (await site.book(pool)).epoch
    await site.change("before", 20)
    await eventually(lambda: site.cpu("before"), (20, 20))
    sleeper.running.set()
    with pytest.raises(Fenced):
        await asyncio.wait_for(asyncio.shield(old.grants.done), 30)
    await eventually(site.unbalanced, [])
    assert await site.granted(pool) == 100
    assert (await site.book(pool)).epoch == epoch
    assert witness.epochs == sorted(witness.epochs)
    assert not new.grants.done.done()
    await old.stop()
    await sleeper.close()

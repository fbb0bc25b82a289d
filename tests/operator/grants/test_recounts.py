"""Counts and hand edits at moments in which copies are old, as the model of the protocol found them."""

import asyncio

from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_testing.frailkube import HookedKube
from bursar_testing.grantterm import Site, eventually

LISTS = "GET", ALLOCATIONS.path(None, None)


async def test_a_recount_takes_nothing_from_what_was_just_torn_away(site: Site, controlplane: ControlPlane) -> None:
    """The copies still show it, acknowledged; the list does not. Its agent may go on using it until it hears."""
    kube = await _hooked(controlplane)
    pool = await site.pool("year", 100)
    await site.lead_as(await site.next_epoch(), kube=kube, recount_seconds=0.5)
    await site.ask("a", pool, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(lambda: _open(site, pool), 0)
    torn = asyncio.Event()

    async def tear_away() -> None:
        site.ledger.acknowledges = False
        await eventually(lambda: site.tear_away("a"), True)
        torn.set()

    kube.before[LISTS] = tear_away
    await torn.wait()
    await eventually(lambda: _open(site, pool), 1)
    assert await site.granted(pool) == 30
    site.ledger.acknowledges = True
    await eventually(lambda: site.granted(pool), 0)
    await kube.close()


async def test_a_recount_takes_nothing_from_what_may_still_be_published(site: Site, controlplane: ControlPlane) -> None:
    """It was charged and torn away while the leader's watches told nothing: its copies still show a grant to publish."""
    kube = await _hooked(controlplane)
    pool = await site.pool("year", 100)
    await site.lead_as(await site.next_epoch(), kube=kube, recount_seconds=0.5)
    kube.before["PUT", f"{ALLOCATIONS.path('a', site.namespace)}/status"] = kube.turn_deaf
    await site.ask("a", pool, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(lambda: _open(site, pool), 0)
    await eventually(lambda: site.tear_away("a"), True)
    await asyncio.sleep(2.0)
    assert await site.granted(pool) == 30
    kube.hears.set()
    await eventually(lambda: site.granted(pool), 0)
    await kube.close()


async def test_an_edit_that_foresees_the_next_write_leaves_nothing_open(site: Site, controlplane: ControlPlane) -> None:
    """Somebody empties a pool's intents right when their allocation has decided, so that there is nothing left to write."""
    kube = await _hooked(controlplane)
    pool = await site.pool("year", 100)
    await site.lead_as(await site.next_epoch(), kube=kube)

    async def empty() -> None:
        stored = await site.kube.get(QUOTAPOOLS, pool)
        stored["status"]["intents"] = []
        await site.kube.replace_status(QUOTAPOOLS, stored)
        await asyncio.sleep(0.3)  # the leader hears of it before it hears that its allocation is granted

    kube.after["PUT", f"{ALLOCATIONS.path('a', site.namespace)}/status"] = empty
    await site.ask("a", pool, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await site.delete("a")
    await eventually(lambda: site.granted(pool), 0)
    await kube.close()


async def _hooked(controlplane: ControlPlane) -> HookedKube:
    kube = await HookedKube.connect(str(controlplane.kubeconfig))
    assert isinstance(kube, HookedKube)
    return kube


async def _open(site: Site, pool: str) -> int:
    return len((await site.book(pool)).intents)

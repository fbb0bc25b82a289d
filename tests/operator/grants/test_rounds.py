"""What comes between a round's writes: pools that go, requests that change, answers that are lost."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from bursar_kube.errors import Forbidden, Unavailable
from bursar_kube.resources import QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_testing.frailkube import HookedKube
from bursar_testing.grantterm import Site, eventually


@asynccontextmanager
async def leading(site: Site, controlplane: ControlPlane) -> AsyncIterator[HookedKube]:
    """A leader of the site whose calls a test may hook into."""
    kube = await HookedKube.connect(str(controlplane.kubeconfig))
    assert isinstance(kube, HookedKube)
    try:
        await site.lead_as(await site.next_epoch(), kube=kube)
        yield kube
    finally:
        await site.terms[-1].stop()
        await kube.close()


def status_of(pool: str) -> tuple[str, str]:
    return "PUT", f"{QUOTAPOOLS.path(pool)}/status"


async def reason(site: Site, name: str) -> str:
    return (await site.condition(name, "Granted"))[1]


async def test_a_leaf_that_goes_while_its_root_is_written_takes_nobody_along(site: Site, controlplane: ControlPlane) -> None:
    root = await site.pool("root", 100)
    leaf, other = await site.pool("leaf", 50, "root"), await site.pool("other", 50, "root")
    async with leading(site, controlplane) as kube:
        await site.ask("first", other, 1)
        await eventually(lambda: site.cpu("first"), (1, 1))
        await eventually(site.unbalanced, [])

        async def delete_leaf() -> None:
            await site.kube.delete(QUOTAPOOLS, leaf)
            await asyncio.sleep(0.3)  # the leader hears of it before it hears that the root is written

        kube.after[status_of(root)] = delete_leaf
        await site.ask("a", other, 10)
        await eventually(lambda: site.cpu("a"), (10, 10))
        site.pools.remove(leaf)
        await eventually(site.unbalanced, [])


async def test_what_is_asked_for_while_a_refusal_is_written_is_tried(site: Site, controlplane: ControlPlane) -> None:
    pool = await site.pool("year", 10)
    async with leading(site, controlplane) as kube:

        async def ask_for_less() -> None:
            await site.change("big", 1)
            await asyncio.sleep(0.3)

        async def ask_for_both() -> None:
            await site.ask("big", pool, 100)
            await site.ask("small", pool, 1)
            await asyncio.sleep(0.3)  # both wait for the next round
            kube.before[status_of(pool)] = ask_for_less

        await site.ask("warm", pool, 1)
        await eventually(lambda: site.cpu("warm"), (1, 1))
        await eventually(site.unbalanced, [])
        kube.before[status_of(pool)] = ask_for_both
        await site.ask("trigger", pool, 1)
        await eventually(lambda: site.cpu("small"), (1, 1))
        await eventually(lambda: site.cpu("big"), (1, 1))


async def test_a_write_whose_answer_is_lost_is_followed_up_at_once(site: Site, controlplane: ControlPlane) -> None:
    root = await site.pool("root", 100)
    leaf = await site.pool("leaf", 100, "root")
    async with leading(site, controlplane) as kube:
        await site.ask("warm", leaf, 1)
        await eventually(lambda: site.cpu("warm"), (1, 1))
        await eventually(site.unbalanced, [])
        for number, pool in enumerate((root, leaf)):
            kube.after[status_of(pool)] = lose
            await site.ask(f"a{number}", leaf, 10)
            await eventually(partial(site.cpu, f"a{number}"), (10, 10))
        await site.delete("a0")
        kube.after[status_of(leaf)] = lose
        await eventually(lambda: site.row("a0"), None)
        await eventually(site.unbalanced, [])


async def lose() -> None:
    raise Unavailable("the answer was lost")


async def test_a_lost_answer_and_then_a_refusal_stop_no_tree(site: Site, controlplane: ControlPlane) -> None:
    pool = await site.pool("year", 100)
    async with leading(site, controlplane) as kube:
        await site.ask("warm", pool, 1)
        await eventually(lambda: site.cpu("warm"), (1, 1))
        await eventually(site.unbalanced, [])

        async def lose_then_refuse() -> None:
            kube.before[status_of(pool)] = refuse
            raise Unavailable("nobody answers")

        async def refuse() -> None:
            raise Forbidden("not now")

        kube.before[status_of(pool)] = lose_then_refuse
        await site.ask("a", pool, 10)
        await eventually(lambda: site.cpu("a"), (10, 10))
        await eventually(site.unbalanced, [])

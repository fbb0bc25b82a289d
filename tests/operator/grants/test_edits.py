"""Somebody edits the status of a pool by hand: it is put right, at once while a leader works, else by its first recount."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from bursar_kube.errors import Conflict
from bursar_kube.resources import EVENTS, QUOTAPOOLS
from bursar_testing.grantterm import Site, eventually

Obj = dict[str, Any]
INVENTED = {
    "uid": "00000000-0000-0000-0000-000000000000",
    "namespace": "nowhere",
    "name": "nobody",
    "id": 999,
    "from": [],
    "to": [{"name": "cpu", "hours": 5}],
    "spend": [],
}


def of(**changes: object) -> Callable[[Obj], None]:
    return lambda status: status.update(changes)


EDITS: dict[str, Callable[[Obj], None]] = {
    "less granted": of(granted=[{"name": "cpu", "hours": 1}]),
    "more granted": of(granted=[{"name": "cpu", "hours": 99}]),
    "nothing granted": of(granted=[]),
    "wiped": lambda status: status.clear(),
    "hours spent": of(spent=[{"name": "cpu", "hours": 7}]),
    "an operation that never was": of(intents=[INVENTED]),
    "an earlier term": of(epoch=0),
    "a lower number": of(sequence=0),
}


async def edit(site: Site, pool: str, change: Callable[[Obj], None]) -> None:
    """Write it as somebody who has the right to; again where the leader wrote in between."""
    while True:
        obj = await site.kube.get(QUOTAPOOLS, pool)
        change(obj["status"])
        try:
            await site.kube.replace_status(QUOTAPOOLS, obj)
        except Conflict:
            continue
        return


async def reasons(site: Site, pool: str) -> set[str]:
    uid = (await site.kube.get(QUOTAPOOLS, pool))["metadata"]["uid"]
    return {item["reason"] for item in await site.kube.list(EVENTS, "default") if item["regarding"].get("uid") == uid}


@pytest.mark.parametrize("what", sorted(EDITS))
async def test_a_leader_puts_back_what_somebody_edits_and_says_so(site: Site, what: str) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 60)
    await eventually(lambda: site.cpu("a"), (60, 60))
    await eventually(site.unbalanced, [])
    before = await site.book(pool)
    await edit(site, pool, EDITS[what])

    async def is_put_back() -> bool:
        book = await site.book(pool)
        same = (book.granted, book.spent, book.intents) == (before.granted, before.spent, before.intents)
        return same and (book.epoch, book.sequence >= before.sequence) == (before.epoch, True)

    await eventually(is_put_back, True)
    await eventually(lambda: reasons(site, pool), {"PoolEdited"})
    await site.ask("b", pool, 40)
    await site.ask("c", pool, 1)
    await eventually(lambda: site.cpu("b"), (40, 40))
    assert await site.granted(pool) == 100


@pytest.mark.parametrize(("granted", "spent"), [(1, 0), (95, 0), (60, 10)])
async def test_what_was_edited_while_nobody_led_is_found_by_the_first_recount(site: Site, granted: int, spent: int) -> None:
    pool = await site.pool("year", 100)
    term = await site.lead()
    await site.ask("a", pool, 60)
    await eventually(lambda: site.cpu("a"), (60, 60))
    await eventually(site.unbalanced, [])
    await term.stop()
    total, gone = [{"name": "cpu", "hours": granted}], [{"name": "cpu", "hours": spent}] if spent else []
    await edit(site, pool, of(granted=total, spent=gone))
    await site.lead()
    await eventually(lambda: site.granted(pool), 60 + spent)
    await eventually(lambda: reasons(site, pool), {"PoolRecounted"})


async def test_a_total_that_was_lowered_while_nobody_led_grants_nothing_twice(site: Site) -> None:
    root = await site.pool("root", 100)
    leaf = await site.pool("leaf", 100, "root")
    term = await site.lead()
    await site.ask("a", leaf, 60)
    await eventually(lambda: site.cpu("a"), (60, 60))
    await eventually(site.unbalanced, [])
    await term.stop()
    for pool in (root, leaf):
        await edit(site, pool, EDITS["nothing granted"])
    await site.ask("b", leaf, 50)
    await site.lead()
    await eventually(lambda: _is_refused(site, "b"), True)
    assert await site.granted(leaf) == 60
    await eventually(lambda: reasons(site, root), {"PoolRecounted"})


async def _is_refused(site: Site, name: str) -> bool:
    return (await site.condition(name, "Granted"))[1] == "QuotaExceeded"


async def test_edits_amid_a_storm_leave_nothing_wrong(site: Site) -> None:
    root = await site.pool("root", 60)
    leaves = [await site.pool("left", 50, "root"), await site.pool("right", 50, "root")]
    await site.lead()

    async def ask(number: int) -> None:
        await site.ask(f"a{number}", leaves[number % 2], 2)
        await asyncio.sleep(0.01)

    async def meddle() -> None:
        for name in (root, *leaves) * 4:
            for change in (EDITS["less granted"], EDITS["wiped"], of(intents=[]), EDITS["an operation that never was"]):
                await edit(site, name, change)
                await asyncio.sleep(0.02)

    await eventually(lambda: site.granted(root), 0)
    await asyncio.gather(meddle(), *(ask(number) for number in range(40)))

    async def charged() -> int:
        return sum([row.state.charged.get("cpu", 0) for row in (await site.rows()).values()])

    await eventually(charged, 60)
    await eventually(site.unbalanced, [])
    assert await site.granted(root) == 60

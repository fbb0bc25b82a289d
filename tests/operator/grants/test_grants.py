"""The grant core on the real API server: exact totals while many race, and every way back of the hours."""

import asyncio
from typing import Any

import pytest

from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_operator.poolrequests import OPEN_TARGET
from bursar_testing.grantterm import Site, eventually


async def test_an_allocation_is_granted_and_backed_by_its_pool(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 40)
    await eventually(lambda: site.cpu("a"), (40, 40))
    await eventually(site.unbalanced, [])
    assert await site.granted(pool) == 40
    row = await site.row("a")
    assert row is not None
    assert (row.state.pool, row.state.revision, row.state.generation) == (pool, 1, 1)
    assert (await site.condition("a", "Granted"))[:2] == ("True", "Granted")
    await eventually(lambda: _status(site, "a", "Enforced"), "True")
    assert (await site.condition("a", "Ready"))[0] == "True"


async def _status(site: Site, name: str, type_: str) -> str:
    return (await site.condition(name, type_))[0]


async def test_thirty_two_at_once_never_overshoot_and_all_that_fit_are_granted(site: Site) -> None:
    pool = await site.pool("year", 100)
    term = await site.lead()
    seen: list[int] = []
    term.informers.pools.subscribe(
        lambda event, old, new: seen.append(_total(new)) if new is not None and new["metadata"]["name"] == pool else None
    )
    await asyncio.gather(*(site.ask(f"a{number}", pool, 6) for number in range(32)))

    async def decided() -> int:
        return sum([bool((await site.condition(name, "Granted"))[0]) for name in await site.rows()])

    await eventually(decided, 32)
    await eventually(site.unbalanced, [])
    granted = [name for name, row in (await site.rows()).items() if row.state.granted.get("cpu")]
    assert len(granted) == 16
    assert await site.granted(pool) == 96
    assert max(seen) <= 100
    refused = next(name for name in await site.rows() if name not in granted)
    status, reason, message = await site.condition(refused, "Granted")
    assert (status, reason) == ("False", "QuotaExceeded")
    assert "4 of 100 cpu hours left; this asks for 6. Ask for 4, wait until 2036-01-01" in message


async def test_a_backlog_larger_than_a_round_is_worked_off(site: Site) -> None:
    """Many more wait than may be open at one time: the loop must make way for their closes, not turn on the spot."""
    pool = await site.pool("year", 1000)
    count = OPEN_TARGET * 4 + 88
    for first in range(0, count, 50):
        await asyncio.gather(*(site.ask(f"b{number}", pool, 1) for number in range(first, min(count, first + 50))))
    await site.lead()

    async def held() -> int:
        return await site.granted(pool)

    await eventually(held, count)
    await eventually(site.unbalanced, [])


def _total(pool: dict[str, Any]) -> int:
    return sum(item["hours"] for item in pool.get("status", {}).get("granted", ()))


async def test_a_refused_request_is_granted_once_hours_come_back(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("first", pool, 80)
    await eventually(lambda: site.cpu("first"), (80, 80))
    await site.ask("second", pool, 50)
    await eventually(lambda: _status(site, "second", "Granted"), "False")
    await site.change("first", 30)
    await eventually(lambda: site.cpu("second"), (50, 50))
    await eventually(lambda: site.cpu("first"), (30, 30))
    await eventually(site.unbalanced, [])


async def test_a_raised_limit_lets_the_waiting_in(site: Site) -> None:
    pool = await site.pool("year", 10)
    await site.lead()
    await site.ask("a", pool, 50)
    await eventually(lambda: _status(site, "a", "Granted"), "False")
    await site.kube.merge_patch(QUOTAPOOLS, pool, {"spec": {"resources": [{"name": "cpu", "hours": 60}]}})
    await eventually(lambda: site.cpu("a"), (50, 50))


async def test_hours_go_back_only_when_the_scheduler_has_the_lower_limit(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 80)
    await eventually(lambda: site.cpu("a"), (80, 80))
    site.ledger.acknowledges = False
    await site.change("a", 30)
    await eventually(lambda: site.cpu("a"), (30, 80))
    assert (await site.condition("a", "Granted"))[1] == "Releasing"
    assert (await site.condition("a", "Enforced"))[:2] == ("False", "Enforcing")
    await asyncio.sleep(0.3)
    assert await site.granted(pool) == 80
    assert not (await site.book(pool)).intents
    site.ledger.acknowledge()
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(lambda: site.granted(pool), 30)


async def test_raising_again_before_the_acknowledgement_costs_no_pool_write(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 80)
    await eventually(lambda: site.cpu("a"), (80, 80))
    await eventually(site.unbalanced, [])
    site.ledger.acknowledges = False
    await site.change("a", 30)
    await eventually(lambda: site.cpu("a"), (30, 80))
    before = await site.book(pool)
    await site.change("a", 70)
    await eventually(lambda: site.cpu("a"), (70, 80))
    assert (await site.book(pool)).sequence == before.sequence


async def test_shrinking_keeps_what_was_used(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 80)
    await eventually(lambda: site.cpu("a"), (80, 80))
    row = await site.row("a")
    assert row is not None
    site.ledger.used[row.uid] = {"cpu": 50}
    site.ledger.committed[row.uid] = {"cpu": 5}
    await site.change("a", 30)
    await eventually(lambda: site.cpu("a"), (30, 55))
    await eventually(lambda: site.granted(pool), 55)


async def test_a_deleted_allocation_leaves_what_it_used_behind(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 80)
    await eventually(lambda: site.cpu("a"), (80, 80))
    row = await site.row("a")
    assert row is not None
    site.ledger.used[row.uid] = {"cpu": 13}
    site.ledger.acknowledges = False
    await site.delete("a")
    await eventually(lambda: site.cpu("a"), (0, 80))
    await asyncio.sleep(0.3)
    assert await site.row("a") is not None
    assert await site.granted(pool) == 80
    site.ledger.acknowledge()
    await eventually(lambda: site.row("a"), None)
    book = await site.book(pool)
    assert (book.granted, book.spent, dict(book.intents)) == ({"cpu": 13}, {"cpu": 13}, {})
    await eventually(lambda: _is_tombstoned(site, row.uid), True)


async def _is_tombstoned(site: Site, uid: str) -> bool:
    return site.ledger.published[uid][0] > 1_000_000


async def test_deletion_waits_for_running_jobs(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 80)
    await eventually(lambda: site.cpu("a"), (80, 80))
    row = await site.row("a")
    assert row is not None
    site.ledger.used[row.uid], site.ledger.committed[row.uid] = {"cpu": 10}, {"cpu": 5}
    await site.delete("a")
    await eventually(lambda: site.cpu("a"), (0, 15))
    site.ledger.committed[row.uid] = {}
    site.ledger.acknowledge()
    await eventually(lambda: site.row("a"), None)
    await eventually(lambda: site.granted(pool), 10)


async def test_a_refused_allocation_goes_at_once(site: Site) -> None:
    pool = await site.pool("year", 10)
    await site.lead()
    await site.ask("a", pool, 50)
    await eventually(lambda: _status(site, "a", "Granted"), "False")
    await site.delete("a")
    await eventually(lambda: site.row("a"), None)
    assert (await site.book(pool)).sequence == 0


async def test_both_pools_of_a_tree_hold_the_hours(site: Site) -> None:
    root = await site.pool("root", 100)
    left = await site.pool("left", 70, "root")
    right = await site.pool("right", 70, "root")
    await site.lead()
    await asyncio.gather(*(site.ask(f"l{n}", left, 20) for n in range(4)), *(site.ask(f"r{n}", right, 20) for n in range(4)))

    async def total() -> int:
        return sum(row.state.granted.get("cpu", 0) for row in (await site.rows()).values())

    await eventually(total, 100)
    await eventually(site.unbalanced, [])
    assert await site.granted(root) == 100
    assert await site.granted(left) + await site.granted(right) == 100
    for name in await site.rows():
        await site.delete(name)
    await eventually(site.rows, {})
    assert [await site.granted(name) for name in (root, left, right)] == [0, 0, 0]


async def test_without_a_pool_named_the_only_one_that_fits_is_taken(site: Site) -> None:
    await site.lead()
    await site.ask("a", None, 5)
    await eventually(lambda: _reason(site, "a"), "NoPool")
    pool = await site.pool("one", 100)
    await eventually(lambda: site.cpu("a"), (5, 5))
    second = await site.pool("two", 100)
    await eventually(lambda: _is_counted(site, second), True)
    await site.ask("b", None, 5)
    await eventually(lambda: _reason(site, "b"), "AmbiguousPool")
    assert f"{site.name}-one, {site.name}-two" in (await site.condition("b", "Granted"))[2]
    await site.change("a", 7)
    await eventually(lambda: site.cpu("a"), (7, 7))
    assert await site.granted(pool) == 7


async def _is_counted(site: Site, pool: str) -> bool:
    return (await site.book(pool)).granted is not None


async def _reason(site: Site, name: str) -> str:
    return (await site.condition(name, "Granted"))[1]


async def test_a_missing_finalizer_comes_before_the_charge(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 5, finalizer=False)
    await eventually(lambda: site.cpu("a"), (5, 5))
    row = await site.row("a")
    assert row is not None
    assert row.finalizer


async def test_a_limit_below_what_is_granted_stops_raises_only(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 60)
    await eventually(lambda: site.cpu("a"), (60, 60))
    await site.kube.merge_patch(QUOTAPOOLS, pool, {"spec": {"resources": [{"name": "cpu", "hours": 50}]}})

    async def overcommitted() -> str:
        conditions = (await site.kube.get(QUOTAPOOLS, pool))["status"]["conditions"]
        return next(str(item["status"]) for item in conditions if item["type"] == "Overcommitted")

    await eventually(overcommitted, "True")
    await site.ask("b", pool, 1)
    await eventually(lambda: _reason(site, "b"), "QuotaExceeded")
    await site.change("a", 40)
    await eventually(lambda: site.cpu("b"), (1, 1))
    await eventually(overcommitted, "False")


async def test_a_wiped_status_never_frees_hours_twice(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead(recount_seconds=1.0)
    await site.ask("a", pool, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(site.unbalanced, [])
    obj = await site.kube.get(ALLOCATIONS, "a", site.namespace)
    obj["status"] = {}
    await site.kube.replace_status(ALLOCATIONS, obj)
    await eventually(lambda: site.cpu("a"), (30, 30))
    row = await site.row("a")
    assert row is not None
    assert row.state.revision > 1
    await eventually(lambda: site.granted(pool), 30, "a recount takes the double charge back")


async def test_a_wiped_pool_is_counted_before_it_grants(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead()
    await site.ask("a", pool, 70)
    await eventually(lambda: site.cpu("a"), (70, 70))
    await eventually(site.unbalanced, [])
    obj = await site.kube.get(QUOTAPOOLS, pool)
    obj["status"] = {}
    await site.kube.replace_status(QUOTAPOOLS, obj)
    await site.ask("b", pool, 40)
    await eventually(lambda: _reason(site, "b"), "QuotaExceeded")
    assert await site.granted(pool) == 70


async def test_an_allocation_torn_away_is_taken_back_after_its_tombstone(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.lead(recount_seconds=1.0)
    await site.ask("a", pool, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(lambda: site.tear_away("a"), True)
    await eventually(lambda: site.granted(pool), 0)


@pytest.mark.parametrize("is_up", [True, False], ids=["while the operator runs", "while it is away"])
async def test_hours_used_by_what_was_torn_away_stay_spent_in_each_pool(site: Site, is_up: bool) -> None:
    """They are in `spent`, the rest comes back, whatever is counted meanwhile."""
    root, leaf = await site.pool("root", 100), await site.pool("leaf", 100, "root")
    term = await site.lead(recount_seconds=0.5)
    await site.ask("a", leaf, 30)
    await site.ask("b", leaf, 5)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await eventually(lambda: site.cpu("b"), (5, 5))
    row = await site.row("a")
    assert row is not None
    site.ledger.used[row.uid] = {"cpu": 13}
    site.ledger.acknowledges = False
    if not is_up:
        await term.stop()
    await eventually(lambda: site.tear_away("a"), True)
    if not is_up:
        await site.lead(recount_seconds=0.5)
    await eventually(lambda: _is_tombstoned(site, row.uid), True)
    await asyncio.sleep(1.5)
    # Nothing comes back before the agent does without it, though every pool was counted.
    assert [await site.granted(name) for name in (root, leaf)] == [35, 35]
    site.ledger.acknowledges = True
    for name in (root, leaf):
        await eventually(lambda: _held(site, name), ({"cpu": 18}, {"cpu": 13}, {}))  # noqa: B023 - awaited in this very turn
    await asyncio.sleep(1.5)
    assert await _held(site, root) == ({"cpu": 18}, {"cpu": 13}, {})


async def test_what_is_torn_away_while_its_grant_is_being_closed_stays_spent(site: Site) -> None:
    """Each at the moment in which its status says that it is granted: its pools are about to close the operation, or do."""
    root, leaf = await site.pool("root", 1000), await site.pool("leaf", 1000, "root")
    await site.lead(recount_seconds=0.5)
    names = [f"a{number}" for number in range(12)]
    for name in names:
        uid = (await site.ask(name, leaf, 30))["metadata"]["uid"]
        site.ledger.used[uid] = {"cpu": 13}
        await eventually(lambda: site.cpu(name), (30, 30))  # noqa: B023 - awaited in this very turn
        await eventually(lambda: site.tear_away(name), True)  # noqa: B023
    whole = {"cpu": 13 * len(names)}
    for pool in (root, leaf):
        await eventually(lambda: _held(site, pool), (whole, whole, {}))  # noqa: B023


async def test_a_leader_that_dies_while_it_takes_leave_spends_the_hours_once(site: Site) -> None:
    root, leaf = await site.pool("root", 100), await site.pool("leaf", 100, "root")
    first = await site.lead()
    await site.ask("a", leaf, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    row = await site.row("a")
    assert row is not None
    site.ledger.used[row.uid] = {"cpu": 13}
    site.ledger.acknowledges = False
    await eventually(lambda: site.tear_away("a"), True)
    await eventually(lambda: _is_tombstoned(site, row.uid), True)
    assert [set((await site.book(name)).intents) for name in (root, leaf)] == [{row.uid}, {row.uid}]
    await first.stop()
    site.ledger.acknowledges = True
    await (await site.lead(recount_seconds=0.5)).stop()
    await site.lead(recount_seconds=0.5)
    for name in (root, leaf):
        await eventually(lambda: _held(site, name), ({"cpu": 13}, {"cpu": 13}, {}))  # noqa: B023 - awaited in this very turn


async def _held(site: Site, pool: str) -> tuple[object, object, object]:
    book = await site.book(pool)
    return book.granted, book.spent, dict(book.intents)

"""Trees of pools on the real API server: several levels, what one project may hold, overcommitment, places in the queue."""

from collections.abc import Sequence
from functools import partial

import pytest

from bursar_kube.resources import ALLOCATIONS, NAMESPACES, PROJECTS, QUOTAPOOLS
from bursar_operator.domain.rows import book_of
from bursar_testing import manifests
from bursar_testing.grantterm import Site, eventually

SHARE = {"perProject": [{"name": "cpu", "hours": 30}]}


async def reason(site: Site, name: str) -> str:
    return (await site.condition(name, "Granted"))[1]


async def message(site: Site, name: str) -> str:
    return (await site.condition(name, "Granted"))[2]


async def totals(site: Site, pools: Sequence[str]) -> list[int]:
    return [await site.granted(pool) for pool in pools]


async def branch(site: Site, levels: int, limit: int = 100) -> list[str]:
    """A root and pools below each other; their names."""
    return [await site.pool(f"l{n}", limit, f"l{n - 1}" if n else None) for n in range(levels)]


@pytest.mark.parametrize("levels", [3, 8])
async def test_hours_are_charged_in_every_pool_of_the_path_and_come_back(site: Site, levels: int) -> None:
    pools = await branch(site, levels)
    await site.lead()
    await site.ask("a", pools[-1], 40)
    await eventually(lambda: site.cpu("a"), (40, 40))
    await eventually(site.unbalanced, [])
    assert await totals(site, pools) == [40] * levels
    await site.change("a", 10)
    await eventually(lambda: site.cpu("a"), (10, 10))
    await eventually(site.unbalanced, [])
    assert await totals(site, pools) == [10] * levels
    await site.delete("a")
    await eventually(lambda: site.row("a"), None)
    await eventually(site.unbalanced, [])
    assert await totals(site, pools) == [0] * levels


async def test_a_full_pool_in_the_middle_refuses_what_root_and_leaf_could_hold(site: Site) -> None:
    root = await site.pool("root", 100)
    await site.pool("mid", 50, "root")
    left, right = await site.pool("left", 40, "mid"), await site.pool("right", 40, "mid")
    await site.lead()
    await site.ask("a", left, 30)
    await eventually(lambda: site.cpu("a"), (30, 30))
    await site.ask("b", right, 30)
    await eventually(lambda: reason(site, "b"), "QuotaExceeded")
    assert f"pool {site.name}-mid has 20 of 50 cpu hours left; this asks for 30" in await message(site, "b")
    await eventually(site.unbalanced, [])
    assert await site.granted(root) == 30
    await site.change("a", 20)
    await eventually(lambda: site.cpu("b"), (30, 30))


async def test_a_leader_that_takes_over_finishes_what_is_open_half_way_down(site: Site) -> None:
    pools = await branch(site, 3)
    await site.ask("a", pools[-1], 40)
    first = await site.lead()
    await eventually(lambda: site.cpu("a"), (40, 40))
    await first.stop()
    obj = await site.kube.get(QUOTAPOOLS, pools[0])
    allocation = await site.kube.get(ALLOCATIONS, "a", site.namespace)
    number = max(allocation["status"]["grantSequence"], book_of(obj).sequence) + 1
    old, new = [{"name": "cpu", "hours": 40}], [{"name": "cpu", "hours": 60}]
    metadata = {name: allocation["metadata"][name] for name in ("uid", "namespace", "name")}
    obj["status"] |= {"granted": new, "sequence": number}
    obj["status"]["intents"] = [metadata | {"id": number, "from": old, "to": new, "spend": []}]
    await site.kube.replace_status(QUOTAPOOLS, obj)
    await site.change("a", 60)
    await site.lead()
    await eventually(lambda: site.cpu("a"), (60, 60))
    await eventually(site.unbalanced, [])
    assert await totals(site, pools) == [60, 60, 60]


async def test_a_pool_that_comes_before_the_one_above_it_waits_for_it(site: Site) -> None:
    leaf = await site.pool("leaf", 50, "root")
    await site.lead()
    await site.ask("a", leaf, 20)
    await eventually(lambda: reason(site, "a"), "ParentNotFound")
    await site.pool("root", 100)
    await eventually(lambda: site.cpu("a"), (20, 20))
    await eventually(site.unbalanced, [])

    async def ready() -> list[str]:
        return [item["reason"] for item in (await site.kube.get(QUOTAPOOLS, leaf))["status"]["conditions"]]

    await eventually(ready, ["Ready", "WithinLimit"])


async def test_a_project_holds_no_more_of_a_pool_than_it_says(site: Site) -> None:
    root = await site.pool("root", 100, spec=SHARE)
    left, right = await site.pool("left", 100, "root"), await site.pool("right", 100, "root")
    await site.lead()
    await site.ask("a", left, 20)
    await eventually(lambda: site.cpu("a"), (20, 20))
    await site.ask("b", right, 11)
    await eventually(lambda: reason(site, "b"), "ProjectShareExceeded")
    said = await message(site, "b")
    assert f"one project may hold 30 cpu hours of pool {root}; this one has 10 of them left and asks for 11. Ask for 10" in said
    await site.change("a", 19)
    await eventually(lambda: site.cpu("b"), (11, 11))
    await site.change("a", 20)
    await eventually(lambda: reason(site, "a"), "ProjectShareExceeded")
    await site.kube.merge_patch(QUOTAPOOLS, root, {"spec": {"perProject": [{"name": "cpu", "hours": 31}]}})
    await eventually(lambda: site.cpu("a"), (20, 20))


async def test_a_project_that_is_at_its_share_keeps_nobody_else_waiting(site: Site) -> None:
    pool = await site.pool("year", 100, spec=SHARE)
    other = f"{site.name}-other"
    project = await site.kube.create(PROJECTS, manifests.project(other, "alice"))
    project["status"] = {"account": other, "namespace": f"project-{other}"}
    await site.kube.replace_status(PROJECTS, project)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"project-{other}"}}
    await site.kube.create(NAMESPACES, namespace)
    await site.lead()
    await site.ask("a", pool, 31)
    await eventually(lambda: reason(site, "a"), "ProjectShareExceeded")
    manifest = manifests.allocation(other, "b", pool, 30, site.name)
    await site.kube.create(ALLOCATIONS, manifest)

    async def theirs() -> object:
        return (await site.kube.get(ALLOCATIONS, "b", f"project-{other}")).get("status", {}).get("granted")

    await eventually(theirs, [{"name": "cpu", "hours": 30}])
    for rt, name in ((PROJECTS, other), (NAMESPACES, f"project-{other}")):
        await site.kube.delete(rt, name)


async def test_hours_that_were_used_stay_in_a_projects_share(site: Site) -> None:
    pool = await site.pool("year", 100, spec=SHARE)
    first = await site.lead()
    uid = (await site.ask("a", pool, 25))["metadata"]["uid"]
    await eventually(lambda: site.cpu("a"), (25, 25))
    site.ledger.used[uid] = {"cpu": 12}
    await site.delete("a")
    await eventually(lambda: site.row("a"), None)
    await site.ask("b", pool, 19)
    await eventually(lambda: reason(site, "b"), "ProjectShareExceeded")
    await first.stop()
    await site.lead()
    await site.ask("c", pool, 19)
    await eventually(lambda: reason(site, "c"), "ProjectShareExceeded")
    await site.change("b", 18)
    await eventually(lambda: site.cpu("b"), (18, 18))
    await eventually(lambda: site.granted(pool), 30)


async def test_many_at_once_never_take_a_project_over_its_share(site: Site) -> None:
    pool = await site.pool("year", 1000, spec=SHARE)
    for number in range(20):
        await site.ask(f"a{number}", pool, 4)
    await site.lead()

    async def refused() -> int:
        return [await reason(site, f"a{number}") for number in range(20)].count("ProjectShareExceeded")

    await eventually(refused, 13)
    await eventually(site.unbalanced, [])
    assert await site.granted(pool) == 28


async def test_an_overcommitted_pool_grants_so_many_percent_more(site: Site) -> None:
    pool = await site.pool("year", 100, spec={"overcommitPercent": 10})
    await site.lead()
    await site.ask("a", pool, 100)
    await site.ask("b", pool, 10)
    await eventually(lambda: site.cpu("a"), (100, 100))
    await eventually(lambda: site.cpu("b"), (10, 10))
    await site.ask("c", pool, 1)
    await eventually(lambda: reason(site, "c"), "QuotaExceeded")
    conditions = (await site.kube.get(QUOTAPOOLS, pool))["status"]["conditions"]
    assert [item["status"] for item in conditions if item["type"] == "Overcommitted"] == ["False"]


async def test_those_that_wait_say_which_place_they_have(site: Site) -> None:
    pool = await site.pool("year", 100)
    await site.ask("a", pool, 95)
    await site.lead()
    await eventually(lambda: site.cpu("a"), (95, 95))
    for name in ("w0", "w1", "w2"):
        await site.ask(name, pool, 10)
        await eventually(partial(reason, site, name), "QuotaExceeded")
    assert f"It is 3rd of 3 that wait for pool {pool}." in await message(site, "w2")

"""Service units on a real API server: what is signed for the agent, what comes back into status and pool, new weights."""

import secrets
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from bursar_domain.units import HOUR
from bursar_domain.wire import Delta, Hello, SlotReport, StatusReport, UsageReport, UsageRow
from bursar_kube.client import Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, PROJECTS, QUOTAPOOLS
from bursar_testing import manifests
from bursar_testing.operatorprocess import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
NAME = "units"
SCALE = 1000
RESOURCES = [{"name": "billing", "capacity": 200}, {"name": "cpu", "capacity": 64}, {"name": "memory", "capacity": 128}]


def billing(version: int, cpu: int) -> Obj:
    """`spec.billing`."""
    weights = [{"name": "memory", "weight": 250}, {"name": "cpu", "weight": cpu}]
    return {"version": version, "scale": SCALE, "weights": weights}


def hours(items: list[Obj] | None) -> dict[str, int]:
    """A status list as a mapping."""
    return {item["name"]: item["hours"] for item in items or ()}


async def made(stack: Stack, eventually: Eventually) -> None:
    """A cluster with service units, a pool of 200, an allocation of 100."""
    resources = [{"name": "billing", "hours": 200}]
    await stack.apply(manifests.cluster(NAME, resources=RESOURCES, billing=billing(1, 1000)), manifests.project(NAME, "alice"))

    async def settled() -> bool:
        return bool((await stack.kube.get(PROJECTS, NAME)).get("status", {}).get("account"))

    await eventually(settled)
    pool = manifests.pool(NAME, NAME, 0)
    pool["spec"]["resources"] = resources
    half = [{"name": "billing", "hours": 100}]
    await stack.apply(pool, manifests.allocation(NAME, "main", NAME, 0, NAME, resources=half))


async def delta(stack: Stack) -> Delta | None:
    """What the agent gets, once the allocation is in it."""
    found = await stack.ledger.desired(NAME, 0)
    return found if found and any(entry.allocations for entry in found.entries) else None


async def use(stack: Stack, billing_hours: int, seq: int = 1) -> None:
    """The agent reports so many billing units for an hour of alice."""
    now = int(time.time())
    hello = Hello(session="s1", agent_version="1", scheduler="simulator", scheduler_version="1", clock=now)
    await stack.ledger.record_hello(NAME, hello, now)
    status = StatusReport(
        report_id=secrets.token_hex(8), session="s1", generation=1, digest="x", scheduler_time=now, enforced_at=now
    )
    await stack.ledger.record_status(NAME, status, now)
    quarters = (billing_hours * HOUR // 4,) * 4
    rows = (UsageRow(user="alice", resource="billing", allocated=quarters),)
    slot = SlotReport(account=NAME, hour=now // HOUR * HOUR - 2 * HOUR, epoch=1, seq=seq, rows=rows)
    report = UsageReport(report_id=secrets.token_hex(8), session="s1", slots=(slot,), watermark=now)
    receipt = await stack.ledger.put_usage(NAME, report, now)
    assert receipt.refused == ()


async def test_service_units_all_the_way_and_back(stack: Stack, eventually: Eventually) -> None:
    await made(stack, eventually)
    found: Delta = await eventually(lambda: delta(stack))
    assert found.settings.billing is not None
    assert (found.settings.billing.version, found.settings.billing.scale) == (1, SCALE)
    assert [(item.name, item.weight) for item in found.settings.billing.weights] == [("cpu", 1000), ("memory", 250)]
    assert {item.name: item.capacity for item in found.settings.resources} == {
        "billing": 200 * SCALE,
        "cpu": 64,
        "memory": 128 * 1024,
    }
    (item,) = next(entry for entry in found.entries if entry.account == NAME).allocations
    assert (item.granted, item.windows[0].steps[0].granted) == ({"billing": 100}, {"billing": 100 * SCALE * HOUR})
    await use(stack, 30_100)

    async def shown() -> bool:
        status = (await stack.kube.get(ALLOCATIONS, "main", f"project-{NAME}")).get("status", {})
        figures = hours(status.get("used")), hours(status.get("available")), status.get("usedPercent")
        return figures == ({"billing": 31}, {"billing": 69}, 30)

    await eventually(shown)
    assert hours((await stack.kube.get(QUOTAPOOLS, NAME))["status"]["granted"]) == {"billing": 100}


async def test_new_weights_are_published_with_their_version(stack: Stack, eventually: Eventually) -> None:
    async def published(version: int) -> bool:
        found = await stack.ledger.desired("weights", 0)
        status = (await stack.kube.get(CLUSTERS, "weights")).get("status") or {}
        signed = found is not None and found.settings.billing is not None and found.settings.billing.version == version
        return signed and status.get("billingVersion") == version

    for version, cpu in ((1, 1000), (2, 1500)):
        await stack.apply(manifests.cluster("weights", resources=RESOURCES, billing=billing(version, cpu)))
        await eventually(partial(published, version))


async def test_a_cluster_that_is_torn_away_leaves_its_service_units(stack: Stack, eventually: Eventually) -> None:
    """Its finalizer taken by force: hours go on to be counted as they were published, over a restart as well."""

    async def shown(used: int) -> bool:
        status = (await stack.kube.get(ALLOCATIONS, "main", f"project-{NAME}")).get("status", {})
        return hours(status.get("used")) == {"billing": used}

    async def torn() -> bool:
        try:
            await stack.kube.merge_patch(CLUSTERS, NAME, {"metadata": {"finalizers": None}})
        except NotFound:
            return True
        return False

    await stack.kube.delete(CLUSTERS, NAME)
    await eventually(torn)
    await use(stack, 100_100, seq=2)
    await eventually(partial(shown, 101))
    await stack.operator.kill()
    await stack.restart()
    await use(stack, 60_100, seq=3)
    await eventually(partial(shown, 61))

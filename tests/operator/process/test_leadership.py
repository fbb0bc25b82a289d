"""Leadership with real processes that are killed, stopped and woken, or asked to end.

What each of them wrote is read in the API server's audit log, where their User-Agents tell them apart.
"""

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from typing import Any

import pytest

from bursar_domain.enrolment import EnrolRequest
from bursar_domain.keys import Signer
from bursar_kube.client import Obj
from bursar_kube.lease import EPOCH_ANNOTATION
from bursar_kube.resources import ALLOCATIONS, LEASES, MEMBERSHIPS, PROJECTS, QUOTAPOOLS
from bursar_ledger.errors import StaleEpoch
from bursar_testing import audit, manifests
from bursar_testing.operatorprocess import OperatorProcess, Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
CLUSTER, POOL, PROJECT = "led", "led", "led"


async def lease(stack: Stack) -> Obj:
    return await stack.kube.get(LEASES, "bursar-operator", "bursar-system")


async def holder(stack: Stack) -> str:
    return str((await lease(stack))["spec"]["holderIdentity"])


async def term(stack: Stack) -> int:
    return int((await lease(stack))["metadata"]["annotations"][EPOCH_ANNOTATION])


async def pool_terms(stack: Stack) -> set[int]:
    return {(obj.get("status") or {}).get("epoch", 0) for obj in await stack.kube.list(QUOTAPOOLS)}


async def root_term(stack: Stack) -> int:
    delta = await stack.ledger.desired(CLUSTER, 0)
    return 0 if delta is None else delta.root.root.epoch


async def granted(stack: Stack, *names: str) -> bool:
    found = {obj["metadata"]["name"]: obj.get("status") or {} for obj in await stack.kube.list(ALLOCATIONS)}
    return all(any(item["hours"] for item in found[name].get("granted", ())) for name in names)


def allocation(name: str) -> Obj:
    return manifests.allocation(PROJECT, name, POOL, 1, CLUSTER)


@pytest.fixture
async def furnished(stack: Stack, eventually: Eventually) -> Stack:
    """A cluster, a project, two pools and a grant, by whoever leads."""
    await stack.apply(manifests.cluster(CLUSTER), manifests.project(PROJECT, "alice"))
    await stack.apply(manifests.pool(POOL, CLUSTER, 10_000), manifests.pool("idle", CLUSTER, 10))

    async def settled() -> bool:
        return bool((await stack.kube.get(PROJECTS, PROJECT)).get("status", {}).get("account"))

    await eventually(settled)
    await stack.apply(allocation("first"))
    await eventually(lambda: granted(stack, "first"))
    return stack


@asynccontextmanager
async def standby(stack: Stack, eventually: Eventually) -> AsyncIterator[OperatorProcess]:
    """A second process that waits for the Lease; killed at the end unless the stack has made it its operator."""
    second = await OperatorProcess.spawn(stack.kubeconfig, stack.ledger_file, stack.folder)

    async def waits() -> bool:
        return f"leader: {await holder(stack)}, term" in await second.said("/readyz")

    try:
        await eventually(waits)
        yield second
    finally:
        second.resume()
        if stack.operator is not second:
            await second.kill()


async def leads(stack: Stack, process: OperatorProcess) -> bool:
    return f"leader: {await holder(stack)} (this process)" in await process.said("/healthz")


async def test_every_pool_and_every_desired_root_carries_the_term(furnished: Stack, eventually: Eventually) -> None:
    before = await term(furnished)

    async def carried() -> bool:
        now = await term(furnished)
        return await pool_terms(furnished) == {now} and await root_term(furnished) == now

    await eventually(carried)
    assert await furnished.operator.stop() == 0
    await furnished.restart()
    await eventually(carried)
    assert await term(furnished) > before
    settings = await furnished.ledger.published_settings(CLUSTER)
    assert settings is not None
    with pytest.raises(StaleEpoch):
        await furnished.ledger.publish(
            settings, (), epoch=before, acknowledged=0, now=1, valid_seconds=60, sign=Signer.generate().sign
        )


async def test_whoever_waits_says_who_leads_and_takes_over_after_a_crash(furnished: Stack, eventually: Eventually) -> None:
    before = await term(furnished)
    async with standby(furnished, eventually) as second:
        assert "bursar_operator_leader 0.0" in await second.said("/metrics")
        assert "waits for the Lease" in await second.said("/readyz")
        await furnished.operator.kill()
        furnished.operator = second
        await furnished.apply(allocation("after-the-crash"))
        await eventually(lambda: granted(furnished, "after-the-crash"))
        assert await leads(furnished, second)
        assert await term(furnished) == before + 1
        assert f"bursar_operator_epoch {before + 1}.0" in await second.said("/metrics")


async def test_on_sigterm_the_one_that_waits_leads_and_the_old_one_writes_nothing_more(
    furnished: Stack, eventually: Eventually
) -> None:
    old, first, before = furnished.operator, await holder(furnished), await term(furnished)
    async with standby(furnished, eventually) as second:
        names = [f"handed-over-{number}" for number in range(20)]
        await furnished.apply(manifests.project("passing", "alice"), *map(allocation, names))
        await eventually(lambda: has_finalizer(furnished, "passing"))
        assert await old.stop() == 0
        furnished.operator = second

        async def claimed() -> bool:
            return await term(furnished) == before + 1 and await pool_terms(furnished) == {before + 1}

        await eventually(claimed)
        await second.ready()
        await eventually(lambda: granted(furnished, *names))
    writes = audit.writes_of(furnished.folder, first)
    released = max(item.at for item in writes if item.resource == "leases")
    # Finalizers of projects are Kopf's.
    assert {item.resource for item in writes} > {"leases", "quotapools/status", "allocations/status", "projects"}
    assert [item for item in writes if item.at > released] == []


async def test_who_was_stopped_while_another_took_over_writes_nothing_when_it_wakes(
    furnished: Stack, eventually: Eventually
) -> None:
    old, first, before = furnished.operator, await holder(furnished), await term(furnished)
    async with standby(furnished, eventually) as second:
        names = [f"torn-{number}" for number in range(10)]
        await furnished.apply(*map(allocation, names))
        await pause(furnished, old)  # in the middle of them
        furnished.operator = second
        await eventually(lambda: leads(furnished, second))
        await second.ready()
        await eventually(lambda: granted(furnished, *names))
        version = (await lease(furnished))["spec"]["leaseTransitions"]
        await furnished.apply(manifests.project("leaving", "alice"))
        await eventually(lambda: has_finalizer(furnished, "leaving"))
        await pause(furnished, second)
        enrolment = await leave_work(furnished)
        woken = datetime.now(UTC)
        old.resume()
        assert await asyncio.wait_for(old.child.wait(), 30) == 1
        # Whichever it hears of first: the Lease, or a pool that its successor has claimed.
        assert re.search("the Lease was lost|was claimed in term [0-9]+, this process leads in term", old.log.read_text())
        assert [item for item in audit.writes_of(furnished.folder, first) if item.at >= woken] == []
        assert await still_to_do(furnished, enrolment)
        second.resume()
        await eventually(lambda: granted(furnished, "left"))
        await eventually(lambda: decided(furnished, enrolment))
    assert ((await lease(furnished))["spec"]["leaseTransitions"], await term(furnished)) == (version, before + 1), (
        "nobody took the Lease from the second one, so its term went on"
    )


async def pause(stack: Stack, process: OperatorProcess) -> None:
    """Stop it, but not while it holds the write lock of the ledger's file: nobody else could write until it goes on."""
    for _ in range(50):
        process.pause()
        with closing(sqlite3.connect(stack.ledger_file, timeout=0.1, isolation_level=None)) as raw:
            try:
                raw.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError:
                process.resume()
        await asyncio.sleep(0.05)
    raise AssertionError("the ledger's file was locked whenever we looked")


async def leave_work(stack: Stack) -> str:
    """Something of every kind that an operator writes of, while none runs; the id of an enrolment."""
    await stack.kubectl("delete", "allocation", "torn-0", "-n", f"project-{PROJECT}", "--wait=false")
    await stack.kubectl("delete", "project", "leaving", "--wait=false")
    await stack.apply(
        allocation("left"), manifests.project("waiting", "alice"), manifests.member(PROJECT, "bob"), manifests.cluster("new")
    )
    return await stack.ledger.request_enrolment(EnrolRequest(cluster=CLUSTER, public_key="bad", mac="bad"), 1_800_000_000)


async def still_to_do(stack: Stack, enrolment: str) -> bool:
    """Whether nothing of `leave_work` was done."""
    project = await stack.kube.get(PROJECTS, "waiting")
    member = await stack.kube.get(MEMBERSHIPS, "bob", f"project-{PROJECT}")
    left = await stack.kube.get(ALLOCATIONS, "left", f"project-{PROJECT}")
    untouched = all("status" not in obj for obj in (project, member, left))
    return untouched and not await decided(stack, enrolment)


async def has_finalizer(stack: Stack, name: str) -> bool:
    return bool((await stack.kube.get(PROJECTS, name))["metadata"].get("finalizers"))


async def decided(stack: Stack, enrolment: str) -> bool:
    found = await stack.ledger.enrolment(enrolment)
    assert found is not None
    return found.state != "Pending"

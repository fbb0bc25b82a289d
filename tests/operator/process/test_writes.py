"""How often the operator writes: once for a grant, twice for a shrink, three times for a deletion, never for nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from bursar_kube.errors import KubeError, NotFound
from bursar_kube.resources import ALLOCATIONS, PROJECTS, QUOTAPOOLS
from bursar_local.files import share
from bursar_testing import manifests
from bursar_testing.benchstage import each, is_granted, writes_in
from bursar_testing.operatorprocess import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
NAMESPACE = "project-frugal"
MANY = 20
QUIET_SECONDS = 1.5


@dataclass(frozen=True)
class Writes:
    """What the API server has counted of the operator's writes."""

    allocations: int
    pools: int


@dataclass
class Desk:
    """A pool for allocations, and what the API server counts."""

    stack: Stack
    eventually: Eventually

    def allocation(self, name: str) -> dict[str, Any]:
        """Ten hours."""
        return manifests.allocation("frugal", name, "frugal", 10, "frugal")

    async def create(self, *names: str) -> None:
        """Ask for each, all at once, and wait until they are granted and the pool has nothing open."""
        await each(names, lambda name: self.stack.kube.create(ALLOCATIONS, self.allocation(name)))
        for name in names:
            await self.eventually(partial(self.holds, name, 10))

    async def holds(self, name: str, hours: int) -> bool:
        """Whether so much is granted and charged, and nothing is open."""
        found = await self.stack.kube.get(ALLOCATIONS, name, NAMESPACE)
        pool = await self.stack.kube.get(QUOTAPOOLS, "frugal")
        wanted = [{"name": "cpu", "hours": hours}]
        status = found.get("status") or {}
        return status.get("granted") == wanted == status.get("charged") and not pool["status"].get("intents")

    async def is_gone(self, name: str) -> bool:
        """Whether the object is no more."""
        try:
            await self.stack.kube.get(ALLOCATIONS, name, NAMESPACE)
        except NotFound:
            return True
        return False

    async def counted(self) -> Writes:
        """Once nothing is written any more."""
        before = await self._counted()
        while True:
            await asyncio.sleep(QUIET_SECONDS)
            now = await self._counted()
            if now == before:
                return now
            before = now

    async def during(self, work: Awaitable[object]) -> Writes:
        """Writes while the work was done."""
        before = await self.counted()
        await work
        after = await self.counted()
        return Writes(after.allocations - before.allocations, after.pools - before.pools)

    async def _counted(self) -> Writes:
        text = (await self.stack.kubectl("get", "--raw", "/metrics")).stdout
        return Writes(writes_in(text, ("allocations",)), writes_in(text, ("quotapools",)))


@pytest.fixture
async def desk(stack: Stack, eventually: Eventually) -> AsyncIterator[Desk]:
    """A cluster, a project and a pool, and the policy that stamps what a grant needs."""
    policy = str(share("policies") / "stamp-allocation.yaml")
    await stack.kubectl("apply", "-f", policy)
    await stack.apply(manifests.cluster("frugal"), manifests.pool("frugal", "frugal", 10_000))
    await stack.apply(manifests.project("frugal", "alice"))
    made = Desk(stack, eventually)

    async def is_ready() -> bool:
        project = await stack.kube.get(PROJECTS, "frugal")
        try:
            probe = await stack.kube.create(ALLOCATIONS, made.allocation("probe"), dry_run=True)
        except KubeError:
            return False
        return bool((project.get("status") or {}).get("account") and probe["metadata"].get("finalizers"))

    await eventually(is_ready)
    yield made
    for obj in await stack.kube.list(ALLOCATIONS, NAMESPACE):
        await stack.kube.delete(ALLOCATIONS, obj["metadata"]["name"], NAMESPACE)
        await eventually(partial(made.is_gone, obj["metadata"]["name"]))
    await stack.kubectl("delete", "-f", policy)


async def test_a_grant_is_one_write_and_a_batch_shares_those_of_its_pool(desk: Desk) -> None:
    names = [f"a{number}" for number in range(MANY)]
    written = await desk.during(desk.create(*names))
    assert written.allocations == MANY
    assert written.pools < MANY
    found = await desk.stack.kube.list(ALLOCATIONS, NAMESPACE)
    assert all(is_granted(obj) for obj in found)
    present = {item["type"] for obj in found for item in obj["status"]["conditions"]}
    assert present == {"Ready", "Granted", "Enforced"}


async def test_a_copy_after_a_write_is_what_the_server_holds(desk: Desk) -> None:
    """Only the status goes out and only metadata come back: neither who owns what nor the rest of the object changes."""
    kube = desk.stack.kube
    await desk.create("exact")
    before = await kube.get(ALLOCATIONS, "exact", NAMESPACE)
    before["status"]["enforcement"] = "None"
    written = await kube.swap_status(ALLOCATIONS, before)
    after = await kube.get(ALLOCATIONS, "exact", NAMESPACE)
    assert written == after
    assert after["spec"] == before["spec"]
    owned = [[item for item in obj["metadata"]["managedFields"] if "subresource" not in item] for obj in (before, after)]
    assert owned[0] == owned[1]


async def test_nothing_is_written_for_nothing(desk: Desk) -> None:
    kube = desk.stack.kube
    await desk.create("calm")

    async def label() -> None:
        for value in ("1", "2"):
            await kube.merge_patch(ALLOCATIONS, "calm", {"metadata": {"labels": {"look": value}}}, NAMESPACE)

    written = await desk.during(label())
    assert (written.allocations - 2, written.pools) == (0, 0)

    async def restart() -> None:
        assert await desk.stack.operator.stop() == 0
        await desk.stack.restart()

    await desk.during(restart())  # figures of other tests that were held back for a minute are written now
    written = await desk.during(restart())
    assert written.allocations == 0


async def test_a_shrink_is_two_writes_and_a_deletion_three(desk: Desk) -> None:
    kube = desk.stack.kube
    await desk.create("less")

    async def shrink() -> None:
        await kube.merge_patch(ALLOCATIONS, "less", {"spec": {"resources": [{"name": "cpu", "hours": 4}]}}, NAMESPACE)
        await desk.eventually(lambda: desk.holds("less", 4))

    written = await desk.during(shrink())
    assert written.allocations - 1 <= 2  # one of them is ours

    async def delete() -> None:
        await kube.delete(ALLOCATIONS, "less", NAMESPACE)
        await desk.eventually(lambda: desk.is_gone("less"))

    written = await desk.during(delete())
    assert written.allocations <= 3

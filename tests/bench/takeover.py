"""Leadership: from the kill of a leader to the next one's first grant, and from SIGTERM to the next one that holds the pools.

Beside it, on the same API server at the same time: stock Kopf with peering, killed and taken over in the same way.
"""

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.informer import Informer
from bursar_kube.resources import ALLOCATIONS, CUSTOMRESOURCEDEFINITIONS, LEASES, QUOTAPOOLS, ResourceType
from bursar_testing import manifests
from bursar_testing.bench import Row
from bursar_testing.benchstage import BOUND_SECONDS, Obj, Stage, clear, is_granted, plain_namespace, row, until
from bursar_testing.operatorprocess import OperatorProcess
from bursar_testing.seeding import granted_many

HERE = Path(__file__).parent
MANY = 10_000
POOLS = 50
KILLS = 20
HANDOVERS = 10
KOPF_KILLS = 3
RENEWAL_SECONDS = 2.0
PEERINGS = ResourceType("kopf.dev", "v1", "kopfpeerings", "KopfPeering", True)


class Seen:
    """Follows allocations and pools, so that what is waited for is seen when it happens."""

    def __init__(self, kube: Kube) -> None:
        self._changed = asyncio.Event()
        self.allocations: Informer[bool] = Informer(kube, ALLOCATIONS, transform=is_granted)
        self.pools: Informer[int] = Informer(kube, QUOTAPOOLS, transform=_term)
        for informer in (self.allocations, self.pools):
            informer.subscribe(lambda *_: self._changed.set())

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when it holds."""
        async with asyncio.timeout(BOUND_SECONDS):
            while not holds():
                self._changed.clear()
                await self._changed.wait()

    def is_granted(self, obj: Obj) -> bool:
        """Whether the allocation holds hours."""
        return bool(self.allocations.get(obj["metadata"]["namespace"], obj["metadata"]["name"]))

    def term(self) -> int:
        """The term that every pool carries; of several the lowest."""
        return min(self.pools.items())


def _term(pool: Obj) -> int:
    epoch = (pool.get("status") or {}).get("epoch")
    return epoch if isinstance(epoch, int) else 0


class Replicas:
    """Operator processes on one ledger, of which one leads."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._all: list[OperatorProcess] = []
        self._leader: OperatorProcess | None = None

    async def add(self) -> OperatorProcess:
        """One more."""
        found = await OperatorProcess.spawn(self._stage.kubeconfig, self._stage.folder / "ledger.db", self._stage.folder)
        self._all.append(found)
        return found

    async def settled(self) -> OperatorProcess:
        """The one that leads, once it serves and the others have seen that it leads."""
        await until(self._is_settled)
        assert self._leader is not None
        await self._leader.ready()
        return self._leader

    def lost(self, leader: OperatorProcess) -> None:
        """It was ended on purpose."""
        self._all.remove(leader)

    async def _is_settled(self) -> bool:
        for process in self._all:
            assert process.child.returncode is None, f"a replica ended:\n{process.log.read_text()[-4000:]}"
        holder = (await self._stage.kube.get(LEASES, "bursar-operator", "bursar-system"))["spec"]["holderIdentity"]
        said = {process: await process.said("/healthz") for process in self._all}
        self._leader = next((process for process, text in said.items() if f"leader: {holder} (this process)" in text), None)
        return self._leader is not None and all(f"leader: {holder}" in text for text in said.values())

    async def end(self) -> None:
        """Kill them all."""
        for process in self._all:
            await process.kill()


async def killed(stage: Stage, seen: Seen, replicas: Replicas, number: int) -> float:
    """Seconds from SIGKILL of the leader to the grant of what was created right after it."""
    leader = await replicas.settled()
    await asyncio.sleep(number * RENEWAL_SECONDS / KILLS)  # at every point between two renewals
    obj = stage.allocation(MANY + number)
    began = time.perf_counter()
    leader.child.kill()
    replicas.lost(leader)
    await stage.kube.create(ALLOCATIONS, obj)
    spare = asyncio.create_task(replicas.add())
    await seen.until(lambda: seen.is_granted(obj))
    seconds = time.perf_counter() - began
    await spare
    await leader.child.wait()
    return seconds


async def asked(stage: Stage, seen: Seen, replicas: Replicas, number: int) -> tuple[float, float]:
    """Seconds from SIGTERM to the next one's term in every pool, and to its first grant."""
    await replicas.add()
    leader = await replicas.settled()
    obj, before = stage.allocation(MANY + KILLS + number), seen.term()
    began = time.perf_counter()
    leader.child.send_signal(signal.SIGTERM)
    replicas.lost(leader)
    await seen.until(lambda: seen.term() > before)
    claimed = time.perf_counter() - began
    await stage.kube.create(ALLOCATIONS, obj)
    await seen.until(lambda: seen.is_granted(obj))
    granted = time.perf_counter() - began
    assert await leader.child.wait() == 0
    return claimed, granted


@asynccontextmanager
async def peer(stage: Stage, priority: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Stock Kopf as one of two peers; the one with the higher priority works."""
    options = ["--quiet", "--peering", "bench", "--priority", str(priority), "-n", "stock"]
    command = [sys.executable, "-m", "kopf", "run", *options, str(HERE / "_stockpeering.py")]
    environment = os.environ | {"KUBECONFIG": str(stage.plane.kubeconfig)}
    with (stage.folder / f"kopf-{priority}.log").open("ab") as log:
        child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        yield child
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def kopf_seconds(stage: Stage, seen: Seen) -> list[float]:
    """Stock Kopf: from SIGKILL of the peer that works to the other one's first status."""
    made = iter(await plain_namespace(stage, "stock", 2 * KOPF_KILLS + 1))
    await _define_peering(stage.kube)
    found = []

    async def worked() -> None:
        obj = next(made)
        await stage.kube.create(ALLOCATIONS, obj)
        await seen.until(lambda: seen.is_granted(obj))

    async with peer(stage, 1):
        for _ in range(KOPF_KILLS):
            async with peer(stage, 2) as first:
                await until(lambda: _works(stage, 2))
                await worked()
                began = time.perf_counter()
                first.kill()
                await worked()
                found.append(time.perf_counter() - began)
    await clear(stage, "stock")
    return found


async def _works(stage: Stage, priority: int) -> bool:
    """Whether the peer of this priority has announced itself, and its mate has had the time to hear of it."""
    peers = (await stage.kube.get(PEERINGS, "bench", "stock")).get("status") or {}
    there = any(item["priority"] == priority for item in peers.values())
    await asyncio.sleep(3 if there else 0)
    return there


async def _define_peering(kube: Kube) -> None:
    schema = {"type": "object", "properties": {"status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    words = {"kind": PEERINGS.kind, "plural": PEERINGS.plural, "singular": "kopfpeering"}
    spec = {"scope": "Namespaced", "group": PEERINGS.group, "names": words, "versions": [version]}
    await kube.create(CUSTOMRESOURCEDEFINITIONS, {"metadata": {"name": f"{PEERINGS.plural}.{PEERINGS.group}"}, "spec": spec})

    async def made() -> bool:
        try:
            peering = {"apiVersion": PEERINGS.api_version, "kind": PEERINGS.kind}
            await kube.create(PEERINGS, peering | {"metadata": {"name": "bench", "namespace": "stock"}})
        except KubeError:
            return False
        return True

    await until(made)


def said(seconds: Sequence[float]) -> str:
    """Median and range."""
    return f"p50 {statistics.median(seconds):.2f} s, {min(seconds):.2f} to {max(seconds):.2f} s over {len(seconds)}"


async def run() -> list[Row]:
    """Two replicas with 10,000 allocations and 50 pools."""
    async with AsyncExitStack() as ending:
        stage = await ending.enter_async_context(Stage.open())
        await granted_many(stage, MANY)
        for number in range(POOLS - 1):
            await stage.kube.create(QUOTAPOOLS, manifests.pool(f"more-{number}", "bench", 100))
        seen = Seen(stage.kube)
        await ending.enter_async_context(seen.allocations)
        await ending.enter_async_context(seen.pools)
        replicas = Replicas(stage)
        ending.push_async_callback(replicas.end)
        await replicas.add()
        await replicas.settled()
        handovers = [await asked(stage, seen, replicas, number) for number in range(HANDOVERS)]
        await replicas.add()
        stock = asyncio.create_task(kopf_seconds(stage, seen))
        kills = [await killed(stage, seen, replicas, number) for number in range(KILLS)]
        return rows(kills, handovers, await stock)


def rows(kills: Sequence[float], handovers: Sequence[tuple[float, float]], stock: Sequence[float]) -> list[Row]:
    """The figures; the longest counts."""
    claims, grants = [claimed for claimed, _ in handovers], [granted for _, granted in handovers]
    size = f"with {MANY:,} allocations and {POOLS} pools"
    return [
        row(
            *("operator.takeover", max(kills), "s, longest", statistics.median(stock), "<= 15 s", max(kills) <= 15),
            f"SIGKILL to first grant {size}: {said(kills)}; stock Kopf's peering: {said(stock)}",
        ),
        row(
            *("operator.handover", max(claims), "s, longest", None, "<= 2 s", max(claims) <= 2),
            f"SIGTERM to the next leader's term in every pool {size}: {said(claims)}; to its first grant: {said(grants)}",
        ),
    ]

"""The pool writer: grants per second and their latency with 1, 8 and 32 clients, on one pool and on 32.

Beside it, on the same API server: a compare-and-swap loop per request, and the API server's own ResourceQuota.
"""

import asyncio
import itertools
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bursar_kube.client import Kube
from bursar_kube.errors import Conflict
from bursar_kube.resources import CLUSTERS, CONFIGMAPS, NAMESPACES, QUOTAPOOLS, RESOURCEQUOTAS
from bursar_operator.domain.rows import GrantState
from bursar_operator.informers import Informers
from bursar_operator.pools import Pools
from bursar_testing import manifests
from bursar_testing.bench import Row
from bursar_testing.benchstage import Stage, row, until
from bursar_testing.poolracers import ONE, Racers

CLIENTS = (1, 8, 32)
POOLS = 32
IN_FLIGHT = 4  # requests that one client has open at a time: a portal, or `kubectl apply -f` of a folder
SECONDS = 4.0
LIMIT = 10_000_000
FULL = 50_000
Work = Callable[[int], Awaitable[object]]


@dataclass(frozen=True)
class Race:
    """What a race gave: grants per second, latencies in ms."""

    rate: float
    p50: float
    p99: float


async def race(work: Work, width: int, seconds: float = SECONDS) -> Race:
    """So many at a time, for so long; the first half second is not counted."""
    latencies: list[float] = []
    began = time.perf_counter() + 0.5
    ends = began + seconds

    async def client(number: int) -> None:
        while (start := time.perf_counter()) < ends:
            await work(number)
            if start >= began:
                latencies.append((time.perf_counter() - start) * 1000)

    await asyncio.gather(*(client(number) for number in range(width)))
    took = time.perf_counter() - began
    cuts = statistics.quantiles(latencies, n=100)
    return Race(len(latencies) / took, cuts[49], cuts[98])


@asynccontextmanager
async def writer(kube: Kube, racers: Racers, epoch: int) -> AsyncIterator[Pools]:
    """The operator's pool writer over these racers."""
    informers = Informers.build(kube)
    await informers.pools.start()
    await informers.pools.synced()
    pools = racers.pools = Pools(kube, informers, racers, epoch=epoch, clock=time.time)
    await pools.start()
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(pools.run())
            yield pools
            pools.stop()
            running.cancel()
    finally:
        await informers.pools.stop()


async def fresh_pools(kube: Kube, prefix: str, count: int) -> list[str]:
    """Pools with nothing in them."""
    names = [f"{prefix}-{number}" for number in range(count)]
    for name in names:
        await kube.create(QUOTAPOOLS, manifests.pool(name, "bench", LIMIT))
    return names


async def grants(kube: Kube, clients: int, count: int, epoch: int, before: int = 0) -> tuple[Race, float]:
    """A race on so many pools that hold so many allocations before; also pool writes per grant."""
    names = await fresh_pools(kube, f"race{epoch}", count)
    racers, numbers = Racers(), itertools.count()
    held = GrantState(granted=ONE, charged=ONE, revision=1, pool=names[0])
    for number in range(before):
        racers.add(f"held{number}", names[0], held)
    async with writer(kube, racers, epoch) as pools:
        await until(lambda: counted(kube, names))
        written = pools.writes
        found = await race(lambda number: racers.grant(f"{epoch}-{next(numbers)}", names[number % count]), clients * IN_FLIGHT)
        return found, (pools.writes - written) / max(1, next(numbers))


async def counted(kube: Kube, names: Sequence[str]) -> bool:
    """Whether the pools may be drawn on."""
    return all("granted" in (obj.get("status") or {}) for obj in [await kube.get(QUOTAPOOLS, name) for name in names])


async def plain_loop(kube: Kube, clients: int) -> Race:
    """Each request reads the pool, adds one hour and writes it back, again after a conflict."""
    (name,) = await fresh_pools(kube, f"plain{clients}", 1)

    async def grant(number: int) -> None:
        while True:
            obj = await kube.get(QUOTAPOOLS, name)
            held = (obj.get("status") or {}).get("granted") or [{"name": "cpu", "hours": 0}]
            obj["status"] = {"granted": [{"name": "cpu", "hours": held[0]["hours"] + 1}]}
            try:
                await kube.replace_status(QUOTAPOOLS, obj)
            except Conflict:
                continue
            return

    return await race(grant, clients)


async def resource_quota(kube: Kube, clients: int) -> Race:
    """The API server's own quota: creates that it counts."""
    namespace, numbers = f"quota{clients}", itertools.count()
    await kube.create(NAMESPACES, {"metadata": {"name": namespace}})
    hard = {"count/configmaps": str(LIMIT)}
    await kube.create(RESOURCEQUOTAS, {"metadata": {"name": "q", "namespace": namespace}, "spec": {"hard": hard}})

    async def is_counted() -> bool:
        found = await kube.get(RESOURCEQUOTAS, "q", namespace)
        return bool((found.get("status") or {}).get("hard"))

    await until(is_counted)

    async def grant(number: int) -> None:
        await kube.create(CONFIGMAPS, {"metadata": {"name": f"c{next(numbers)}", "namespace": namespace}})

    return await race(grant, clients)


async def run() -> list[Row]:
    """Every figure of the pool writer."""
    async with Stage.open() as stage:
        kube, epochs = stage.kube, itertools.count(1)
        await kube.create(CLUSTERS, manifests.cluster("bench", capacity=100_000))
        rows: list[Row] = []
        for clients in CLIENTS:
            plain, quota = await plain_loop(kube, clients), await resource_quota(kube, clients)
            one, writes = await grants(kube, clients, 1, next(epochs))
            many, _ = await grants(kube, clients, POOLS, next(epochs))
            rows += race_rows(clients, one, many, plain, quota, writes)
        few, _ = await grants(kube, 32, 1, next(epochs), before=10)
        full, _ = await grants(kube, 32, 1, next(epochs), before=FULL)
        note = f"p99 {full.p99:.1f} ms; baseline: a pool of 10"
        rows.append(row("quota.race_in_pool_of_50k", full.rate, "grants/s", few.rate, None, None, note))
        return rows


def race_rows(clients: int, one: Race, many: Race, plain: Race, quota: Race, writes: float) -> list[Row]:
    """Figures for so many clients."""
    unit = "client" if clients == 1 else "clients"
    is_barred = clients == max(CLIENTS)
    beside = f"compare-and-swap loop: p99 {plain.p99:.0f} ms; ResourceQuota: {quota.rate:.0f}/s, p99 {quota.p99:.0f} ms"
    fast = one.rate >= 5000 if is_barred else None
    prompt = one.p99 <= 50 if is_barred else None
    name = f"quota.race_{clients}_{unit}"
    p99 = "quota.race_p99" if is_barred else f"quota.race_{clients}_{unit}_p99"
    return [
        row(name, one.rate, "grants/s", plain.rate, ">= 5000" if is_barred else None, fast, beside),
        row(p99, one.p99, "ms", plain.p99, "<= 50" if is_barred else None, prompt, f"p50 {one.p50:.1f} ms"),
        row(f"{name}_on_{POOLS}_pools", many.rate, "grants/s", quota.rate, None, None, f"p99 {many.p99:.1f} ms"),
        row(f"{name}_pool_writes", writes, "a grant", 1.0, None, None, "baseline: one write a request"),
    ]

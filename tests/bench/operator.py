"""The operator: a storm of 5,000 creates, API writes per grant, what others notice.

Beside it, in the same run on the same API server: the floor (create and one status write by one client) and stock Kopf.
"""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bursar_kube.client import Kube
from bursar_kube.errors import TooManyRequests
from bursar_kube.informer import Informer
from bursar_kube.resources import ALLOCATIONS, CONFIGMAPS, QUOTAPOOLS
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing.bench import Row
from bursar_testing.benchstage import (
    BOUND_SECONDS,
    HELD,
    Obj,
    Stage,
    clear,
    cpu_seconds,
    each,
    is_granted,
    plain_namespace,
    row,
    storm_seconds,
)

HERE = Path(__file__).parent
STORM = 5_000
FLOOR = 2_500  # before the storm, and again after it
KOPF_STORM = 1_000
WARM = 20
LEISURE_SECONDS = 0.1


@dataclass(frozen=True)
class Measured:
    """What so many objects took: seconds, and milliseconds of processor time per object in each process."""

    objects: int
    seconds: float
    spent: Mapping[str, float]

    @property
    def rate(self) -> float:
        """Objects per second."""
        return self.objects / self.seconds

    @property
    def cost(self) -> float:
        """Milliseconds of processor time per object, in all processes together."""
        return sum(self.spent.values())

    def __add__(self, other: "Measured") -> "Measured":
        objects = self.objects + other.objects
        spent = {name: (self.spent[name] * self.objects + other.spent[name] * other.objects) / objects for name in self.spent}
        return Measured(objects, self.seconds + other.seconds, spent)

    def in_words(self) -> str:
        """The processes one by one."""
        return "ms per object: " + ", ".join(f"{name} {amount:.2f}" for name, amount in self.spent.items())


async def measured(pids: Mapping[str, int], objects: int, work: Awaitable[float]) -> Measured:
    """The seconds that the work tells, and what it took of the processors."""
    before = {name: cpu_seconds(pid) for name, pid in pids.items()}
    seconds = await work
    return Measured(objects, seconds, {name: (cpu_seconds(pid) - before[name]) * 1000 / objects for name, pid in pids.items()})


async def floor(stage: Stage, name: str) -> Measured:
    """Create and one status write by one client."""

    async def one(obj: Obj) -> None:
        stored = await stage.kube.create(ALLOCATIONS, obj)
        stored["status"] = {"granted": obj["spec"]["resources"], "charged": obj["spec"]["resources"]}
        await stage.kube.replace_status(ALLOCATIONS, stored)

    async def work() -> float:
        began = time.perf_counter()
        await each(made, one)
        return time.perf_counter() - began

    made = await plain_namespace(stage, name, FLOOR)
    found = await measured(stage.pids(), FLOOR, work())
    await clear(stage, name)
    return found


@asynccontextmanager
async def stock_kopf(stage: Stage, namespace: str) -> AsyncIterator[None]:
    """Stock Kopf as a process, watching one namespace."""
    command = [sys.executable, "-m", "kopf", "run", "--quiet", "--standalone", "-n", namespace, str(HERE / "_stockkopf.py")]
    environment = os.environ | {"KUBECONFIG": str(stage.plane.kubeconfig)}
    with (stage.folder / "kopf.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        yield
    finally:
        child.terminate()
        await child.wait()


async def kopf_figures(stage: Stage) -> tuple[float, float]:
    """Stock Kopf: objects per second in a storm, and writes per object."""
    made = await plain_namespace(stage, "stock", KOPF_STORM + 1)
    async with stock_kopf(stage, "stock"):
        await storm_seconds(stage, made[:1])
        before = await stage.writes()
        seconds = await storm_seconds(stage, made[1:])
        await asyncio.sleep(1.0)
        writes = await stage.writes() - before
    await clear(stage, "stock")
    return KOPF_STORM / seconds, writes / KOPF_STORM


async def until_charged(stage: Stage, hours: int) -> None:
    """Until the pool holds so many hours and nothing is open: then each allocation has its own, too."""
    done = asyncio.Event()

    def look(event: str, old: Obj | None, new: Obj | None) -> None:
        status = (new or {}).get("status") or {}
        if status.get("granted") == [{"name": "cpu", "hours": hours}] and not status.get("intents"):
            done.set()

    # A watch of the allocations would cost the API server as much as another controller, which the floor has not.
    async with Informer(stage.kube, QUOTAPOOLS) as pools:
        pools.subscribe(look)
        await asyncio.wait_for(done.wait(), BOUND_SECONDS)


async def granted_seconds(stage: Stage, made: Sequence[Obj], before: int) -> float:
    """From the first create until the pool has charged all of them."""
    waiting = asyncio.create_task(until_charged(stage, before + len(made)))
    await asyncio.sleep(0)
    began = time.perf_counter()
    await each(made, lambda obj: stage.kube.create(ALLOCATIONS, obj))
    await waiting
    seconds = time.perf_counter() - began
    assert all(map(is_granted, await stage.kube.list(ALLOCATIONS)))
    return seconds


@dataclass
class Bystander:
    """Another client, of the same priority as the operator, which asks for little and at leisure."""

    kube: Kube
    refusals: int = 0
    seconds: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Read and write a ConfigMap over and over until cancelled."""
        metadata = {"name": "bystander", "namespace": "default"}
        await self.kube.create(CONFIGMAPS, {"metadata": metadata, "data": {"count": "0"}})
        while True:
            began = time.perf_counter()
            try:
                await self.kube.get(CONFIGMAPS, "bystander", "default")
                patch = {"data": {"count": str(len(self.seconds))}}
                await self.kube.merge_patch(CONFIGMAPS, "bystander", patch, "default")
            except TooManyRequests:
                self.refusals += 1
            self.seconds.append((time.perf_counter() - began) / 2)
            await asyncio.sleep(LEISURE_SECONDS)

    @property
    def p99(self) -> float:
        """Milliseconds of one call."""
        return sorted(self.seconds)[int(len(self.seconds) * 0.99)] * 1000


@asynccontextmanager
async def bystander(stage: Stage) -> AsyncIterator[Bystander]:
    """One that works meanwhile, as a ServiceAccount: an administrator is never refused."""
    await stage.plane.kubectl("create", "serviceaccount", "bystander", "--namespace", "default")
    await stage.plane.kubectl(
        *("create", "rolebinding", "bystander", "--namespace", "default"),
        *("--clusterrole", "edit", "--serviceaccount", "default:bystander"),
    )
    path = await service_account_kubeconfig(stage.plane.kubectl, stage.folder / "bystander", "default", "bystander")
    kube = await Kube.connect(str(path))
    found = Bystander(kube)
    task = asyncio.create_task(found.run())
    try:
        yield found
    finally:
        task.cancel()
        await asyncio.wait({task})
        await kube.close()


async def storm(stage: Stage) -> list[Row]:
    """A storm of 5,000 creates to granted, beside the floor, stock Kopf and somebody else who uses the API server."""
    before = await floor(stage, "floor-before")
    kopf_rate, kopf_writes = await kopf_figures(stage)
    operator = await stage.operator()
    try:
        await stage.furnish()
        await granted_seconds(stage, [stage.allocation(number) for number in range(STORM, STORM + WARM)], 0)
        pids = {**stage.pids(), "operator": operator.child.pid}
        made = [stage.allocation(number) for number in range(STORM)]
        counted = [await stage.writes(kind) for kind in HELD]
        async with bystander(stage) as other:
            found = await measured(pids, STORM, granted_seconds(stage, made, WARM))
        writes = [(await stage.writes(kind) - count) / STORM for kind, count in zip(HELD, counted, strict=True)]
    finally:
        await operator.stop()
    return _rows(found, before + await floor(stage, "floor-after"), kopf_rate, kopf_writes, writes, other)


def _rows(
    found: Measured, base: Measured, kopf_rate: float, kopf_writes: float, writes: Sequence[float], other: Bystander
) -> list[Row]:
    stock, ratio, cost = "baseline: stock Kopf in the same run", found.rate / base.rate, base.cost / found.cost
    rate_note = f"floor {base.rate:.0f}/s"
    work_note = f"floor's processor time of the storm's, whatever else runs here; {base.in_words()}"
    spent = found.spent["operator"]
    return [
        row("operator.storm_rate", found.rate, "objects/s", kopf_rate, None, None, stock),
        row("operator.storm_ratio_to_floor", ratio, "of the floor", 1.0, ">= 0.7", ratio >= 0.7, rate_note),
        row("operator.storm_work_ratio", cost, "of the floor", 1.0, None, None, work_note),
        row("operator.storm_work", found.cost, "ms", base.cost, None, None, found.in_words()),
        row("operator.cpu_per_grant", spent, "ms", None, None, None, "the operator's process"),
        row("operator.writes_per_grant", writes[0], "writes", kopf_writes, "1", round(writes[0], 3) == 1, stock),
        row("quota.pool_writes_per_grant", writes[1], "writes", None, "<= 0.1", writes[1] <= 0.1),
        row("operator.storm_other_clients_429", other.refusals, "refusals", None, "0", other.refusals == 0),
        row(
            "operator.storm_other_clients_p99", other.p99, "ms", None, None, None, f"of {len(other.seconds)} calls in the storm"
        ),
    ]


async def run() -> list[Row]:
    """Every figure of the operator."""
    async with Stage.open() as stage:
        return await storm(stage)

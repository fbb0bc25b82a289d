"""The operator: cold start with 10,000 allocations, a storm of 1,000 creates, API writes per grant.

Beside it, in the same run on the same API server: the floor (create and one status write by one client) and stock Kopf.
"""

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.informer import Informer
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, NAMESPACES, PROJECTS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing import manifests
from bursar_testing.bench import Row
from bursar_testing.operatorprocess import OperatorProcess

Obj = dict[str, Any]
HERE = Path(__file__).parent
WIDTH = 32
STORM = 1_000
MANY = 10_000
PROJECTS_COUNT = 10
BOUND_SECONDS = 900.0


@dataclass
class Stage:
    """A control plane for one benchmark, with one cluster, projects and a pool that holds everything."""

    plane: ControlPlane
    kube: Kube
    folder: Path
    kubeconfig: Path

    @classmethod
    @asynccontextmanager
    async def open(cls) -> "AsyncIterator[Stage]":
        """Start everything but the operator."""
        with tempfile.TemporaryDirectory(prefix="bursar-bench-") as name:
            folder = Path(name)
            plane = await ControlPlane.start(folder / "controlplane")
            try:
                await apply_definitions(plane.kubectl, share("crds"))
                for part in ("namespace", "operator", "roles"):
                    await plane.kubectl("apply", "-f", str(share("rbac") / f"{part}.yaml"))
                await plane.kubectl("apply", "-f", str(share("policies") / "stamp-allocation.yaml"))
                kubeconfig = await service_account_kubeconfig(
                    plane.kubectl, folder / "operator.kubeconfig", "bursar-system", "bursar-operator"
                )
                kube = await Kube.connect(str(plane.kubeconfig))
                stage = cls(plane, kube, folder, kubeconfig)
                try:
                    await until(stage.stamps)
                    yield stage
                finally:
                    await kube.close()
            finally:
                await plane.stop()

    async def operator(self) -> OperatorProcess:
        """A new operator process that serves."""
        return await OperatorProcess.start(self.kubeconfig, self.folder / "ledger.db", self.folder)

    async def furnish(self) -> None:
        """Cluster, projects and one pool; returns when the operator has made the namespaces."""
        await self.kube.create(CLUSTERS, manifests.cluster("bench", capacity=100_000))
        await self.kube.create(QUOTAPOOLS, manifests.pool("bench", "bench", 10 * MANY))
        for number in range(PROJECTS_COUNT):
            await self.kube.create(PROJECTS, manifests.project(f"p{number}", "alice"))
        await until(self._settled)

    async def _settled(self) -> bool:
        found = await self.kube.list(PROJECTS)
        return all((obj.get("status") or {}).get("account") for obj in found)

    def allocation(self, number: int) -> Obj:
        """One of the many."""
        return manifests.allocation(f"p{number % PROJECTS_COUNT}", f"a{number}", "bench", 1, "bench")

    async def stamps(self) -> bool:
        """Whether the policy that stamps the finalizer works already: it learns of new kinds with a delay."""
        probe = self.allocation(0)
        probe["metadata"]["namespace"] = "default"
        try:
            return bool((await self.kube.create(ALLOCATIONS, probe, dry_run=True))["metadata"].get("finalizers"))
        except KubeError:
            return False

    async def writes(self) -> int:
        """Writes of allocations and pools that the API server has answered with success, creates left out."""
        text = (await self.plane.kubectl("get", "--raw", "/metrics")).stdout
        pattern = re.compile(r"^apiserver_request_total\{([^}]*)\} (\S+)$", re.MULTILINE)
        return sum(int(float(value)) for labels, value in pattern.findall(text) if _is_write(labels))


def _is_write(labels: str) -> bool:
    found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
    return (
        found.get("resource") in ("allocations", "quotapools")
        and found.get("verb") in ("PUT", "PATCH", "APPLY")
        and found.get("code", "").startswith("2")
    )


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await holds():  # noqa: ASYNC110 - the answer is another process's
            await asyncio.sleep(0.05)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[object]], width: int = WIDTH) -> None:
    """Do the work for every item, so many at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(width)))


def is_granted(obj: Obj) -> bool:
    """Whether an allocation holds hours."""
    return any(item["hours"] for item in (obj.get("status") or {}).get("granted", ()))


async def storm_seconds(stage: Stage, manifests_: Sequence[Obj]) -> float:
    """From the first create to the last grant, seen by a watch."""
    watch: Informer[bool] = Informer(stage.kube, ALLOCATIONS, transform=is_granted)
    done, left = asyncio.Event(), len(manifests_)

    def count(event: str, old: bool | None, new: bool | None) -> None:
        nonlocal left
        if new and not old:
            left -= 1
            if left == 0:
                done.set()

    async with watch:
        watch.subscribe(count)
        began = time.perf_counter()
        await each(manifests_, lambda obj: stage.kube.create(ALLOCATIONS, obj))
        await asyncio.wait_for(done.wait(), BOUND_SECONDS)
        return time.perf_counter() - began


async def plain_namespace(stage: Stage, name: str, number: int) -> list[Obj]:
    """Allocations in a namespace of no project."""
    await stage.kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    made = [stage.allocation(item) for item in range(number)]
    for obj in made:
        obj["metadata"]["namespace"] = name
    return made


async def clear(stage: Stage, namespace: str) -> None:
    """Remove the allocations of a baseline."""

    async def remove(obj: Obj) -> None:
        name = obj["metadata"]["name"]
        try:
            await stage.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, namespace)
            await stage.kube.delete(ALLOCATIONS, name, namespace)
        except KubeError:
            return

    await each(await stage.kube.list(ALLOCATIONS, namespace), remove)


async def floor_seconds(stage: Stage) -> float:
    """Create and one status write by one client."""

    async def one(obj: Obj) -> None:
        stored = await stage.kube.create(ALLOCATIONS, obj)
        stored["status"] = {"granted": obj["spec"]["resources"], "charged": obj["spec"]["resources"]}
        await stage.kube.replace_status(ALLOCATIONS, stored)

    made = await plain_namespace(stage, "floor", STORM)
    began = time.perf_counter()
    await each(made, one)
    seconds = time.perf_counter() - began
    await clear(stage, "floor")
    return seconds


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
    made = await plain_namespace(stage, "stock", STORM + 1)
    async with stock_kopf(stage, "stock"):
        await storm_seconds(stage, made[:1])
        before = await stage.writes()
        seconds = await storm_seconds(stage, made[1:])
        await asyncio.sleep(1.0)
        writes = await stage.writes() - before
    await clear(stage, "stock")
    return STORM / seconds, writes / STORM


def row(name: str, value: float, unit: str, baseline: float | None, bar: str | None, met: bool | None, note: str = "") -> Row:
    """One figure beside its baseline."""
    ratio = value / baseline if baseline else None
    found: Row = {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "bar": bar, "met": met}
    return {**found, "note": note} if note else found


async def storm(stage: Stage) -> list[Row]:
    """A storm of 1,000 creates to granted, beside the floor and stock Kopf. Leaves the allocations in place."""
    floor = STORM / await floor_seconds(stage)
    kopf_rate, kopf_writes = await kopf_figures(stage)
    operator = await stage.operator()
    try:
        await stage.furnish()
        await storm_seconds(stage, [stage.allocation(number) for number in range(10_000, 10_020)])
        before, worked = await stage.writes(), cpu_seconds(operator.child.pid)
        seconds = await storm_seconds(stage, [stage.allocation(number) for number in range(STORM)])
        worked = cpu_seconds(operator.child.pid) - worked
        await asyncio.sleep(1.0)
        per_grant = (await stage.writes() - before) / STORM
    finally:
        await operator.stop()
    rate = STORM / seconds
    return [
        row("operator.storm_rate", rate, "objects/s", kopf_rate, None, None, "baseline: stock Kopf in the same run"),
        row(
            "operator.storm_ratio_to_floor",
            rate / floor,
            "of the floor",
            1.0,
            ">= 0.5",
            rate >= 0.5 * floor,
            f"floor {floor:.0f}/s",
        ),
        row("operator.cpu_per_grant", worked * 1000 / STORM, "ms", None, None, None, "the operator's process"),
        row("operator.writes_per_grant", per_grant, "writes", kopf_writes, "<= 2", per_grant <= 2, "baseline: stock Kopf"),
    ]


async def cold_start(stage: Stage) -> list[Row]:
    """From the start of the process to ready, with as many allocations as there are after `storm`, then with 10,000."""
    few, kopf_few = await start_seconds(stage), await kopf_start_seconds(stage)
    operator = await stage.operator()
    try:
        await storm_seconds(stage, [stage.allocation(number) for number in range(STORM, MANY)])
    finally:
        await operator.stop()
    many, kopf_many = await start_seconds(stage), await kopf_start_seconds(stage)
    stock = "baseline: stock Kopf, one event handler"
    return [
        row("operator.cold_start_1k", few[0], "s", kopf_few, None, None, stock),
        row("operator.cold_start_10k", many[0], "s", kopf_many, "<= 4", many[0] <= 4, stock),
        row("operator.resident_10k", many[1], "MB", few[1], None, None, "baseline: 1,000 allocations"),
    ]


async def kopf_start_seconds(stage: Stage) -> float:
    """Seconds from the start of stock Kopf until its handler has seen every allocation."""
    mark = stage.folder / "seen"
    mark.unlink(missing_ok=True)
    expected = len(await stage.kube.list(ALLOCATIONS))
    command = [sys.executable, "-m", "kopf", "run", "--quiet", "--standalone", "-A", str(HERE / "_stockstart.py")]
    settings = {"BURSAR_BENCH_EXPECT": str(expected), "BURSAR_BENCH_MARK": str(mark)}
    environment = os.environ | {"KUBECONFIG": str(stage.plane.kubeconfig), **settings}
    began = time.perf_counter()
    with (stage.folder / "kopf.log").open("wb") as log:
        child = await asyncio.create_subprocess_exec(*command, env=environment, stdout=log, stderr=log)
    try:
        await until(lambda: _exists(mark))
        return time.perf_counter() - began
    finally:
        child.terminate()
        await child.wait()


async def _exists(path: Path) -> bool:
    return path.exists()


async def start_seconds(stage: Stage) -> tuple[float, float]:
    """Seconds from spawn to /readyz, and megabytes resident at the peak."""
    began = time.perf_counter()
    operator = await OperatorProcess.spawn(stage.kubeconfig, stage.folder / "ledger.db", stage.folder)
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            await until(lambda: _ready(client, operator.url))
        seconds = time.perf_counter() - began
        status = Path(f"/proc/{operator.child.pid}/status").read_text()
        peak = re.search(r"VmHWM:\s+(\d+) kB", status)
        return seconds, int(peak[1]) / 1024 if peak else 0.0
    finally:
        await operator.stop()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


async def run() -> list[Row]:
    """Every figure of the operator."""
    async with Stage.open() as stage:
        return await storm(stage) + await cold_start(stage)

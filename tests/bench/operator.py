"""The operator: cold start with 10,000 allocations, a storm of 1,000 creates, API writes per grant.

Beside it, in the same run on the same API server: the floor (create and one status write by one client) and stock Kopf.
"""

import asyncio
import os
import re
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from bursar_kube.resources import ALLOCATIONS
from bursar_testing.bench import Row
from bursar_testing.benchstage import Obj, Stage, clear, cpu_seconds, each, plain_namespace, row, storm_seconds, until
from bursar_testing.operatorprocess import OperatorProcess

HERE = Path(__file__).parent
STORM = 1_000
MANY = 10_000


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

"""The operator's start and rest: seconds to serving and memory with 10,000 and 50,000 allocations, and what it costs when idle.

Beside it, in the same run on the same API server: stock Kopf with one event handler, and a plain loop that lists and parses.
"""

import asyncio
import os
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bursar_kube.resources import ALLOCATIONS
from bursar_testing.bench import Row
from bursar_testing.benchstage import Stage, cpu_seconds, row, until
from bursar_testing.operatorprocess import OperatorProcess
from bursar_testing.seeding import granted_many

HERE = Path(__file__).parent
MANY, MOST = 10_000, 50_000
PROJECTS = 50
STARTS = 3
IDLE_SECONDS = 40.0
RECOUNT_SECONDS = 600.0
STEP_SECONDS = 2.0
QUIET_SHARE = 0.03  # of a core: below, the work that follows a start is done
SETTLE_STEPS = 120


@dataclass(frozen=True)
class Start:
    """A running operator: how it came up."""

    operator: OperatorProcess
    seconds: float
    cpu: float

    @property
    def peak(self) -> float:
        """Megabytes resident at the peak, until now."""
        return peak_megabytes(self.operator.child.pid)


@asynccontextmanager
async def started(stage: Stage) -> AsyncIterator[Start]:
    """An operator, timed from its spawn to /readyz."""
    began = time.perf_counter()
    operator = await OperatorProcess.spawn(stage.kubeconfig, stage.folder / "ledger.db", stage.folder)
    try:
        async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
            await until(lambda: _ready(client, operator.url))
        yield Start(operator, time.perf_counter() - began, cpu_seconds(operator.child.pid))
    finally:
        await operator.stop()


async def _ready(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(f"{url}/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def peak_megabytes(pid: int) -> float:
    """Resident at the peak."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


async def settled(start: Start) -> float:
    """Wait until everything was looked at once and compared with what is published; processor seconds since it was ready."""
    pid, quiet = start.operator.child.pid, 0
    before = cpu_seconds(pid)
    for _ in range(SETTLE_STEPS):
        await asyncio.sleep(STEP_SECONDS)
        now = cpu_seconds(pid)
        quiet = quiet + 1 if now - before < QUIET_SHARE * STEP_SECONDS else 0
        before = now
        if quiet == 3:
            break
    return before - start.cpu


async def idle_percent(stage: Stage, start: Start) -> tuple[float, str]:
    """Of a core, while nothing happens; a look at everything and a recount, every ten minutes, count by their share."""
    looked, pid = await settled(start), start.operator.child.pid
    before = cpu_seconds(pid)
    await asyncio.sleep(IDLE_SECONDS)
    rest = 100 * (cpu_seconds(pid) - before) / IDLE_SECONDS
    own = time.process_time()
    await stage.kube.list(ALLOCATIONS)
    listed = time.process_time() - own
    now_and_then = 100 * (looked + listed) / RECOUNT_SECONDS
    return rest + now_and_then, f"at rest {rest:.2f}; every ten minutes {looked:.1f} s to look at all, {listed:.1f} s to list"


async def kopf_seconds(stage: Stage, expected: int) -> float:
    """Seconds from the start of stock Kopf until its handler has seen every allocation."""
    mark = stage.folder / "seen"
    mark.unlink(missing_ok=True)
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


async def plain_list(stage: Stage, expected: int) -> tuple[float, float]:
    """Seconds and megabytes of a process that lists and parses every allocation, and does nothing else."""
    began = time.perf_counter()
    command = [sys.executable, str(HERE / "_plainlist.py"), str(stage.plane.kubeconfig)]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await child.communicate()
    count, megabytes = output.split()
    assert int(count) == expected
    return time.perf_counter() - began, float(megabytes)


async def with_many(stage: Stage) -> list[Row]:
    """10,000 allocations: several starts, then rest."""
    await granted_many(stage, MANY)
    kopf = await kopf_seconds(stage, MANY)
    seconds = []
    for _ in range(STARTS):
        async with started(stage) as start:
            seconds.append(start.seconds)
            cpu, peak = start.cpu, start.peak
    async with started(stage) as start:
        idle, note = await idle_percent(stage, start)
    middle = statistics.median(seconds)
    stock = f"baseline: stock Kopf, one event handler; {min(seconds):.2f} to {max(seconds):.2f}, processor {cpu:.1f} s"
    return [
        row("operator.cold_start_10k", middle, "s", kopf, "<= 2.5", middle <= 2.5, stock),
        row("operator.memory_10k", peak, "MB", (await plain_list(stage, MANY))[1], None, None, "baseline: list and parse"),
        row("operator.idle_cpu", idle, "% of a core", None, "<= 1", idle <= 1, note),
    ]


async def with_most(stage: Stage) -> list[Row]:
    """50,000 allocations in more projects: one start, and memory until everything was looked at once."""
    await granted_many(stage, MOST, PROJECTS)
    plain_seconds, plain_megabytes = await plain_list(stage, MOST)
    async with started(stage) as start:
        at_once = start.peak
        await settled(start)
        peak = start.peak
    note = f"baseline: list and parse; processor {start.cpu:.1f} s"
    memory = f"baseline: list and parse; {at_once:.0f} when it serves, the rest while it looks at everything once"
    return [
        row("operator.cold_start_50k", start.seconds, "s", plain_seconds, "<= 10", start.seconds <= 10, note),
        row("operator.memory_50k", peak, "MB", plain_megabytes, "<= 350", peak <= 350, memory),
    ]


async def run() -> list[Row]:
    """Every figure of start and rest."""
    async with Stage.open() as stage:
        return await with_many(stage) + await with_most(stage)

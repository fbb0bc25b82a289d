"""From apply to enforced, on the simulator and on the real Slurm, and the memory of every part, on the stack of the demo."""

import asyncio
import contextlib
import shutil
from pathlib import Path

from bursar_client import BursarClient, Connection
from bursar_local import slurm, supervisor
from bursar_local.demo import __main__ as demo
from bursar_local.demo import latency, scenes
from bursar_local.demo.kube import Kubectl
from bursar_local.demo.screen import Screen
from bursar_local.endpoints import Endpoints
from bursar_testing.bench import Row

DIRECTORY = Path("build/bench-stack")
ROUNDS = 30
BAR_SECONDS = 5.0


async def run() -> list[Row]:
    """Rows `enforce.*` and `memory.*`."""
    directory = DIRECTORY.absolute()
    supervisor.down(directory)
    shutil.rmtree(directory, ignore_errors=True)
    if await asyncio.to_thread(supervisor.up, directory, detach=True):
        raise SystemExit("the stack did not start")
    try:
        return await _measure(directory)
    finally:
        supervisor.down(directory)


async def _measure(directory: Path) -> list[Row]:
    reason = slurm.can_run()
    async with contextlib.AsyncExitStack() as stack:
        screen = stack.enter_context(Screen(live=False))
        running = await stack.enter_async_context(demo.real_slurm(directory, screen, reason))
        client = await stack.enter_async_context(BursarClient(Connection.local(directory, demo.ALLOCATOR)))
        stage = scenes.Stage(Endpoints.read(directory), directory, Kubectl(Endpoints.read(directory)), client, screen, running)
        await scenes.declare(stage)
        stack.push_async_callback(demo.stop_agents, stage)
        await demo.start_agents(stage)
        simulated = await latency.measure(stage, "ipsc", "cfd", 60_000, ROUNDS)
        real = await latency.measure(stage, "alpha", "cfd", 20, ROUNDS) if running is not None else []
        return [
            _latency("enforce.simulator_p50", simulated, 50, None, ""),
            _latency("enforce.simulator_p95", simulated, 95, None, ""),
            _latency("enforce.slurm_p50", real, 50, None, reason or ""),
            _latency("enforce.slurm_p95", real, 95, BAR_SECONDS, reason or ""),
            *memory(stage),
        ]


def _latency(name: str, values: list[float], percent: int, bar: float | None, note: str) -> Row:
    value = latency.percentile(values, percent)
    met = None if bar is None or value is None else value <= bar
    words = None if bar is None else f"<= {bar:g} s"
    return {"name": name, "value": value, "unit": "s", "baseline": None, "ratio": None, "bar": words, "met": met, "note": note}


def memory(stage: scenes.Stage) -> list[Row]:
    """Resident MiB of each process of the stack and of the agents."""
    pids = {part.name: part.pid for part in stage.endpoints.parts}
    pids |= {f"agent-{name}": agent.process.pid for name, agent in stage.agents.items()}
    return [
        {
            "name": f"memory.{name}",
            "value": resident_mib(pid),
            "unit": "MiB",
            "baseline": None,
            "ratio": None,
            "bar": "<= 150 MiB" if name.startswith("agent-") else None,
            "met": resident_mib(pid) <= 150 if name.startswith("agent-") else None,
        }
        for name, pid in pids.items()
    ]


def resident_mib(pid: int) -> float:
    """VmRSS of a process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0

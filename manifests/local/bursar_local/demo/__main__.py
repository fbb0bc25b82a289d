"""`make demo`: starts the stack, tells the story, checks the books. Exit code 1 when anything differs."""

import argparse
import asyncio
import contextlib
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

from bursar_client import ApiError, BursarClient, Connection
from bursar_local import slurm, supervisor
from bursar_local.demo import agents, latency, scenes, summary
from bursar_local.demo.kube import Kubectl
from bursar_local.demo.screen import ClusterView, Screen
from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError

DIRECTORY = Path("build/demo")
SUMMARY = Path("build/demo.json")
ALLOCATOR = "dana"
PEOPLE = ("alice", "bob", "carol")
ROUNDS = {"ipsc": 12, "alpha": 12}
SPEED = 160_000
# The shortest PriorityCalcPeriod that Slurm takes: its counters move once a minute.
SLURM_TIMES = {"counter_period_seconds": 60}


def main() -> int:
    """Exit codes: 0 all as it should be, 1 something differs or failed."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="no live screen; fail when a figure differs")
    parser.add_argument("--no-slurm", action="store_true", help="use simulators only, even where Slurm can run")
    parser.add_argument("--keep", action="store_true", help="leave the stack running for a look around")
    chosen = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() and not chosen.check else 140)
    directory = DIRECTORY.absolute()
    if supervisor.down(directory, console=console):
        return 1
    shutil.rmtree(directory, ignore_errors=True)
    began = time.monotonic()
    if supervisor.up(directory, detach=True, console=console):
        return 1
    try:
        return asyncio.run(
            tell(directory, live=sys.stdout.isatty() and not chosen.check, real=not chosen.no_slurm, began=began)
        )
    except (LocalStackError, slurm.SlurmUnavailable, ApiError, httpx.HTTPError) as error:
        console.print(f"demo: {type(error).__name__}: {error}", style="bold red", markup=False)
        return 1
    finally:
        if chosen.keep:
            console.print(f"The stack stays up; end it with: bursar down --dir {directory}")
        else:
            supervisor.down(directory, console=console)


async def tell(directory: Path, *, live: bool, real: bool, began: float) -> int:
    """The whole story on a running stack."""
    endpoints = Endpoints.read(directory)
    reason = slurm.can_run() if real else "it was not asked for"
    async with contextlib.AsyncExitStack() as stack:
        screen = stack.enter_context(Screen(live=live))
        cluster = await stack.enter_async_context(real_slurm(directory, screen, reason))
        client = await stack.enter_async_context(BursarClient(Connection.local(directory, ALLOCATOR)))
        stage = scenes.Stage(endpoints, directory, Kubectl(endpoints), client, screen, cluster)
        await scenes.declare(stage)
        stack.push_async_callback(stop_agents, stage)
        await start_agents(stage)
        await scenes.over_large(stage)
        await scenes.run_jobs(stage)
        screen.say("all jobs are through; are the books right?", "step")
        rows = [await summary.check(stage, name) for name in stage.clusters]
        latencies = await measure(stage)
        found = summary.document(rows, latencies, stage, began)
    summary.write(SUMMARY, found)
    screen.result(summary.lines(found, SUMMARY))
    return 0 if found["ok"] else 1


async def measure(stage: scenes.Stage) -> dict[str, list[float]]:
    """Apply to enforced, one after the other on each cluster, both clusters at once."""
    stage.screen.say("how long from apply to enforced? twelve changes on each cluster", "step")
    start = {"ipsc": 60_000, "alpha": 20}
    found = await asyncio.gather(*(latency.measure(stage, n, "cfd", start[n], ROUNDS[n]) for n in stage.clusters))
    return dict(zip(stage.clusters, found, strict=True))


@contextlib.asynccontextmanager
async def real_slurm(directory: Path, screen: Screen, reason: str | None) -> AsyncIterator[slurm.Slurm | None]:
    """A throw-away Slurm with the log's users, or None with the reason on the screen."""
    if reason is not None:
        screen.say(f"no real Slurm here ({reason}): alpha is a simulator too, and runs no jobs of its own", "bad")
        yield None
        return
    screen.say("a throw-away Slurm starts beside: munge, MariaDB, slurmdbd, slurmctld, slurmd", "step")
    names = [line.split(",")[1] for line in scenes.example("users.csv").read_text().splitlines()[1:]]
    running = await slurm.Slurm.start(directory / "slurm", cluster="alpha", users=[*PEOPLE, *names])
    try:
        yield running
    finally:
        await running.stop()


async def start_agents(stage: scenes.Stage) -> None:
    """Enrol one agent per cluster and wait until every limit was read back from its scheduler."""
    stage.screen.say("the agents enrol with a one-time token and start", "step")
    for name in stage.clusters:
        stage.screen.clusters[name] = ClusterView(name, name)
    data = scenes.example("data/nasa-ipsc-1993.swf.gz")
    replay = {"log": str(data), "users_table": str(scenes.example("users.csv")), "speed": SPEED, "processors": 128}
    idle: dict[str, Any] = {"processors": 512, "speed": 1}
    plain = {"usage_interval_seconds": 1.0, "cycle_interval_seconds": 0.5}
    stage.agents["alpha"] = await (
        agents.start(stage.endpoints, stage.directory, "alpha", "slurm", slurm_settings(stage.slurm), **plain, **SLURM_TIMES)
        if stage.slurm is not None
        else agents.start(stage.endpoints, stage.directory, "alpha", "simulator", idle, **plain)
    )
    stage.agents["ipsc"] = await agents.start(stage.endpoints, stage.directory, "ipsc", "simulator", replay, **plain)
    enforced = await stage.kubectl.wait("Enforced", "allocations.bursar.dev", namespaces=True, seconds=120)
    stage.screen.say(f"{len(enforced)} limits stand in the schedulers, each read back from there", "good")


def slurm_settings(running: slurm.Slurm) -> dict[str, Any]:
    """How the plug-in reaches the throw-away Slurm."""
    return {"bin": str(running.bin), "environment": dict(running.environment)}


async def stop_agents(stage: scenes.Stage) -> None:
    """End both agents."""
    for agent in stage.agents.values():
        await agent.process.stop()


if __name__ == "__main__":
    sys.exit(main())

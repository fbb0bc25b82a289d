"""Helpers around the real Slurm: changes, cluster settings, and waiting for what Slurm does."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.slurm.settings import SlurmSettings
from bursar_domain.wire import ClusterSettings, TrackedResource
from bursar_local.slurm import Slurm

MARK = "bursar:test"
ROOT_ACCOUNT = "bursar"
RESOURCES = (
    TrackedResource(name="cpu", trackable="cpu", capacity=512),
    TrackedResource(name="gpu", trackable="gres/gpu", capacity=8),
    TrackedResource(name="memory", trackable="mem", capacity=524288),
)
# No allocation lists memory and GPUs in these tests, so they are left open.
OPEN = {"mem": -1, "gres/gpu": -1}


class OpenAccount(Protocol):
    """Makes an account of ours with a limit in CPU minutes and members; returns its name."""

    async def __call__(self, minutes: int = 1000, *members: str) -> str:
        """Proven when it returns."""
        ...


def settings_of(slurm: Slurm, **changes: object) -> SlurmSettings:
    """Plug-in settings that reach a throw-away Slurm."""
    return SlurmSettings.model_validate({"bin": slurm.bin, "environment": slurm.environment, **changes})


def cluster_settings(name: str) -> ClusterSettings:
    """What the Cluster object of a throw-away Slurm would say."""
    return ClusterSettings(cluster=name, scheduler_name=name, root_account=ROOT_ACCOUNT, resources=RESOURCES)


def new(account: str, limits: Mapping[str, int], *members: str) -> AccountChange:
    """A change that makes an account of ours."""
    return AccountChange(
        account=account, create=True, description=MARK, parent=ROOT_ACCOUNT, limits=limits, add_members=frozenset(members)
    )


async def until(check: Callable[[], Awaitable[bool]], what: str, *, seconds: float = 40) -> None:
    """Waits until something is so; it is a failure that names what if it never is."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await check():
        assert asyncio.get_running_loop().time() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.1)


async def until_job(slurm: Slurm, job: int, *states: str, reason: str = "") -> None:
    """Waits until a job has one of the states (and the reason)."""

    async def reached() -> bool:
        state, why = await slurm.job(job)
        return state in states and (not reason or why == reason)

    await until(reached, f"job {job} is {' or '.join(states)} {reason}")


async def until_recorded(slurm: Slurm, job: int, *, attempts: int = 1) -> None:
    """Waits until the database has the end of every attempt of a job."""
    rows: list[str] = []

    async def recorded() -> bool:
        # By time, as the plug-in asks: a record found by number may still lack the start.
        columns = "jobidraw,start,end,state,alloctres"
        text = await slurm.run("sacct", "-a", "-n", "-P", "-X", "-D", "--starttime=now-1hour", f"--format={columns}")
        rows[:] = [line for line in text.splitlines() if line.startswith(f"{job}|")]
        return len(rows) == attempts and not any("Unknown" in row or row.endswith("|") for row in rows)

    try:
        await until(recorded, f"the end of job {job} is in the database")
    except AssertionError as error:
        raise AssertionError(f"{error}: records {rows}, the controller has {await slurm.job(job)}") from error

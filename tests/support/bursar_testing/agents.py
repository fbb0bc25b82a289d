"""Agents in the test's own process, and the entries that they are given."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from bursar_agent import enrolment, identity, plugins
from bursar_agent.client import Gateway
from bursar_agent.loop import Agent
from bursar_agent.schedulers.simulator import SimulatedScheduler
from bursar_agent.settings import AgentSettings
from bursar_domain.units import UNSCALED
from bursar_domain.wire import (
    AccountEntry,
    AllocationEntry,
    ClusterSettings,
    StepEntry,
    ThresholdEntry,
    TrackedResource,
    WindowEntry,
)
from bursar_testing.agentstack import Stack
from bursar_testing.waiting import BOUND_SECONDS

LONG_AGO, FAR_AHEAD = 0, 2**33


def cluster_settings(cluster: str, **fields: Any) -> ClusterSettings:
    """A cluster that counts cpu hours."""
    resources = (TrackedResource(name="cpu", trackable="cpu", capacity=128),)
    return ClusterSettings(
        **{"cluster": cluster, "scheduler_name": cluster, "root_account": "bursar", "resources": resources} | fields
    )


def allocation(uid: str, hours: int, revision: int = 1, **fields: Any) -> AllocationEntry:
    """An allocation of cpu hours that is always active unless told, with all of them in one window unless told."""
    given: dict[str, Any] = {
        "uid": uid,
        "namespace": "project-x",
        "name": uid,
        "grant_revision": revision,
        "granted": {"cpu": hours},
        "start": LONG_AGO,
        "end": FAR_AHEAD,
    } | fields
    plain = window(given["start"], given["end"], given["granted"])
    return AllocationEntry(**({"windows": (plain,), "open_until": given["end"]} | given))


def window(start: int, end: int, *steps: Mapping[str, int] | StepEntry) -> WindowEntry:
    """A window; a step that is given as hours by resource acts from its start."""
    return WindowEntry(start=start, end=end, steps=tuple(_step(start, step) for step in steps))


def _step(start: int, step: Mapping[str, int] | StepEntry) -> StepEntry:
    return step if isinstance(step, StepEntry) else step_at(start, step)


def step_at(at: int, hours: Mapping[str, int], **more: Mapping[str, int]) -> StepEntry:
    """What a window has from ``at`` on; ``carried`` and ``adjusted`` in hours, too."""
    amounts = {kind: _seconds(amounts) for kind, amounts in more.items()}
    return StepEntry.model_validate({"at": at, "granted": _seconds(hours), **amounts})


def _seconds(hours: Mapping[str, int]) -> dict[str, int]:
    return {name: UNSCALED.seconds_from_hours(name, amount) for name, amount in hours.items()}


def account(name: str, *allocations: AllocationEntry, members: tuple[str, ...] = (), closed: bool = False) -> AccountEntry:
    """An account's entry."""
    return AccountEntry(account=name, project=name, members=members, allocations=allocations, closed=closed)


def hold_at(percent: int, clear_below: int | None = None) -> ThresholdEntry:
    """A threshold that holds."""
    return ThresholdEntry(percent=percent, action="Hold", clear_below_percent=clear_below)


def agent_settings(
    stack: Stack, cluster: str, directory: Path, scheduler_settings: Mapping[str, Any], **fields: Any
) -> AgentSettings:
    """Settings of an agent in a hurry."""
    return AgentSettings.model_validate(
        {
            "cluster": cluster,
            "gateway": stack.address,
            "gateway_ca": stack.authority,
            "state_directory": directory,
            "scheduler": "simulator",
            "scheduler_settings": dict(scheduler_settings),
            "cycle_interval_seconds": 0.05,
            "usage_interval_seconds": 0.05,
        }
        | fields
    )


async def enrol(stack: Stack, settings: AgentSettings) -> None:
    """Enrol with a token, the test being the operator."""
    await enrol_with(stack, settings, stack.token(settings.cluster), decide=True)


async def enrol_with(stack: Stack, settings: AgentSettings, token: str, *, decide: bool) -> None:
    """Enrol with any token; ``decide``: whether it will come as far as the operator."""
    gateway = Gateway(settings.gateway, settings.gateway_ca)
    deciding = asyncio.create_task(stack.decide()) if decide else None
    try:
        await enrolment.enrol(gateway, settings.state_directory, settings.cluster, token)
    finally:
        if deciding is not None:
            await deciding
        await gateway.close()


async def soon(holds: Callable[[], Awaitable[bool]], what: str) -> None:
    """Return once `await holds()` is true; AssertionError naming `what` when it never is."""
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            while not await holds():  # noqa: ASYNC110 - whatever it is, not only events
                await asyncio.sleep(0.02)
    except TimeoutError as error:
        raise AssertionError(f"it never came true: {what}") from error


@contextlib.asynccontextmanager
async def running_agent(settings: AgentSettings) -> AsyncIterator[tuple[Agent, SimulatedScheduler]]:
    """An enrolled agent at work on a simulator."""
    scheduler = plugins.connect(settings)
    assert isinstance(scheduler, SimulatedScheduler)
    agent = Agent(settings, identity.load(settings.state_directory, settings.cluster), scheduler)
    task = asyncio.create_task(agent.run())
    try:
        yield agent, scheduler
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

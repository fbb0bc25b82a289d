"""A QOS that costs more than the machine has: the agent says so with its reports, and the use is taken."""

import asyncio
import contextlib
import time
from dataclasses import replace
from pathlib import Path

from bursar_agent import identity
from bursar_agent.loop import Agent
from bursar_agent.outbox import usage_pages
from bursar_agent.schedulers.base import Readiness, UsageRead
from bursar_agent.schedulers.simulator import SimulatedScheduler, SimulatorSettings
from bursar_agent.schedulers.slurm import factors
from bursar_agent.schedulers.slurm.factors import FactorStore
from bursar_agent.usagebook import UsageBook
from bursar_domain.wire import MOST_FACTOR, ClusterSettings
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, soon
from bursar_testing.agentstack import Stack

HOUR, FACTOR = 3600, 3000


class Dear(SimulatedScheduler):
    """All of its jobs run in a QOS of factor 3."""

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        return replace(await super().capabilities(settings), largest_factor_thousandths=FACTOR)

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        found = await super().usage(since, until)
        return replace(found, jobs=[replace(job, factor_thousandths=FACTOR) for job in found.jobs])


async def test_use_beyond_what_is_installed_is_taken_where_a_factor_explains_it(stack: Stack, tmp_path: Path) -> None:
    """128 CPUs at three times the price."""
    yesterday = int(time.time()) - 24 * HOUR
    settings = agent_settings(stack, "dear", tmp_path, {})
    await stack.publish(cluster_settings("dear"), {"aa": account("aa", allocation("dear-x", 10**6), members=("ann",))})
    await enrol(stack, settings)
    scheduler = Dear(SimulatorSettings.model_validate({"ends_at": yesterday}), tmp_path)
    agent = Agent(settings, identity.load(tmp_path, "dear"), scheduler)
    task = asyncio.create_task(agent.run())
    try:

        async def is_granted() -> bool:
            return (await stack.ledger.acknowledgements("dear")).get("dear-x") == 1

        await soon(is_granted, "the grant is in force")
        scheduler.submit("ann", "aa", HOUR, {"cpu": 128})
        scheduler.advance(scheduler.machine.now + 2 * HOUR)
        job = scheduler.machine.finished[0]

        async def is_booked() -> bool:
            return (await stack.ledger.totals("dear")).get("aa", {}).get("cpu", 0) == 3 * 128 * job.job.seconds

        await soon(is_booked, "use arrives")
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_every_page_says_the_largest_factor_as_far_as_one_is_meant(tmp_path: Path) -> None:
    book = UsageBook(tmp_path, epoch=1)
    book.record({}, 0, HOUR)
    assert [page.largest_factor_thousandths for page, _ in usage_pages(book, "s")] == [1000]
    assert [page.largest_factor_thousandths for page, _ in usage_pages(book, "s", 2500)] == [2500]
    assert [page.largest_factor_thousandths for page, _ in usage_pages(book, "s", 10**9)] == [MOST_FACTOR]


def test_the_largest_factor_is_that_of_any_qos_now_or_ever(tmp_path: Path) -> None:
    assert FactorStore(tmp_path).largest(["", "0.5"]) == 1000
    FactorStore(tmp_path).note({"dear": 4000, "half": 500}, 1000)
    again = FactorStore(tmp_path)
    again.note({"dear": 2000}, 2000)
    assert again.largest(["2.0"]) == 4000
    assert again.largest(["2.0", "7.25", "no number"]) == 7250
    assert factors.largest({}, ()) == 1000

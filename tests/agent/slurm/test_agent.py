"""The agent's cycles over the real Slurm: from a desired state to a job that waits, a top-up that lets it start, and books."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bursar_agent.cycle import Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.schedulers.base import AccountChange, Outcome
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, AllocationEntry, ClusterSettings, Root, StepEntry, WindowEntry
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import cluster_settings, until, until_job, until_recorded

FAR_AHEAD = 2**33


class Watched:
    """The real scheduler, and what was asked of it to write."""

    def __init__(self, scheduler: SlurmScheduler) -> None:
        self.observe, self.usage, self.capabilities = scheduler.observe, scheduler.usage, scheduler.capabilities
        self.render, self.close = scheduler.render, scheduler.close
        self.written: list[AccountChange] = []
        self._scheduler = scheduler

    async def apply(self, settings: ClusterSettings, changes: list[AccountChange]) -> list[Outcome]:
        self.written += changes
        return list(await self._scheduler.apply(settings, changes))


@pytest.fixture
def cluster(slurm: Slurm) -> ClusterSettings:
    """A root account of its own: the wall that the agent puts around it is no business of other tests."""
    return cluster_settings(slurm.cluster).model_copy(update={"root_account": "agents-own"})


@pytest.fixture
def agent(scheduler: SlurmScheduler, tmp_path: Path) -> tuple[Cycles, Watched, Outbox]:
    """Cycles that a test takes one at a time."""
    settings = AgentSettings.model_validate(
        {
            "cluster": "alpha",
            "gateway": "https://127.0.0.1:1",
            "state_directory": tmp_path,
            "scheduler": "slurm",
            "usage_interval_seconds": 0.05,
            "counter_period_seconds": 60,
        }
    )
    watched, outbox = Watched(scheduler), Outbox("session")
    return Cycles(settings, watched, Journal(tmp_path), UsageBook(tmp_path, epoch=1), outbox), watched, outbox  # type: ignore[arg-type]


def desired(cluster: ClusterSettings, account: str, hours: int, revision: int, start: int) -> DesiredState:
    """One account with one allocation of CPU hours."""
    allocation = AllocationEntry(
        uid=account,
        namespace="project-x",
        name=account,
        grant_revision=revision,
        granted={"cpu": hours},
        start=start,
        end=FAR_AHEAD,
        windows=(WindowEntry(start=start, end=FAR_AHEAD, steps=(StepEntry(at=start, granted={"cpu": 3600 * hours}),)),),
        open_until=FAR_AHEAD,
    )
    entry = AccountEntry(account=account, project=account, members=("alice", "frank"), allocations=(allocation,))
    root = Root(cluster="alpha", epoch=1, generation=revision, acknowledged=0, issued_at=0, valid_until=2**40, digest="d")
    return DesiredState(Signer(bytes(32)).sign(root), cluster, {account: entry})


async def test_an_allocation_is_enforced_topped_up_and_booked_to_the_second(
    slurm: Slurm, agent: tuple[Cycles, Watched, Outbox], cluster: ClusterSettings, fresh_name: Callable[[], str]
) -> None:
    cycles, scheduler, outbox = agent
    account, start = fresh_name(), int(time.time()) // 3600 * 3600
    first = desired(cluster, account, hours=1, revision=1, start=start)
    assert await cycles.run(first)
    (page,) = outbox.pages()
    assert page.acknowledgements == {account: 1}
    view = (await scheduler.observe(cluster)).accounts[account]
    assert view.readings["cpu"].limit == 60
    assert view.readings["mem"].limit is None  # open, since nothing lists it
    assert view.readings["gres/gpu"].concurrent_limit == 0
    assert view.members == {"alice", "frank"}

    fits = await slurm.submit(account, "alice", cpus=40, minutes=1, seconds=3)
    await until_job(slurm, fits, "RUNNING", "COMPLETED")
    waits = await slurm.submit(account, "frank", cpus=70, minutes=1, seconds=3)
    await until_job(slurm, waits, "PENDING", reason="AssocGrpCPUMinutesLimit")
    assert await cycles.run(first)
    assert (await slurm.job(waits))[0] == "PENDING"

    second = desired(cluster, account, hours=10, revision=2, start=start)
    assert await cycles.run(second)
    await until_job(slurm, waits, "RUNNING", "COMPLETED")
    for job in (fits, waits):
        await until_recorded(slurm, job)
    await slurm.refresh_counters()

    async def settled() -> bool:
        assert await cycles.run(second)
        scheduler.written.clear()
        assert await cycles.run(second)
        return not scheduler.written

    await until(settled, "cycles in which nothing happens write nothing")
    text = await slurm.run("sacct", "-a", "-D", "-X", "-n", "-P", "-A", account, "--format=CPUTimeRAW")
    assert booked(cycles, account) == sum(int(line) for line in text.split())
    view = (await scheduler.observe(cluster)).accounts[account]
    reading = view.readings["cpu"]
    assert reading.limit is not None
    # What Slurm would let start is what is left, within the two unit-minutes and the band that the ceiling allows itself.
    left = (10 * 3600 - booked(cycles, account)) // 60
    assert abs(reading.limit - reading.counter - left) <= 3 + 60


def booked(cycles: Cycles, account: str) -> int:
    """CPU seconds in the agent's books."""
    return sum(amount for _, amount in cycles.book.quarters(account, ())["cpu"])

"""The ceiling on the real Slurm, by the agent's own cycles, whatever happens to counters, limits and records.

Scaled time: a budget of minutes, jobs of seconds on many cheap CPUs. What was used is taken from slurmctld's own log and queue,
not from the records that the agent reads.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bursar_agent.cycle import Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.schedulers.slurm import associations, tres
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, AllocationEntry, ClusterSettings, Root, StepEntry, WindowEntry
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import cluster_settings, until, until_recorded
from bursar_testing.slurm_mix import attempts

BUDGET_HOURS = 5
BUDGET_MINUTES = 60 * BUDGET_HOURS
CPUS = 235  # with a time limit of a minute, so that is what `safe` reserves
SECONDS = 10
SLACK_MINUTES = 2
SKEW_SECONDS = 2  # between the reads of counter and queue
FAR_AHEAD = 2**33
LIMIT_REACHED = ("AssocGrpCPUMinutesLimit", "AssocGrpCPURunMinutesLimit")

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(150)]


@dataclass
class Enforced:
    """One account with a budget, jobs in it, and an agent whose cycles are checked one by one."""

    slurm: Slurm
    cycles: Cycles
    state: DesiredState
    account: str
    jobs: list[int] = field(default_factory=list)
    written: int = 0

    async def submit(self) -> None:
        """Three jobs: two fit into the budget at most, and the third no more."""
        self.jobs = [await self.slurm.submit(self.account, "alice", cpus=CPUS, minutes=1, seconds=SECONDS) for _ in range(3)]

    async def cycle(self) -> bool:
        """One cycle of the agent, and what must be true after it; False where the scheduler could not be read."""
        did = await self.cycles.run(self.state)
        if did:
            await self.check()
        return did

    async def check(self) -> None:
        """What Slurm would let start never exceeds what is left of the grant beside what runs.

        slurmctld brings counter and running remainder up to now together, so their sum does not lag.
        """
        (limit, taken, wall), (used, promised, running) = await self._at_once()
        slack = SLACK_MINUTES + running * SKEW_SECONDS / 60
        left = BUDGET_MINUTES - used
        assert limit is not None
        assert limit - taken <= max(1, left - promised + slack), f"limit {limit}, taken {taken}, {left} - {promised} left"
        assert wall is not None
        assert wall <= 1.25 * max(1, left + slack + CPUS * SECONDS / 60), f"GrpTRESRunMins {wall}, left {left}"

    async def _at_once(self) -> tuple[tuple[int | None, int, int | None], tuple[float, float, int]]:
        """Slurm's reading and what its log and queue say, no job having begun or ended between the two."""
        while True:
            before, reading, after = await self.minutes(), await self._reading(), await self.minutes()
            if after[2] == before[2] and after[1] <= before[1]:
                return reading, after

    async def _reading(self) -> tuple[int | None, int, int | None]:
        """Limit, counter with running remainder, and wall: slurmctld's own answers, to be had while slurmdbd is away."""
        text = await self.slurm.run("sshare", *associations.share_arguments())
        share = associations.parse_shares(text, self.slurm.cluster)[self.account]
        arguments = ("-o", "show", "assoc_mgr", "flags=assoc", f"accounts={self.account}")
        records = (await self.slurm.run("scontrol", *arguments)).splitlines()
        record = next(line for line in records if f"Account={self.account} UserName= " in line)
        walls = next(word for word in record.split() if word.startswith("GrpTRESRunMins=")).partition("=")[2]
        taken = share.counters.get("cpu", 0) + share.running.get("cpu", 0)
        return share.limits.get("cpu"), taken, limit_of_cpu(walls)

    async def minutes(self) -> tuple[float, float, int]:
        """CPU minutes used, and promised to what runs, by slurmctld's log and queue; and how many CPUs run."""
        ended = attempts(self.slurm.ended_jobs())
        done = sum(each.end - each.start for each in ended if each.job in self.jobs)
        numbers = ",".join(map(str, self.jobs or [1]))
        text = await self.slurm.run("squeue", "-h", "-a", "-t", "RUNNING", f"--jobs={numbers}", "--format=%A|%M", check=False)
        rows = [line.partition("|") for line in text.splitlines()]
        known = {each.job for each in ended}
        lasted = [row[2].partition(":") for row in rows if row[0].isdigit() and int(row[0]) not in known]
        seconds = sum(int(minutes) * 60 + int(rest) for minutes, _, rest in lasted)
        promised = len(lasted) * 60 - seconds
        return CPUS * (done + seconds) / 60, CPUS * promised / 60, CPUS * len(lasted)

    async def state_of(self, number: int) -> tuple[str, str]:
        """State and reason of one of the jobs."""
        return await self.slurm.job(self.jobs[number])

    async def cycle_until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        """Cycles until something is so."""

        async def reached() -> bool:
            await self.cycle()
            return await condition()

        await until(reached, what, seconds=60)

    async def ended(self, number: int) -> bool:
        """Whether one of the jobs ran to its end."""
        return (await self.state_of(number))[0] == "COMPLETED"

    async def at_rest(self) -> bool:
        """Nothing runs, and less is left than the next job asks for."""
        used, _, running = await self.minutes()
        return not running and BUDGET_MINUTES - used < CPUS

    async def stops_at_the_budget(self) -> None:
        """Jobs start as long as one fits, then no more; what was used lies within the budget."""
        await self.cycle_until("less is left than a job asks for", self.at_rest)
        states = [await self.state_of(number) for number in range(len(self.jobs))]
        ran = [job for job, (state, _) in zip(self.jobs, states, strict=True) if state == "COMPLETED"]
        assert ran
        for job in ran:
            await until_recorded(self.slurm, job)
        for _ in range(3):
            assert await self.cycle()
            state, reason = await self.state_of(len(self.jobs) - 1)
            assert state == "PENDING"
        assert reason in LIMIT_REACHED
        used, _, running = await self.minutes()
        assert not running
        assert used <= BUDGET_MINUTES
        text = await self.slurm.run("sacct", "-a", "-D", "-X", "-n", "-P", "-A", self.account, "--format=CPUTimeRAW")
        assert sum(int(line) for line in text.split()) == used * 60
        await self.slurm.run("scancel", *map(str, self.jobs))


def limit_of_cpu(text: str) -> int | None:
    """The CPU's of `cpu=1000(37),mem=N(0)`."""
    amounts = dict(word.partition("=")[::2] for word in text.split(","))
    limit = amounts.get("cpu", "N").partition("(")[0]
    return None if limit == "N" else tres.parse(f"cpu={limit}")["cpu"]


@pytest.fixture
async def enforced(slurm: Slurm, scheduler: SlurmScheduler, fresh_name: Callable[[], str], tmp_path: Path) -> Enforced:
    """An account with five CPU hours, whose first job runs."""
    cluster = cluster_settings(slurm.cluster).model_copy(update={"root_account": "ceilings"})
    settings = AgentSettings.model_validate(
        {
            "cluster": slurm.cluster,
            "gateway": "https://127.0.0.1:1",
            "state_directory": tmp_path,
            "scheduler": "slurm",
            "usage_interval_seconds": 0.05,
            "counter_period_seconds": 60,
        }
    )
    cycles = Cycles(settings, scheduler, Journal(tmp_path), UsageBook(tmp_path, epoch=1), Outbox("session"))
    account = fresh_name()
    made = Enforced(slurm, cycles, desired(cluster, account), account)
    assert await made.cycle()
    await made.submit()

    async def runs() -> bool:
        return (await made.state_of(0))[0] == "RUNNING"

    await made.cycle_until("the first job runs", runs)
    return made


def desired(cluster: ClusterSettings, account: str) -> DesiredState:
    """One account with one allocation."""
    start = int(time.time()) // 3600 * 3600
    allocation = AllocationEntry(
        uid=account,
        namespace="project-x",
        name=account,
        grant_revision=1,
        granted={"cpu": BUDGET_HOURS},
        start=start,
        end=FAR_AHEAD,
        windows=(WindowEntry(start=start, end=FAR_AHEAD, steps=(StepEntry(at=start, granted={"cpu": 3600 * BUDGET_HOURS}),)),),
        open_until=FAR_AHEAD,
    )
    entry = AccountEntry(account=account, project=account, members=("alice",), allocations=(allocation,))
    root = Root(cluster="alpha", epoch=1, generation=1, acknowledged=0, issued_at=0, valid_until=2**40, digest="d")
    return DesiredState(Signer(bytes(32)).sign(root), cluster, {account: entry})


async def test_counters_that_are_lost(enforced: Enforced) -> None:
    await enforced.cycle_until("the first job ends", lambda: enforced.ended(0))
    await enforced.slurm.halt("slurmctld")
    enforced.slurm.lose_counters()
    await enforced.slurm.resume("slurmctld")
    await enforced.stops_at_the_budget()


async def test_a_counter_that_is_reset_by_hand(enforced: Enforced) -> None:
    await enforced.cycle_until("the first job ends", lambda: enforced.ended(0))
    where = (f"name={enforced.account}", f"cluster={enforced.slurm.cluster}")
    await enforced.slurm.run("sacctmgr", "-i", "modify", "account", "where", *where, "set", "RawUsage=0")
    assert await enforced.cycle()
    await enforced.stops_at_the_budget()


async def test_a_limit_that_is_edited_by_hand(enforced: Enforced) -> None:
    await enforced.cycle_until("the first job ends", lambda: enforced.ended(0))
    where = (f"name={enforced.account}", f"cluster={enforced.slurm.cluster}")
    await enforced.slurm.run("sacctmgr", "-i", "modify", "account", "where", *where, "set", "GrpTRESMins=cpu=1000000")
    assert await enforced.cycle()
    await enforced.stops_at_the_budget()


async def test_a_controller_that_is_down_while_a_job_runs(enforced: Enforced) -> None:
    await enforced.slurm.halt("slurmctld")
    assert not await enforced.cycle()  # nothing is known, so nothing is written
    # Back before the job ends: slurmd tells of an end that nobody heard a minute later or more, and until then it counts.
    await asyncio.sleep(SECONDS / 3)
    await enforced.slurm.resume("slurmctld")
    await enforced.cycle_until("the first job's end is known", lambda: enforced.ended(0))
    await enforced.stops_at_the_budget()


async def test_job_records_that_come_late(enforced: Enforced) -> None:
    await enforced.slurm.halt("slurmdbd")
    try:
        ended = False
        while not ended:
            assert not await enforced.cycle()
            await enforced.check()  # the limit of before stands, and the counter goes on
            ended = await enforced.ended(0)
    finally:
        await enforced.slurm.resume("slurmdbd")
    await enforced.stops_at_the_budget()

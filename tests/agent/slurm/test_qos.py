"""Limit mode QOS on the real Slurm, whose accounts forget use: two allocations, each with a QOS, by the agent's own cycles.

Scaled time: budgets of minutes, jobs of seconds on many cheap CPUs. What was used is taken from slurmctld's own log and queue,
not from the records that the agent reads.
"""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from bursar_agent import qosnames
from bursar_agent.cycle import Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.schedulers.base import AccountChange, Outcome, QosChange, Reading
from bursar_agent.schedulers.slurm import PLUGIN, associations, qos
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, ClusterSettings, Root, TrackedResource
from bursar_local.slurm import Slurm, SlurmUnavailable
from bursar_testing.agents import FAR_AHEAD, allocation
from bursar_testing.slurm import USERS, need_slurm
from bursar_testing.slurm_accounts import ROOT_ACCOUNT, settings_of, until, until_job, until_recorded
from bursar_testing.slurm_mix import attempts

FIRST_HOURS, SECOND_HOURS = 4, 5
BUDGET_MINUTES = 60 * (FIRST_HOURS + SECOND_HOURS)
CPUS = 220  # with a time limit of a minute, so that is what `safe` reserves
SECONDS, LONG_SECONDS = 15, 45
MOST_JOBS = 10
SLACK_MINUTES = 3 * 2
SKEW_SECONDS = 2  # between the reads of counters and queue
QOS_LIMIT = ("QOSGrpCPUMinutesLimit", "QOSGrpCPURunMinutesLimit")
RESOURCES = (TrackedResource(name="cpu", trackable="cpu", capacity=512),)

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
async def forgetful(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Slurm]:
    """A Slurm whose accounts forget half of their use in a minute; a counter with NoDecay does not."""
    await need_slurm()
    directory = tmp_path_factory.mktemp("forgetful")
    overrides = {"PriorityDecayHalfLife": "00:01:00", "PriorityCalcPeriod": "1"}
    running = await Slurm.start(directory, cluster="alpha", users=USERS, nodes=2, overrides=overrides)
    try:
        yield running
    finally:
        await running.stop()


@dataclass
class Enforced:
    """One account with two allocations, jobs in it, and an agent whose cycles are checked one by one."""

    slurm: Slurm
    scheduler: SlurmScheduler
    cycles: Cycles
    state: DesiredState
    account: str
    jobs: list[int] = field(default_factory=list)

    @property
    def names(self) -> tuple[str, str]:
        """QOSes of the two, in the order in which they are charged."""
        first, second = (qosnames.name(self.slurm.cluster, self.account, f"{self.account}-{which}") for which in "ab")
        return first, second

    async def submit(self, *options: str, seconds: int = SECONDS) -> None:
        """A job of a minute that ends early."""
        extra = list(options)
        self.jobs.append(await self.slurm.submit(self.account, "alice", cpus=CPUS, minutes=1, seconds=seconds, extra=extra))

    def switch(self, mode: str) -> None:
        """The Cluster's limitMode is another."""
        settings = self.state.settings.model_copy(update={"limit_mode": mode})
        self.state = DesiredState(self.state.signed, settings, self.state.entries)

    async def cycle(self) -> None:
        """One cycle of the agent, and what must be true after it."""
        assert await self.cycles.run(self.state)
        states = self.cycles.outbox.states
        assert states[self.account].error == ""
        await self.check()

    async def check(self) -> None:
        """What Slurm would let start never exceeds what is left of the grants beside what runs."""
        rooms = await self.rooms()
        used, promised, running = await self.minutes()
        slack = SLACK_MINUTES + running * SKEW_SECONDS / 60
        assert sum(rooms) <= max(0, BUDGET_MINUTES - used - promised) + slack, f"{rooms}, {used} used, {promised} promised"

    async def rooms(self) -> list[int]:
        """Minutes that may start under each QOS that the account has, or under the account itself."""
        text = await self.slurm.run("scontrol", *qos.counter_arguments())
        seen = qos.parse(text, dict.fromkeys(self.names, True))
        listed = await self.listed()
        if any(qosnames.is_ours(name) for name in listed):
            assert set(listed) <= {*self.names, "normal"}
            readings = [seen[name].readings["cpu"] for name in listed if name in seen]
        else:
            text = await self.slurm.run("sshare", *associations.share_arguments())
            share = associations.parse_shares(text, self.slurm.cluster)[self.account]
            readings = [Reading(share.limits.get("cpu"), None, share.counters.get("cpu", 0), share.running.get("cpu", 0))]
        assert all(reading.limit is not None for reading in readings)
        return [max(0, (reading.limit or 0) - reading.counter - reading.running) for reading in readings]

    async def listed(self) -> tuple[str, ...]:
        """QOSes of the account itself, the default first."""
        text = await self.slurm.run(
            "sacctmgr", "-nP", "list", "assoc", "wopl", f"account={self.account}", "format=User,QOS%200,DefaultQOS%100"
        )
        _, names, default = next(line for line in text.splitlines() if line.startswith("|")).split("|")
        return qosnames.ordered([name for name in names.split(",") if name], default)

    async def minutes(self) -> tuple[float, float, int]:
        """CPU minutes used, and promised to what runs, by slurmctld's log and queue; and how many CPUs run."""
        ended = [each for each in attempts(self.slurm.ended_jobs()) if each.job in self.jobs]
        numbers = ",".join(map(str, self.jobs or [1]))
        text = await self.slurm.run("squeue", "-h", "-a", "-t", "RUNNING", f"--jobs={numbers}", "--format=%A|%M", check=False)
        rows = [line.partition("|") for line in text.splitlines()]
        known = {each.job for each in ended}
        lasted = [row[2].partition(":") for row in rows if row[0].isdigit() and int(row[0]) not in known]
        seconds = sum(int(minutes) * 60 + int(rest) for minutes, _, rest in lasted)
        done = sum(each.end - each.start for each in ended)
        return CPUS * (done + seconds) / 60, CPUS * (len(lasted) * 60 - seconds) / 60, CPUS * len(lasted)

    async def cycle_until(self, what: str, condition: Callable[[], Awaitable[bool]]) -> None:
        """Cycles until something is so."""

        async def reached() -> bool:
            await self.cycle()
            return await condition()

        await until(reached, what, seconds=90)

    async def ended(self) -> bool:
        """Whether the first job ran to its end, and the database knows."""
        return (await self.slurm.job(self.jobs[0]))[0] == "COMPLETED"

    async def run_to_the_end(self, *options: str) -> bool:
        """One job more; False, and it is taken back, where it waits for hours."""
        await self.submit(*options, seconds=LONG_SECONDS)
        number = self.jobs[-1]

        async def is_settled() -> bool:
            state, reason = await self.slurm.job(number)
            return state == "COMPLETED" or (state == "PENDING" and reason in QOS_LIMIT)

        await self.cycle_until(f"job {number} ran or waits for hours", is_settled)
        if (await self.slurm.job(number))[0] != "COMPLETED":
            await self.slurm.run("scancel", str(number))
            return False
        await until_recorded(self.slurm, number)
        await self.cycle()
        return True

    async def stops_at_the_budget(self) -> None:
        """Jobs run under the default QOS, or the second one by name, as long as one fits; then no more, within the budget."""
        _, second = self.names
        while await self.run_to_the_end() or await self.run_to_the_end(f"--qos={second}"):
            assert len(self.jobs) < MOST_JOBS
        used, _, running = await self.minutes()
        assert not running
        assert BUDGET_MINUTES - CPUS - SLACK_MINUTES <= used <= BUDGET_MINUTES

    async def holds(self) -> None:
        """Under no QOS starts what is more than all have left, and what fits does start."""
        used, _, _ = await self.minutes()
        too_many = round(BUDGET_MINUTES - used) + SLACK_MINUTES
        first, second = self.names
        for name in (first, second):
            number = await self.slurm.submit(self.account, "alice", cpus=too_many, minutes=1, extra=[f"--qos={name}"])
            await until_job(self.slurm, number, "PENDING", reason=QOS_LIMIT[0])
            await self.slurm.run("scancel", str(number))
        fits = await self.slurm.submit(self.account, "alice", cpus=CPUS, minutes=1, extra=[f"--qos={second}"])
        await until_job(self.slurm, fits, "RUNNING", "COMPLETED")
        self.jobs.append(fits)
        await self.cycle()
        await self.slurm.run("scancel", str(fits))


@pytest.fixture
async def begun(forgetful: Slurm, fresh_name: Callable[[], str], tmp_path: Path) -> Enforced:
    """An account with two allocations of four and five CPU hours."""
    cluster = ClusterSettings(
        cluster=forgetful.cluster,
        scheduler_name=forgetful.cluster,
        root_account=ROOT_ACCOUNT,
        limit_mode="QOS",
        resources=RESOURCES,
    )
    settings = AgentSettings.model_validate(
        {
            "cluster": forgetful.cluster,
            "gateway": "https://127.0.0.1:1",
            "state_directory": tmp_path,
            "scheduler": "slurm",
            "usage_interval_seconds": 0.05,
            "counter_period_seconds": 60,
        }
    )
    scheduler, account = PLUGIN.connect(settings_of(forgetful), tmp_path), fresh_name()
    cycles = Cycles(settings, scheduler, Journal(tmp_path), UsageBook(tmp_path, epoch=1), Outbox("session"))
    made = Enforced(forgetful, scheduler, cycles, desired(cluster, account), account)
    await made.cycle()
    return made


@pytest.fixture
async def enforced(begun: Enforced) -> Enforced:
    """The same after its first job."""
    await begun.submit()
    await begun.cycle_until("the first job ends", begun.ended)
    await until_recorded(begun.slurm, begun.jobs[0])
    await begun.cycle()
    return begun


def desired(cluster: ClusterSettings, account: str) -> DesiredState:
    """One account with two allocations; the first one ends first."""
    start = int(time.time()) // 3600 * 3600
    first = allocation(f"{account}-a", FIRST_HOURS, start=start, end=FAR_AHEAD - 3600)
    second = allocation(f"{account}-b", SECOND_HOURS, start=start)
    entry = AccountEntry(account=account, project=account, members=("alice",), allocations=(first, second))
    root = Root(cluster="alpha", epoch=1, generation=1, acknowledged=0, issued_at=0, valid_until=2**40, digest="d")
    return DesiredState(Signer(bytes(32)).sign(root), cluster, {account: entry})


async def test_the_next_allocation_takes_over_and_all_stops_at_the_budget(enforced: Enforced) -> None:
    first, second = enforced.names
    assert await enforced.listed() == (first, second)
    assert (await enforced.cycles.scheduler.capabilities(enforced.state.settings)).misses == ()
    await enforced.stops_at_the_budget()
    assert await enforced.listed() == (second, first)
    used = {
        line.partition("|")[0]
        for line in (await enforced.slurm.run("sacct", "-a", "-X", "-n", "-P", "-A", enforced.account, "--format=QOS")).split()
    }
    assert used == {first, second}


async def test_counters_that_are_lost(enforced: Enforced) -> None:
    await enforced.slurm.halt("slurmctld")
    enforced.slurm.lose_counters()
    await enforced.slurm.resume("slurmctld")
    await enforced.cycle()
    await enforced.holds()


async def test_a_qos_that_is_edited_by_hand_in_every_way(enforced: Enforced) -> None:
    first, second = enforced.names
    run = enforced.slurm.run
    await run("sacctmgr", "-i", "modify", "qos", "where", f"name={first}", "set", "RawUsage=0")
    await run("sacctmgr", "-i", "modify", "qos", "where", f"name={second}", "set", "GrpTRESMins=cpu=1000000", "Flags=-1")
    await run("sacctmgr", "-i", "modify", "account", "where", f"name={enforced.account}", "set", "QOS=normal", "DefaultQOS=-1")
    user = ("modify", "user", "where", "name=alice", f"account={enforced.account}", "set", "QOS=normal", "DefaultQOS=normal")
    await run("sacctmgr", "-i", *user)
    await enforced.cycle()
    drift = " ".join(enforced.cycles.outbox.states[enforced.account].drift)
    assert all(words in drift for words in (f"cpu limit of QOS {second}", "lost the flag", "were set to", "own: alice"))
    assert await enforced.listed() == (first, second)
    seen = (await enforced.scheduler.observe(enforced.state.settings)).qoses
    assert seen is not None
    assert seen[second].is_lasting
    assert (await enforced.scheduler.observe(enforced.state.settings)).accounts[enforced.account].own_qos == frozenset()
    await enforced.holds()


async def test_to_account_mode_and_back(enforced: Enforced) -> None:
    run = enforced.slurm.run
    await run("sacctmgr", "-i", "add", "qos", "name=long")
    enforced.switch("Account")
    await enforced.cycle()
    assert not any(qosnames.is_ours(name) for name in await enforced.listed())
    with pytest.raises(SlurmUnavailable, match="Invalid qos"):
        await enforced.submit(f"--qos={enforced.names[0]}")
    text = await run("scontrol", *qos.counter_arguments())
    seen = qos.parse(text, dict.fromkeys(enforced.names, True))
    assert [seen[name].readings["cpu"].limit for name in enforced.names] == [1, 1]
    own = ("QOS=long,normal", "DefaultQOS=long")
    await run("sacctmgr", "-i", "modify", "account", "where", f"name={enforced.account}", "set", *own)
    enforced.switch("QOS")
    await enforced.cycle()
    assert set(await enforced.listed()) == set(enforced.names)
    enforced.switch("Account")
    await enforced.cycle()
    assert await enforced.listed() == ("long", "normal")
    enforced.switch("QOS")
    await enforced.cycle()
    await enforced.holds()


async def test_an_account_without_an_allocation_is_held(begun: Enforced) -> None:
    entry = begun.state.entries[begun.account].model_copy(update={"allocations": ()})
    begun.state = DesiredState(begun.state.signed, begun.state.settings, {begun.account: entry})
    await begun.cycle()
    seen = await begun.scheduler.observe(begun.state.settings)
    view = seen.accounts[begun.account]
    assert view.held
    assert view.readings["cpu"].limit == 1
    assert seen.qoses is not None
    assert [seen.qoses[name].readings["cpu"].limit for name in begun.names] == [1, 1]


async def test_a_change_that_is_not_proven_keeps_the_account_closed(begun: Enforced) -> None:
    settings, name = begun.state.settings, qosnames.name(begun.slurm.cluster, "absent", "u")
    born = AccountChange("closed", create=True, description="bursar:test", parent=ROOT_ACCOUNT, limits={"cpu": 1})
    assert await begun.scheduler.apply(settings, [born]) == [Outcome("closed", done=True)]
    change = AccountChange("closed", limits={"cpu": -1}, qoses=(QosChange(name, limits={"cpu": 600}),), qos_list=(name,))
    (outcome,) = await begun.scheduler.apply(settings, [change])
    assert not outcome.done
    assert f"QOS {name} is not there" in outcome.error
    assert (await begun.scheduler.observe(settings)).accounts["closed"].readings["cpu"].limit == 1


async def test_very_many_are_made_by_few_commands(begun: Enforced) -> None:
    names = [qosnames.name("alpha", f"many-{number}", "u") for number in range(450)]
    changes = [
        AccountChange(f"many-{number}", qoses=(QosChange(name, create=True, description=f"bursar:u{number}", tightens=True),))
        for number, name in enumerate(names)
    ]
    calls = qos.births(begun.state.settings, changes, per_call=200)
    assert [len(accounts) for _, accounts in calls] == [200, 200, 50]
    for arguments, _ in calls:
        await begun.slurm.run("sacctmgr", "-i", *arguments)
    seen = (await begun.scheduler.observe(begun.state.settings)).qoses
    assert seen is not None
    assert seen.keys() >= set(names)
    assert all(seen[name].is_lasting and seen[name].readings["cpu"].limit == 1 for name in names)


async def test_a_soft_landing_gives_back_the_qoses_of_the_allocations(begun: Enforced, tmp_path: Path) -> None:
    settings, names = begun.state.settings, begun.names
    await begun.slurm.run("sacctmgr", "-i", "add", "qos", "name=landing", "UsageFactor=0", "Flags=UsageFactorSafe", check=False)
    lander = PLUGIN.connect(settings_of(begun.slurm, soft_land_qos="landing"), tmp_path)
    assert await lander.apply(settings, [AccountChange(begun.account, qos="landing")]) == [Outcome(begun.account, done=True)]
    assert await begun.listed() == ("landing",)
    undo = AccountChange(begun.account, qos="", qos_list=(names[1], names[0]))
    assert await lander.apply(settings, [undo]) == [Outcome(begun.account, done=True)]
    assert await begun.listed() == (names[1], names[0])
    leave = AccountChange(begun.account, qos_list=())
    assert await lander.apply(settings, [leave]) == [Outcome(begun.account, done=True)]
    assert await begun.listed() == ()  # what it had before the mode, not before the landing


async def test_a_job_that_waits_under_the_qos_of_an_ended_allocation_is_moved_by_hand(begun: Enforced) -> None:
    first, second = begun.names
    waits = await begun.slurm.submit(begun.account, "alice", cpus=300, minutes=1, extra=[f"--qos={first}"])
    await until_job(begun.slurm, waits, "PENDING", reason=QOS_LIMIT[0])
    entry = begun.state.entries[begun.account]
    (_, left) = entry.allocations
    begun.state = DesiredState(
        begun.state.signed, begun.state.settings, {begun.account: entry.model_copy(update={"allocations": (left,)})}
    )
    await begun.cycle()
    assert await begun.listed() == (second,)
    await until_job(begun.slurm, waits, "PENDING", reason="InvalidQOS")
    await begun.slurm.run("scontrol", "update", f"jobid={waits}", f"qos={second}")
    await until_job(begun.slurm, waits, "RUNNING", "COMPLETED")
    begun.jobs.append(waits)
    await begun.slurm.run("scancel", str(waits))

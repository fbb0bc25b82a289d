"""Use counted four ways: the agent's books, by hand from the jobs as submitted, `sreport`, and slurmctld's live counter."""

import asyncio
import contextlib
import math
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bursar_agent.schedulers.base import UsageRead
from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.slices import DistrustedRead
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import JobUse
from bursar_domain.units import HOUR
from bursar_domain.wire import ClusterSettings, TrackedResource
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import OPEN, cluster_settings, new, settings_of, until, until_job
from bursar_testing.slurm_mix import NODE_CPUS, ODD_TEXT, Asked, Mix

ACCOUNT = "mixed"
QOS = {"gratis": 0, "halved": 500, "thirds": 333, "vanished": 250, "doubled": 2000}
BILLING = TrackedResource(name="billing", trackable="billing", capacity=10**6)
Sums = Counter[tuple[str, str]]

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@dataclass(frozen=True)
class Counted:
    """What is there once every job of the mix ended."""

    slurm: Slurm
    scheduler: SlurmScheduler
    mix: Mix
    book: UsageBook
    jobs: list[JobUse]
    since: int

    def booked(self, what: str) -> Sums:
        """Unit-seconds in the agent's books by user and resource."""
        total: Sums = Counter()
        for version in self.book.unsent.values():
            for row, amounts in version.rows.items():
                total[row.user, row.resource] += sum(getattr(amounts, what))
        return +total


@dataclass
class Story:
    """Submits the mix and does things to it."""

    mix: Mix
    first_node: str
    second_node: str

    async def short_jobs(self) -> None:
        """They end by themselves."""
        submit = self.mix.submit
        await submit(Asked("alice", NODE_CPUS), 1, "--exclusive", f"--nodelist={self.second_node}", tasks=1)
        await submit(Asked("alice", 4), 3)
        await submit(Asked("bob", 2, memory=2500), 2, "--mem=2500M")
        await submit(Asked("bob", 1, gpus=3), 2, "--gres=gpu:a100:3")
        await submit(Asked("carol", 3, gpus=2), 1, "--gres=gpu:2")
        await submit(Asked("carol", 1), 0, f"--job-name={ODD_TEXT}", f"--comment={ODD_TEXT}", f"--chdir=/tmp/{ODD_TEXT}")
        for qos, factor in QOS.items():
            await submit(Asked("carol", 7, factor_thousandths=factor), 3, f"--qos={qos}")

    async def parts(self) -> None:
        """An array, a heterogeneous job, one with steps, one that fails, one that takes no time."""
        slurm, mix = self.mix.slurm, self.mix
        array = await mix.submit(Asked("bob", 2), 2, "--array=0-3")
        het = await mix.submit(Asked("alice", 2), 3, ":", f"--account={ACCOUNT}", "--ntasks=3", "--time=5")
        await mix.submit(Asked("alice", 2), "srun --ntasks=1 sleep 1; srun --ntasks=2 sleep 1")
        await mix.submit(Asked("bob", 3), "sleep 1; exit 3")
        await mix.submit(Asked("bob", 3), "true")
        never = await mix.submit(Asked("alice", 9), 1, "--begin=now+1hour")
        await slurm.run("scancel", str(never))
        await mix.note_parts(array, *[Asked("bob", 2)] * 4)
        await mix.note_parts(het, Asked("alice", 2), Asked("alice", 3))

    async def ill_fated(self) -> None:
        """Killed, timed out, requeued by hand and by a lost node, suspended; the last of them ends on its own time limit."""
        mix, slurm = self.mix, self.mix.slurm
        here, there = f"--nodelist={self.first_node}", f"--nodelist={self.second_node}"
        timed_out = await mix.submit(Asked("alice", 5), 300, here)
        killed = await mix.submit(Asked("alice", 11), 300, here)
        requeued = await mix.submit(Asked("bob", 5), 300, here, "--requeue")
        stopped = [await mix.submit(Asked(user, 120), 300, here) for user in ("bob", "carol")]
        lost = [await mix.submit(Asked("carol", 13), 300, there, rule) for rule in ("--requeue", "--no-requeue")]
        for job in (timed_out, killed, requeued, *stopped, *lost):
            await until_job(slurm, job, "RUNNING")
        await slurm.run("scontrol", "update", f"jobid={timed_out}", "EndTime=now+5")  # slurmctld looks every half minute
        await asyncio.sleep(2)
        stopped_at = time.time()
        for job in stopped:
            await slurm.run("scontrol", "suspend", str(job))
        await asyncio.sleep(3)
        await slurm.run("scontrol", "resume", str(stopped[0]))
        await slurm.run("scontrol", "requeue", str(requeued))
        await slurm.run("scontrol", "update", f"nodename={self.second_node}", "state=down", "reason=test")
        await mix.ended(requeued, *lost)
        await self._is_back(self.second_node)
        await asyncio.sleep(3)  # a node refuses a second start within seconds of the kill
        for job in (requeued, lost[0]):
            await mix.run_again(job)
        await asyncio.sleep(2)
        await slurm.run("scancel", *map(str, (killed, requeued, *stopped, lost[0])))
        mix.killed_stopped[stopped[1]] = math.ceil(time.time() - stopped_at)
        await mix.ended(requeued, lost[0], attempts=2)
        await mix.ended(timed_out, killed, *stopped)
        for job in stopped:
            await mix.note_run_time(job)

    async def _is_back(self, node: str) -> None:
        async def back() -> bool:
            await self.mix.slurm.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
            state = await self.mix.slurm.run("sinfo", "--noheader", f"--nodes={node}", "--format=%T")
            return state.strip() in ("idle", "mixed")

        await until(back, f"{node} takes jobs again")


@pytest.fixture(scope="module")
def settings(slurm: Slurm) -> ClusterSettings:
    """The session's cluster, with service units."""
    base = cluster_settings(slurm.cluster)
    return base.model_copy(update={"resources": (*base.resources, BILLING)})


@pytest.fixture(scope="module")
async def counted(slurm: Slurm, settings: ClusterSettings, tmp_path_factory: pytest.TempPathFactory) -> Counted:
    """Runs the mix once for all tests here; a reader of job records goes on beside it, reading everything again and again."""
    scheduler = PLUGIN.connect(settings_of(slurm), tmp_path_factory.mktemp("plugin"))
    await _prepare(slurm, scheduler, settings)
    book = UsageBook(tmp_path_factory.mktemp("book"), epoch=1)
    reader, since = UsageReader(book, overlap_seconds=HOUR, lag_seconds=60), int(time.time()) - 5
    story = Story(Mix(slurm, ACCOUNT), f"{slurm.cluster}-host", f"{slurm.cluster}-host-2")
    reading = asyncio.create_task(_read_on(reader, scheduler, since))
    try:
        await story.short_jobs()
        await story.parts()
        await story.ill_fated()
        await until(
            lambda: _all_recorded(scheduler, story.mix, since), "the database has the end of every attempt", seconds=120
        )
    finally:
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    await slurm.run("sacctmgr", "-i", "delete", "qos", "name=vanished")
    found = None
    while found is None:
        found = await _read(reader, scheduler, since)
    jobs = [job for job in found.jobs if job.account == ACCOUNT]
    return Counted(slurm, scheduler, story.mix, book, jobs, since)


async def _prepare(slurm: Slurm, scheduler: SlurmScheduler, settings: ClusterSettings) -> None:
    for qos, factor in QOS.items():
        flags = () if factor else ("Flags=UsageFactorSafe",)
        await slurm.run("sacctmgr", "-i", "add", "qos", f"name={qos}", f"UsageFactor={factor / 1000}", *flags)
    limits = {"cpu": 10**6, "billing": -1, **OPEN}
    (outcome,) = await scheduler.apply(settings, [new(ACCOUNT, limits, "alice", "bob", "carol")])
    assert outcome.done
    every = ",".join(("normal", *QOS))
    await slurm.run("sacctmgr", "-i", "modify", "account", "where", f"name={ACCOUNT}", "set", f"qos={every}")


async def _read_on(reader: UsageReader, scheduler: SlurmScheduler, since: int) -> None:
    while True:
        await _read(reader, scheduler, since)
        await asyncio.sleep(2)


async def _read(reader: UsageReader, scheduler: SlurmScheduler, since: int) -> UsageRead | None:
    """None where records show less than they did (a lost node's jobs end when it was last seen): that takes a few reads."""
    try:
        return await reader.read(scheduler, lambda job: job.account == ACCOUNT, since, int(time.time()))
    except DistrustedRead:
        return None


async def _all_recorded(scheduler: SlurmScheduler, mix: Mix, since: int) -> bool:
    text = await mix.slurm.run(
        "sacct", "-a", "-D", "-X", "-n", "-P", "-A", ACCOUNT, "--starttime=now-1hour", "--format=jobidraw,start,end,alloctres"
    )
    ran = [line.split("|") for line in text.splitlines() if not line.endswith("|")]
    return len(ran) == len(mix.attempts()) and not any("Unknown" in row for row in ran)


def test_the_mix_is_what_it_says(counted: Counted) -> None:
    attempts = counted.mix.attempts()
    assert len(counted.mix.asked) >= 25
    assert len(attempts) == len(counted.jobs)
    states = Counter(job.state for job in counted.jobs)
    assert states["NODE_FAIL"] == 2
    assert states["REQUEUED"] == states["TIMEOUT"] == states["FAILED"] == 1
    assert states["CANCELLED"] >= 5
    assert any(job.suspended_seconds for job in counted.jobs)
    assert {job.factor_thousandths for job in counted.jobs} == {0, 250, 333, 500, 1000, 2000}
    assert any(job.start == job.end for job in counted.jobs)
    assert not any(job.running for job in counted.jobs)


def test_the_books_are_what_the_hand_says(counted: Counted) -> None:
    assert counted.booked("allocated") == counted.mix.sums()
    assert counted.booked("refunded") == counted.mix.sums(only="NODE_FAIL")


async def test_the_books_are_what_sreport_says_but_for_the_factor(counted: Counted) -> None:
    """A roll-up knows no UsageFactor, counts what a lost node cost, and takes suspensions from CPUs alone."""
    reported = await _sreport(counted.slurm, counted.since)
    assert reported == counted.mix.sums(with_factor=False, suspended=("memory", "billing"))
    whole: Sums = Counter()
    for job in counted.jobs:
        for resource in job.allocated.keys() & {"cpu", "gpu"}:
            whole[job.user, resource] += replace(job, factor_thousandths=1000).cost(resource)
    assert +whole == Counter({key: amount for key, amount in reported.items() if key[1] in ("cpu", "gpu")})


async def _sreport(slurm: Slurm, since: int) -> Sums:
    first, last = since // HOUR * HOUR, int(time.time()) // HOUR * HOUR + HOUR
    start, end = (datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S") for at in (first, last))
    await slurm.run("sacctmgr", "-i", "rollup", start, end)
    text = await slurm.run(
        "sreport", "-nP", "cluster", "AccountUtilizationByUser", f"Start={start}", f"End={end}", f"Accounts={ACCOUNT}",
        "-t", "seconds", "--tres=cpu,mem,gres/gpu,billing",
    )  # fmt: skip
    names = {"cpu": "cpu", "mem": "memory", "gres/gpu": "gpu", "billing": "billing"}
    rows = [line.split("|") for line in text.splitlines()]
    return +Counter({(row[2], names[row[4]]): int(row[5]) for row in rows if row[1] == ACCOUNT and row[2]})


async def test_the_live_counter_is_what_the_hand_says(counted: Counted, settings: ClusterSettings) -> None:
    """slurmctld counts on while a job is suspended; the ceiling, counter + left, takes that back.

    A job that is killed while it is stopped ended, by the records, when it was stopped: what a pass counted since stays.
    """
    await counted.slurm.refresh_counters()
    hand = counted.mix.sums(suspended=("cpu", "gpu", "memory", "billing"))
    beyond = counted.mix.killed_while_stopped()
    reading = (await counted.scheduler.observe(settings)).accounts[ACCOUNT].readings
    for resource in settings.resources:
        total, more = (sum(amount for (_, name), amount in sums.items() if name == resource.name) for sums in (hand, beyond))
        # Slurm does not round a fraction of a unit-second; whole minutes are cut off.
        assert 0 <= reading[resource.trackable].counter - total // 60 <= 1 + math.ceil(more / 60)
    text = await counted.slurm.run("sshare", "-a", "-P", "-n", "-A", ACCOUNT, "-o", "User,RawUsage")
    raw = dict(line.split("|") for line in text.splitlines() if line[0] != "|")
    for user in ("alice", "bob", "carol"):
        assert -3 <= int(raw[user]) - hand[user, "billing"] <= 3 + beyond[user, "billing"]


async def test_a_running_job_is_ahead_of_the_counter_by_no_more_than_its_lag(
    counted: Counted, settings: ClusterSettings
) -> None:
    slurm, scheduler = counted.slurm, counted.scheduler
    before = (await scheduler.observe(settings)).accounts[ACCOUNT].readings["cpu"].counter
    job = await slurm.submit(ACCOUNT, "alice", cpus=300, minutes=5, seconds=300)
    await until_job(slurm, job, "RUNNING")
    started = time.time()
    await asyncio.sleep(4)
    seen = (await scheduler.observe(settings)).accounts[ACCOUNT].readings["cpu"]
    assert before <= seen.counter <= before + 300 * (time.time() - started + 1) / 60 + 1
    assert 0 < seen.running <= 300 * 5
    # Counter and running remainder are brought up to now together, so their sum does not lag.
    assert before + 300 * 5 - 1 <= seen.counter + seen.running <= before + 300 * 5 + 1
    await slurm.run("scancel", str(job))


async def test_a_running_job_whose_end_is_unknown_is_what_the_hand_says_up_to_the_read(counted: Counted) -> None:
    slurm, scheduler = counted.slurm, counted.scheduler
    job = await slurm.submit(ACCOUNT, "bob", cpus=7, minutes=5, seconds=300)
    await until_job(slurm, job, "RUNNING")
    shown = (await slurm.run("squeue", "--noheader", f"--jobs={job}", "--format=%S")).strip()
    start = int(datetime.fromisoformat(shown).replace(tzinfo=UTC).timestamp())

    async def recorded() -> bool:
        # By time, as the plug-in asks: a record that is found by number may still lack the start.
        text = await slurm.run("sacct", "-a", "-n", "-P", "-X", "--starttime=now-1hour", "--format=jobidraw,start,end")
        return f"{job}|{shown}|Unknown" in text.splitlines()

    await until(recorded, f"the record of job {job} is there, and its end is unknown")
    began = int(time.time())
    read = await scheduler.usage(counted.since)
    ended = int(time.time())
    (use,) = [item for item in read.jobs if item.account == ACCOUNT and item.running]
    assert use.start == start
    for resource, units in (("cpu", 7), ("memory", 7 * 1024), ("billing", 7)):
        assert units * (began - start) <= use.cost(resource) <= units * (ended + 1 - start)
    await slurm.run("scancel", str(job))


async def test_another_time_zone_of_the_host_changes_nothing(counted: Counted, tmp_path: Path) -> None:
    elsewhere = {**counted.slurm.environment, "TZ": "America/New_York", "SLURM_TIME_FORMAT": "%c", "LC_ALL": "C.UTF-8"}
    scheduler = PLUGIN.connect(settings_of(counted.slurm, environment=elsewhere), tmp_path)
    read = await scheduler.usage(counted.since)
    spans = {job.key: (job.start, job.end) for job in read.jobs if job.account == ACCOUNT}
    assert {job.key: (job.start, job.end) for job in counted.jobs}.items() <= spans.items()

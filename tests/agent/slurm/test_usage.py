"""Use on the real Slurm equals an independent sum over its own records, whatever became of the jobs."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.buckets import JobUse
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import OpenAccount, settings_of, until, until_job, until_recorded


async def jobs_of(scheduler: SlurmScheduler, account: str, since: int) -> list[JobUse]:
    """What the plug-in says of one account."""
    read = await scheduler.usage(since)
    assert read.bad_rows == 0
    assert read.since == since
    return [job for job in read.jobs if job.account == account]


async def hand_sum(slurm: Slurm, account: str) -> Counter[str]:
    """CPU seconds by user, from other columns of sacct than the plug-in reads."""
    text = await slurm.run(
        "sacct", "-a", "-D", "-X", "-n", "-P", "-A", account, "--format=User,NCPUS,CPUTimeRAW,AllocTRES,State"
    )
    sums: Counter[str] = Counter()
    for line in text.splitlines():
        user, _, cpu_seconds, held, _ = line.split("|")
        sums[user] += int(cpu_seconds) if held else 0
    return sums


async def run_again(slurm: Slurm, job: int) -> None:
    """Waits until a requeued job runs its second time; Slurm would have it wait two minutes."""

    async def runs() -> bool:
        await slurm.run("scontrol", "update", f"jobid={job}", "starttime=now", check=False)
        restarts = await slurm.run("scontrol", "show", "job", str(job))
        return "Restarts=1" in restarts and "JobState=RUNNING" in restarts

    await until(runs, f"job {job} runs again")


def sums(jobs: list[JobUse], resource: str) -> Counter[str]:
    """Unit-seconds by user."""
    total: Counter[str] = Counter()
    for job in jobs:
        total[job.user] += job.cost(resource)
    return total


async def test_completed_killed_requeued_and_failed_jobs_add_up(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(100_000, "alice", "bob")
    since = int(time.time()) - 5
    await scheduler.observe(cluster)
    completed = await slurm.submit(account, "alice", cpus=7, seconds=2)
    with_gpus = await slurm.submit(account, "bob", cpus=2, gpus=3, seconds=2)
    killed = await slurm.submit(account, "bob", cpus=11, minutes=5, seconds=200)
    requeued = await slurm.submit(account, "alice", cpus=5, minutes=5, seconds=200, extra=["--requeue"])
    never = await slurm.submit(account, "alice", cpus=5, extra=["--begin=now+1hour"])
    for job in (killed, requeued):
        await until_job(slurm, job, "RUNNING")
    await asyncio.sleep(2)
    await slurm.run("scontrol", "requeue", str(requeued))
    await slurm.run("scancel", str(killed), str(never))
    await asyncio.sleep(3)  # the node refuses a second start within the second of the kill
    await run_again(slurm, requeued)
    await asyncio.sleep(1)
    await slurm.run("scancel", str(requeued))
    for job in (completed, with_gpus, killed):
        await until_recorded(slurm, job)
    await until_recorded(slurm, requeued, attempts=2)

    jobs = await jobs_of(scheduler, account, since)
    assert len(jobs) == 5  # the requeued one ran twice, the one that never began is none
    assert sums(jobs, "cpu") == await hand_sum(slurm, account)
    (gpu_job,) = [job for job in jobs if "gpu" in job.allocated]
    assert gpu_job.allocated["gpu"] == 3
    assert gpu_job.allocated["memory"] == 2 * 1024  # MiB, by the partition's default for each CPU
    assert {job.state for job in jobs} == {"COMPLETED", "CANCELLED", "REQUEUED"}
    assert not any(job.running for job in jobs)


async def test_a_running_job_counts_up_to_the_read(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    await scheduler.observe(cluster)
    job_id = await slurm.submit(account, "alice", cpus=3, minutes=4, seconds=100)
    await until_job(slurm, job_id, "RUNNING")

    async def recorded() -> bool:
        return bool(await jobs_of(scheduler, account, int(time.time()) - 60))

    await until(recorded, "the job's record is in the database")
    read = await scheduler.usage(int(time.time()) - 3600)
    (job,) = [job for job in read.jobs if job.account == account]
    assert job.running
    assert job.limit_seconds == 240
    assert job.start < job.end <= read.time + 1
    assert read.watermark is not None
    assert read.watermark <= read.time
    await slurm.run("scancel", str(job_id))


async def test_time_in_suspension_is_not_use(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    job_id = await slurm.submit(account, "alice", cpus=3, minutes=4, seconds=100)
    await until_job(slurm, job_id, "RUNNING")
    await slurm.run("scontrol", "suspend", str(job_id))
    await asyncio.sleep(3)
    await slurm.run("scontrol", "resume", str(job_id))
    await slurm.run("scancel", str(job_id))
    await until_recorded(slurm, job_id)
    (job,) = await jobs_of(scheduler, account, int(time.time()) - 3600)
    assert job.suspended_seconds >= 2
    assert Counter({"alice": job.cost("cpu")}) == await hand_sum(slurm, account)


async def test_a_job_that_the_node_lost_is_refunded(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    job_id = await slurm.submit(account, "alice", cpus=3, minutes=4, seconds=100, extra=["--no-requeue"])
    await until_job(slurm, job_id, "RUNNING")
    node = f"nodename={slurm.cluster}-host"
    await slurm.run("scontrol", "update", node, "state=down", "reason=test")
    await until_recorded(slurm, job_id)
    await slurm.run("scontrol", "update", node, "state=resume", check=False)  # it may have come back by itself
    (job,) = await jobs_of(scheduler, account, int(time.time()) - 3600)
    assert job.state == "NODE_FAIL"
    assert job.refunded
    await until_job(slurm, await slurm.submit(account, "alice"), "COMPLETED")


@pytest.mark.parametrize("hours", [1, 24])
async def test_windows_count_each_attempt_once(
    slurm: Slurm, cluster: ClusterSettings, open_account: OpenAccount, tmp_path: Path, hours: int
) -> None:
    account = await open_account()
    job_id = await slurm.submit(account, "alice", cpus=2, seconds=1)
    await until_recorded(slurm, job_id)
    settings = settings_of(slurm, window_hours=hours)
    scheduler = PLUGIN.connect(settings, tmp_path)
    (job,) = await jobs_of(scheduler, account, int(time.time()) - 6 * 3600)
    assert Counter({"alice": job.cost("cpu")}) == await hand_sum(slurm, account)


async def test_a_free_qos_costs_nothing(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    await slurm.run("sacctmgr", "-i", "add", "qos", "name=half", "UsageFactor=0.5")
    await slurm.run("sacctmgr", "-i", "modify", "account", "where", f"name={account}", "set", "qos+=half")
    job_id = await slurm.submit(account, "alice", cpus=2, seconds=2, extra=["--qos=half"])
    await until_recorded(slurm, job_id)
    (job,) = await jobs_of(scheduler, account, int(time.time()) - 3600)
    assert job.factor_thousandths == 500
    assert job.cost("cpu") * 2 == (await hand_sum(slurm, account))["alice"]

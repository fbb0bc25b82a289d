"""A scaled slice of the log as real jobs on the real Slurm."""

import gzip
from dataclasses import dataclass
from pathlib import Path

from bursar_local.demo.books import PROCESSORS, RUN_TIME, USER, accounts_of
from bursar_local.slurm import Slurm

CPUS_PER_PROCESSOR = 3
MOST_CPUS = 96
SECONDS_DIVISOR = 20
LEAST_SECONDS, MOST_SECONDS = 3, 20
LIMIT_MINUTES = 1
PENDING_REASON = "AssocGrpCPUMinutesLimit"


@dataclass(frozen=True, slots=True)
class Job:
    """One job of the slice: who, what for, how wide, how long."""

    account: str
    user: str
    cpus: int
    seconds: int


def slice_of(log: Path, users_table: Path, wanted: dict[str, int], scarce: str) -> list[Job]:
    """The first jobs of the log for each account, as many as ``wanted`` says; processors and run times scaled.

    Of the ``scarce`` account only jobs are taken whose time limit takes most of its grant, so that the second has to wait.
    """
    accounts = accounts_of(users_table)
    left = dict(wanted)
    found: list[Job] = []
    with gzip.open(log, "rt", encoding="ascii") as lines:
        for line in lines:
            if line.startswith(";") or not any(left.values()):
                continue
            fields = line.split()
            run_time, processors, account = int(fields[RUN_TIME]), int(fields[PROCESSORS]), accounts.get(fields[USER], "")
            if run_time < LEAST_SECONDS or processors < 4 or not left.get(account):
                continue
            if account == scarce and (processors != 16 or run_time < SECONDS_DIVISOR * MOST_SECONDS):
                continue
            left[account] -= 1
            seconds = max(LEAST_SECONDS, min(MOST_SECONDS, run_time // SECONDS_DIVISOR))
            found.append(Job(account, f"u{fields[USER]}", min(MOST_CPUS, processors * CPUS_PER_PROCESSOR), seconds))
    # The scarce project's first, so that its story does not wait for everybody's jobs.
    return sorted(found, key=lambda job: job.account != scarce)


async def submit_all(slurm: Slurm, jobs: list[Job]) -> dict[int, Job]:
    """Submit every job as its user: job id -> job."""
    ids: dict[int, Job] = {}
    for job in jobs:
        number = await slurm.submit(job.account, job.user, cpus=job.cpus, minutes=LIMIT_MINUTES, seconds=job.seconds)
        ids[number] = job
    return ids


async def queue(slurm: Slurm) -> list[tuple[int, str, str]]:
    """What waits or runs: job id, state, reason."""
    text = await slurm.run("squeue", "-h", "-a", "-o", "%i|%T|%r")
    rows = [line.strip().split("|") for line in text.splitlines() if line.strip()]
    return [(int(number), state, reason) for number, state, reason in rows]


async def records(slurm: Slurm, cluster: str) -> str:
    """`sacct`'s records of everything that ran, for the independent sum."""
    columns = "account,alloccpus,elapsedraw"
    return await slurm.run("sacct", "-M", cluster, "-a", "-X", "-D", "-P", "-n", "-S", "2000-01-01", "-o", columns)

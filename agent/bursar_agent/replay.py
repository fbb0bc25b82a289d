"""Book a job log with no control plane: every job goes through the same slots that an agent reports."""

from pathlib import Path
from typing import TypedDict

from bursar_agent import books
from bursar_agent.swf import Log, LogJob
from bursar_domain.buckets import JobUse, slots_of

CPU = "cpu"


class AccountTotals(TypedDict):
    """One account: processor seconds in all and by user."""

    cpu_seconds: int
    users: dict[str, int]


class ReplayResult(TypedDict):
    """What `replay` writes: jobs booked, lines skipped, processor seconds, and the accounts."""

    jobs: int
    skipped: int
    seconds: int
    accounts: dict[str, AccountTotals]


def job_use(job: LogJob, unix_start: int) -> JobUse:
    """The job as the books take it: account = group, user = user, cpu = allocated processors."""
    start = unix_start + job.start
    return JobUse(
        key=f"{job.number}/{job.line}",
        account=job.group,
        user=job.user,
        start=start,
        end=start + job.seconds,
        allocated={CPU: job.processors},
    )


def book(log: Log) -> ReplayResult:
    """The books of a log; exact integers."""
    jobs = [job for job in log.jobs if job.bookable]
    found = books.totals(slots_of(job_use(job, log.unix_start) for job in jobs), CPU)
    found = books.mention(found, ((job.group, job.user) for job in jobs))
    return ReplayResult(
        jobs=len(jobs),
        skipped=log.skipped,
        seconds=sum(use.seconds for use in found.values()),
        accounts={name: _totals(found[name]) for name in sorted(found, key=_numeric)},
    )


def _totals(use: books.AccountUse) -> AccountTotals:
    return AccountTotals(cpu_seconds=use.seconds, users={user: use.users[user] for user in sorted(use.users, key=_numeric)})


def _numeric(name: str) -> tuple[int, str]:
    return int(name), name


def problems(log: Log, path: Path) -> list[str]:
    """Sentences about what could not be booked, for people; the single lines were reported as they were met."""
    found = []
    empty = sum(not job.bookable for job in log.jobs)
    if log.faults:
        found.append(f"{path}: {len(log.faults)} garbled lines were skipped")
    if empty:
        found.append(f"{path}: {empty} jobs without a run time or processors were skipped")
    if log.truncated:
        found.append(f"{path}: the compressed data breaks off; what came before was booked. Fetch the log again")
    return found

"""Book a job log with no control plane: every job goes through the same slots that an agent reports."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
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


def book(jobs: Iterable[LogJob], log: Log) -> ReplayResult:
    """The books of a log that is read meanwhile; exact integers. What stays in memory are the slots, not the jobs."""
    seen = _Seen()
    found = books.mention(books.totals(slots_of(seen.uses(jobs, log)), CPU), seen.names)
    return ReplayResult(
        jobs=seen.jobs,
        skipped=log.skipped,
        seconds=sum(use.seconds for use in found.values()),
        accounts={name: _totals(found[name]) for name in sorted(found, key=_numeric)},
    )


@dataclass(slots=True)
class _Seen:
    """What came by: how many jobs, and who had any (account, user), be it of no use."""

    jobs: int = 0
    names: set[tuple[str, str]] = field(default_factory=set)

    def uses(self, jobs: Iterable[LogJob], log: Log) -> Iterator[JobUse]:
        unix_start = 0
        for job in jobs:
            if not self.jobs:
                unix_start = log.unix_start
            self.jobs += 1
            self.names.add((job.group, job.user))
            yield job_use(job, unix_start)


def _totals(use: books.AccountUse) -> AccountTotals:
    return AccountTotals(cpu_seconds=use.seconds, users={user: use.users[user] for user in sorted(use.users, key=_numeric)})


def _numeric(name: str) -> tuple[int, str]:
    return int(name), name


def problems(log: Log, path: Path) -> list[str]:
    """Sentences about what could not be booked, for people; the single lines were reported as they were met."""
    found = []
    if log.faults:
        found.append(f"{path}: {log.faults} garbled lines were skipped")
    if log.unbookable:
        found.append(f"{path}: {log.unbookable} jobs without a run time or processors were skipped")
    if log.truncated:
        found.append(f"{path}: the compressed data breaks off; what came before was booked. Fetch the log again")
    return found

"""A job log as jobs of the simulated machine, shifted in time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog

from bursar_agent import swf
from bursar_agent.schedulers.simulator.jobs import Job
from bursar_agent.schedulers.simulator.settings import SimulatorSettings, read_users

LOGGER = structlog.get_logger(__name__)


class BadTrace(ValueError):
    """The log and the table of users do not fit together."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Jobs in order of submission with times relative to the log's start; ``seconds`` from there to the last end."""

    jobs: Sequence[Job]
    skipped: int
    seconds: int

    def shifted(self, start: int) -> list[Job]:
        """The jobs as if the log's second 0 were ``start``."""
        return [
            Job(start + job.submit, job.number, job.user, job.account, job.held, job.seconds, job.limit) for job in self.jobs
        ]


EMPTY = Trace((), 0, 0)


def load(settings: SimulatorSettings) -> Trace:
    """The log of the settings; empty where there is none."""
    if settings.log is None:
        return EMPTY
    log = swf.Log()
    bookable = list(
        swf.read(settings.log, log, lambda fault: LOGGER.warning("a line of the job log is skipped", reason=str(fault)))
    )
    users = read_users(settings.users_table) if settings.users_table else None
    unique = len({job.number for job in bookable}) == len(bookable)
    jobs = [_job(job.number if unique else index, job, users) for index, job in enumerate(bookable, 1)]
    end = max((job.submit + job.seconds for job in jobs), default=0)
    return Trace(sorted(jobs), log.skipped, end)


def _job(number: int, job: swf.LogJob, users: Mapping[str, tuple[str, str]] | None) -> Job:
    user, account = _names(job, users)
    limit = max(job.seconds, job.limit or 0)
    return Job(job.start, number, user, account, {"cpu": job.processors}, job.seconds, limit)


def _names(job: swf.LogJob, users: Mapping[str, tuple[str, str]] | None) -> tuple[str, str]:
    if users is None:
        return f"u{job.user.lstrip('-')}", f"g{job.group.lstrip('-')}"
    if job.user not in users:
        raise BadTrace(f"log user {job.user} (line {job.line}) is not in the table of users; add a row for it")
    return users[job.user]

"""A job log as jobs of the simulated machine, shifted in time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from sys import intern

import structlog

from bursar_agent import swf
from bursar_agent.schedulers.simulator.jobs import Job
from bursar_agent.schedulers.simulator.settings import SimulatorSettings, read_users

LOGGER = structlog.get_logger(__name__)


class BadTrace(ValueError):
    """The log and the table of users do not fit together."""


@dataclass(frozen=True, slots=True)
class Trace:
    """A log's jobs with times relative to its start; ``seconds`` from there to the last end."""

    records: Sequence[swf.LogJob]
    skipped: int
    seconds: int
    users: Mapping[str, tuple[str, str]] | None = None

    def jobs(self, start: int) -> Iterator[Job]:
        """The jobs as if the log's second 0 were ``start``."""
        unique = len({record.number for record in self.records}) == len(self.records)
        held: dict[int, Mapping[str, int]] = {}  # one for all jobs of a size: they are many
        for index, record in enumerate(self.records, 1):
            user, account = _names(record, self.users)
            size = held.setdefault(record.processors, {"cpu": record.processors})
            limit = max(record.seconds, record.limit or 0)
            number = record.number if unique else index
            yield Job(start + record.start, number, user, account, size, record.seconds, limit)


EMPTY = Trace((), 0, 0)


def load(settings: SimulatorSettings) -> Trace:
    """The log of the settings; empty where there is none."""
    if settings.log is None:
        return EMPTY
    log = swf.Log()
    found = swf.read(settings.log, log, lambda fault: LOGGER.warning("a line of the job log is skipped", reason=str(fault)))
    records = list(found)
    users = read_users(settings.users_table) if settings.users_table else None
    end = max((record.start + record.seconds for record in records), default=0)
    return Trace(records, log.skipped, end, users)


def _names(job: swf.LogJob, users: Mapping[str, tuple[str, str]] | None) -> tuple[str, str]:
    if users is None:
        return intern(f"u{job.user.lstrip('-')}"), intern(f"g{job.group.lstrip('-')}")
    if job.user not in users:
        raise BadTrace(f"log user {job.user} (line {job.line}) is not in the table of users; add a row for it")
    return users[job.user]

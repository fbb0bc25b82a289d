"""Schedulers that have job records and nothing else."""

from collections.abc import Sequence
from dataclasses import replace

from bursar_agent.schedulers.base import AccountChange, Observation, Outcome, Readiness, SchedulerUnavailable, UsageRead
from bursar_domain.buckets import JobUse
from bursar_domain.wire import ClusterSettings


class NothingElse:
    """Base of a fake feed of job records; whatever else is asked of the scheduler fails."""

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """The records, by whoever inherits."""
        raise NotImplementedError

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        """Not here."""
        raise SchedulerUnavailable

    async def observe(self, settings: ClusterSettings) -> Observation:
        """Not here."""
        raise SchedulerUnavailable

    async def apply(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[Outcome]:
        """Not here."""
        raise SchedulerUnavailable

    def render(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[str]:
        """Nothing."""
        return []

    async def close(self) -> None:
        """Nothing is open."""


class JobRecords(NothingElse):
    """Job records up to ``now``; remembers what was asked for, in ``reads`` as seconds from the beginning on."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self.jobs: list[JobUse] = []
        self.now = begin
        self.complete = True
        self.bad_rows = 0
        self.reads: list[int] = []
        self.slices: list[tuple[int, int]] = []

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """Those that overlap."""
        self.reads.append(since - self._begin)
        if until is not None:
            self.slices.append((since, until))
        last = self.now if until is None else until
        found = [self._cut(job) for job in self.jobs if job.start < last and (job.end > since or job.running)]
        return UsageRead(self.now, since, found, self.now if self.complete else None, self.bad_rows)

    def _cut(self, job: JobUse) -> JobUse:
        return replace(job, end=self.now, running=True, state="RUNNING") if job.end > self.now else job

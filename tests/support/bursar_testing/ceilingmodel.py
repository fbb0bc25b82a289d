"""A tiny scheduler with `safe`, a counter that lags and gets lost, and records that come late. One account, one resource."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bursar_agent.schedulers.base import (
    AccountChange,
    AccountView,
    Observation,
    Outcome,
    Readiness,
    Reading,
    SchedulerUnavailable,
    UsageRead,
)
from bursar_domain.buckets import JobUse
from bursar_domain.units import MINUTE
from bursar_domain.wire import ClusterSettings

ACCOUNT: Final = "aa"
CAPACITY: Final = 16
NONE: Final = -1


@dataclass(slots=True)
class ModelJob:
    """A job that started. ``end`` is when it ends by itself; ``failed`` when the machine ended it."""

    number: int
    cpus: int
    start: int
    limit: int
    end: int
    failed: bool = False

    def used(self, begin: int, until: int) -> int:
        """Unit-seconds between two times."""
        return self.cpus * max(0, min(self.end, until) - max(self.start, begin))


class ModelScheduler:
    """Implements the scheduler interface; nothing in it ever waits. ``period``: how often counter and remainder move."""

    def __init__(self, now: int, period: int) -> None:
        self.now, self.period = now, period
        self.jobs: list[ModelJob] = []
        self.limit: int | None = None
        self.wall: int | None = None
        self.forgotten = 0  # unit-seconds that the counter no longer shows
        self.frozen: int | None = None  # records of jobs that started since are not there yet
        self.is_away = False
        self.forgets_refunds = False  # a fault to be found
        self.exists = False
        self.writes = 0

    # What happens on it

    @property
    def tick(self) -> int:
        """When counters were last brought up to date."""
        return self.now - self.now % self.period if self.period else self.now

    @property
    def running(self) -> list[ModelJob]:
        """Jobs that run."""
        return [job for job in self.jobs if job.end > self.now]

    @property
    def in_use(self) -> int:
        """Units in use."""
        return sum(job.cpus for job in self.running)

    def counter(self, *, exact: bool = False) -> int:
        """Unit-seconds: what ended jobs used, and running ones up to the last tick (or to now)."""
        at = self.now if exact else self.tick
        return sum(job.used(0, self.now if job.end <= self.now else at) for job in self.jobs) - self.forgotten

    def remainder(self) -> int:
        """Unit-seconds that running jobs may still use, as of the last tick."""
        return sum(job.cpus * (job.start + job.limit - max(self.tick, job.start)) for job in self.running)

    def submit(self, cpus: int, limit: int, seconds: int) -> bool:
        """Start a job if `safe` lets it."""
        need = cpus * limit
        if not self.exists or self.in_use + cpus > CAPACITY:
            return False
        if self.limit is not None and self.counter() + self.remainder() + need > self.limit * MINUTE:
            return False
        if self.wall is not None and self.remainder() + need > self.wall * MINUTE:
            return False
        self.jobs.append(ModelJob(len(self.jobs), cpus, self.now, limit, self.now + min(seconds, limit)))
        return True

    def fail(self, which: int) -> None:
        """A node fails under a running job."""
        running = self.running
        if running:
            job = running[which % len(running)]
            job.end, job.failed = self.now, True

    def lose(self, keep_percent: int) -> None:
        """The counter falls to a part of what it was."""
        self.forgotten += self.counter() * (100 - keep_percent) // 100

    # The scheduler interface

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        """Everything is well."""
        return Readiness("model", "1", (), ())

    async def observe(self, settings: ClusterSettings) -> Observation:
        """Counter, remainder and limits, whole minutes rounded down."""
        if self.is_away:
            raise SchedulerUnavailable("away")
        counter, running = self.counter() // MINUTE, self.remainder() // MINUTE
        reading = Reading(limit=self.limit, run_minutes_limit=self.wall, counter=counter, running=running)
        view = AccountView(ACCOUNT, True, "bursar", {"cpu": reading}, frozenset({"ann"}))
        root = AccountView("bursar", True, "root", {"cpu": Reading(limit=None)})
        return Observation(self.now, {ACCOUNT: view} if self.exists else {}, root)

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """Records of all jobs that started before they froze."""
        frozen = self.now + 1 if self.frozen is None else self.frozen
        known = [job for job in self.jobs if job.start < min(frozen, self.now + 1 if until is None else until)]
        uses = [self._use(job) for job in known if job.end >= since]
        return UsageRead(self.now, since, uses, self.now if self.frozen is None else None)

    def _use(self, job: ModelJob) -> JobUse:
        runs = job.end > self.now
        state = "RUNNING" if runs else "NODE_FAIL" if job.failed and not self.forgets_refunds else "COMPLETED"
        end = self.now if runs else job.end
        return JobUse(
            str(job.number), ACCOUNT, "ann", job.start, end, {"cpu": job.cpus}, state, running=runs, limit_seconds=job.limit
        )

    async def apply(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[Outcome]:
        """Write what concerns the account; the wall around all is not modelled."""
        for change in changes:
            if change.account == ACCOUNT:
                self.exists = True
                self.limit = _written(self.limit, change.limits.get("cpu"))
                self.wall = _written(self.wall, change.run_minutes.get("cpu"))
                self.writes += 1
        return [Outcome(change.account, True) for change in changes]

    def render(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[str]:
        """Nothing to show."""
        return []

    async def close(self) -> None:
        """Nothing to let go of."""


def _written(before: int | None, value: int | None) -> int | None:
    return before if value is None else None if value == NONE else value

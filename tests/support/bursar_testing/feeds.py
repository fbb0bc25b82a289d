"""Schedulers that have job records and nothing else."""

from collections.abc import Sequence

from bursar_agent.schedulers.base import AccountChange, Observation, Outcome, Readiness, SchedulerUnavailable, UsageRead
from bursar_domain.wire import ClusterSettings


class NothingElse:
    """Base of a fake feed of job records; whatever else is asked of the scheduler fails."""

    async def usage(self, since: int) -> UsageRead:
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

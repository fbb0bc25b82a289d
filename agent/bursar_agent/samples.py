"""Counter samples of the scheduler, kept since the last complete read of job records."""

from collections.abc import Iterable, Mapping

from bursar_agent.schedulers.base import Observation, Reading
from bursar_domain import ceiling
from bursar_domain.ceiling import Sample
from bursar_domain.wire import TrackedResource

LONGEST = 500


class Samples:
    """(account, TRES) -> readings of its counter, oldest first."""

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], list[Sample]] = {}

    def take(self, observation: Observation, resources: Iterable[TrackedResource], accounts: Iterable[str]) -> None:
        """Add one observation; an account that is not desired any more has no series."""
        names = [resource.trackable for resource in resources]
        series: dict[tuple[str, str], list[Sample]] = {}
        for account in accounts:
            view = observation.accounts.get(account)
            for name in names:
                reading = view.readings.get(name, Reading()) if view else Reading()  # one that is made now begins at 0
                kept = self.series.get((account, name), [])
                kept.append(Sample(observation.time, reading.counter))
                series[account, name] = kept if len(kept) <= LONGEST else [kept[0], *kept[-LONGEST // 2 :]]
        self.series = series

    @property
    def is_any_lost(self) -> bool:
        """Whether a counter is lower than it was at the observation before."""
        return any(len(kept) > 1 and kept[-1].minutes < kept[-2].minutes for kept in self.series.values())

    def is_any_sparse(self, watermark: int | None, seconds: float) -> bool:
        """Whether a counter was not looked at often enough since the watermark to prove anything."""
        if watermark is None:
            return True
        return any(ceiling.widest_gap(kept[-2:], watermark) > seconds for kept in self.series.values())

    def forget_before(self, watermark: int) -> None:
        """Keep the last sample at or before the watermark, and everything after it."""
        for key, kept in self.series.items():
            first = max((index for index, sample in enumerate(kept) if sample.at <= watermark), default=0)
            if first:
                self.series[key] = kept[first:]

    def view(self) -> Mapping[tuple[str, str], list[Sample]]:
        """For the plan."""
        return self.series

"""Counter samples of the scheduler, kept since the last complete read of job records."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from bursar_agent.schedulers.base import Observation, Reading
from bursar_domain import ceiling
from bursar_domain.ceiling import Sample
from bursar_domain.wire import TrackedResource

LONGEST = 500


class Samples:
    """(account, TRES) -> readings of its counter, oldest first.

    In limit mode QOS the account's own counter may decay. There its series is a count of our own: what the counters of its
    QOSes grew by, each with its own falls, or what the account's grew by where that is more. The QOSes' counters have series
    too, by (QOS, TRES). ``has_begun_anew``: the mode is another than at the observation before, so nothing is known of it.
    """

    def __init__(self) -> None:
        self.series: dict[tuple[str, str], list[Sample]] = {}
        self._counters: dict[tuple[str, str], int] = {}
        self._has_qoses = False
        self.has_begun_anew = False

    def take(
        self,
        observation: Observation,
        resources: Sequence[TrackedResource],
        accounts: Iterable[str],
        qoses: Mapping[str, Collection[str]] | None = None,
    ) -> None:
        """Add one observation; an account that is not desired any more has no series. ``qoses``: those of each account."""
        self.has_begun_anew = self._has_qoses != (qoses is not None)
        if self.has_begun_anew:
            self.series, self._counters, self._has_qoses = {}, {}, qoses is not None
        series: dict[tuple[str, str], list[Sample]] = {}
        counters: dict[tuple[str, str], int] = {}
        for account in accounts:
            view = observation.accounts.get(account)
            for resource in resources:
                key = account, resource.trackable
                reading = view.readings.get(resource.trackable, Reading()) if view else Reading()  # a new one begins at 0
                counters[key] = reading.counter
                if qoses is not None:
                    self._take_qoses(observation, resource, qoses.get(account, ()), series)
                    minutes = self._count(key, reading.counter, resource, qoses.get(account, ()), series)
                else:
                    minutes = reading.counter
                series[key] = _longer(self.series.get(key, ()), Sample(observation.time, minutes))
        self.series, self._counters = series, counters

    def _take_qoses(
        self,
        observation: Observation,
        resource: TrackedResource,
        names: Iterable[str],
        series: dict[tuple[str, str], list[Sample]],
    ) -> None:
        for name in names:
            key, view = (name, resource.trackable), (observation.qoses or {}).get(name)
            if view is not None or key in self.series:
                reading = view.readings.get(resource.trackable, Reading()) if view else Reading()
                series[key] = _longer(self.series.get(key, ()), Sample(observation.time, reading.counter))

    def _count(
        self,
        key: tuple[str, str],
        counter: int,
        resource: TrackedResource,
        names: Iterable[str],
        series: Mapping[tuple[str, str], Sequence[Sample]],
    ) -> int:
        """The account's count after this observation; a QOS that was not there before began at 0."""
        before = self.series.get(key)
        if not before:
            return counter
        found = (series[name, resource.trackable] for name in names if (name, resource.trackable) in series)
        since = before[-1].at
        pairs = (own[-2:] if len(own) > 1 else [Sample(since, 0), *own] for own in found)
        grown = sum(ceiling.growth(pair, since, resource.capacity) for pair in pairs)
        return before[-1].minutes + max(grown, counter - self._counters[key])

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


def _longer(kept: Sequence[Sample], sample: Sample) -> list[Sample]:
    """The series with one more; of a very long one the first and the latest half."""
    found = [*kept, sample]
    return found if len(found) <= LONGEST else [found[0], *found[-LONGEST // 2 :]]

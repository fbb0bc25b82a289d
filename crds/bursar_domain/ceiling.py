"""The ceiling: the limit that lets exactly the hours that are left run, whatever the scheduler's counter says.

All figures are TRES-minutes except where a name says seconds. The formulas are those of `docs/explanation/ceilings.md`.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bursar_domain.units import MINUTE

FLOOR = 1
UNLIMITED = -1


class Sample(NamedTuple):
    """A reading of the scheduler's cumulative counter: epoch seconds, minutes."""

    at: int
    minutes: int


class Child(NamedTuple):
    """What a child adds to its parent's wall: limit, counter and running remainder."""

    limit: int
    counter: int
    running: int


@dataclass(frozen=True, slots=True)
class Reading:
    """One resource of one account in one cycle.

    ``counter`` comes from the same call as ``in_force`` (at t0); ``left_*`` are unit-seconds of all active allocations,
    grace included: ``left_now`` counts use up to the later read of the records (t1), ``left_then`` up to t0.
    ``lag_seconds`` is use that the counter does not show yet; ``behind_seconds`` bounds what is left while the job feed is late
    (`None`: the feed is current).
    """

    counter: int
    left_now: int
    left_then: int
    in_force: int | None = None
    lag_seconds: int = 0
    behind_seconds: int | None = None
    force: bool = False
    unit: int = 1


def growth(samples: Sequence[Sample], since: int, capacity: int) -> int:
    """Counter growth after the last sample at or before ``since``; a fall counts the new value and a full machine's work."""
    return sum(minutes for _, _, minutes in growths(samples, since, capacity))


def growths(samples: Sequence[Sample], since: int, capacity: int) -> Iterator[tuple[Sample, Sample, int]]:
    """The same by pairs of samples."""
    for before, after in _pairs(samples, since):
        if after.minutes >= before.minutes:
            yield before, after, after.minutes - before.minutes
        else:
            yield before, after, after.minutes + capacity * (after.at - before.at) // MINUTE


def widest_gap(samples: Sequence[Sample], since: int) -> int:
    """The longest pause between two samples from the last one at or before ``since`` on."""
    return max((after.at - before.at for before, after in _pairs(samples, since)), default=0)


def _pairs(samples: Sequence[Sample], since: int) -> Iterator[tuple[Sample, Sample]]:
    first = max((i for i, sample in enumerate(samples) if sample.at <= since), default=0)
    return zip(samples[first:], samples[first + 1 :], strict=False)


def lag(running_minutes: int, running_records_seconds: int, recent_use_seconds: int) -> int:
    """Unit-seconds of use that the running remainder shows and the counter does not yet; never above the recent use."""
    return max(0, min(MINUTE * running_minutes - running_records_seconds, recent_use_seconds))


def limit(reading: Reading) -> int:
    """The limit to have: the one in force while it lies inside the band, else the exact one, in TRES-minutes."""
    low = lowest(reading)
    in_force = reading.in_force
    if in_force is None or in_force < FLOOR or reading.force:
        return low
    band = 3 + min(60 * reading.unit, (low - reading.counter) // 20)
    return in_force if low - band <= in_force <= _highest(reading) else low


def lowest(reading: Reading) -> int:
    """`lo`: the counter plus what is left, floored, at least 1 (a limit of 0 would block free jobs too)."""
    return max(FLOOR, reading.counter + max(0, _capped(reading.left_now, reading) // MINUTE))


def _highest(reading: Reading) -> int:
    room = max(0, -(-_capped(reading.left_then + reading.lag_seconds, reading) // MINUTE))
    return max(FLOOR, reading.counter + room) + 2


def _capped(seconds: int, reading: Reading) -> int:
    return seconds if reading.behind_seconds is None else min(seconds, reading.behind_seconds)


def run_minutes_wall(limit_minutes: int, counter: int, in_force: int | None) -> int:
    """`GrpTRESRunMins`: what may run at once, kept inside [1, 1.25] times the head-room: a lost counter then frees little."""
    room = max(FLOOR, limit_minutes - counter)
    if in_force is not None and room <= in_force <= room + room // 4:
        return in_force
    return room


def parent(counter: int, children: Iterable[Child], in_force: int | None = None) -> int:
    """The root account's wall: its counter plus every child's head-room or running remainder; lowered only past 5 %."""
    exact = counter + sum(max(child.limit - child.counter, child.running) for child in children)
    if in_force is not None and exact <= in_force and (in_force - exact) * 20 <= in_force:
        return in_force
    return max(FLOOR, exact)

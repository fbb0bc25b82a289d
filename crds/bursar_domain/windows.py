"""Windows: a period cut at the calendar boundaries of a time zone, and hours shared out over them by seconds."""

from collections.abc import Sequence
from datetime import MAXYEAR, datetime
from itertools import pairwise
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from bursar_domain.units import QUARTER

MONTHS: Final = {"Month": 1, "Quarter": 3, "HalfYear": 6, "Year": 12}
MOST_WINDOWS: Final = 600


class Span(NamedTuple):
    """Half open ``[start, end)`` in epoch seconds."""

    start: int
    end: int

    @property
    def seconds(self) -> int:
        """Length."""
        return self.end - self.start


class WindowError(ValueError):
    """A recurrence that can't be cut: an unknown zone, a boundary off the quarter hours, or far too many windows."""


def cut(start: int, end: int, every: str | None, time_zone: str | None) -> tuple[Span, ...]:
    """Windows of ``[start, end)``: at each first of a month, quarter, half-year or year, 0:00 in the zone (default UTC).

    The first and the last one are shorter where the period does not begin or end at a boundary. Where a change of the clocks
    leaves 0:00 out, the boundary is the moment of the change; where 0:00 comes twice, the first.
    """
    if every is None:
        return (Span(start, end),)
    edges = [start, *_boundaries(start, end, MONTHS[every], _zone(time_zone or "UTC")), end]
    return tuple(Span(first, last) for first, last in pairwise(edges))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise WindowError(f"there is no time zone {name}; use a name such as Europe/London, or UTC") from error


def _boundaries(start: int, end: int, months: int, zone: ZoneInfo) -> list[int]:
    first = datetime.fromtimestamp(start, zone)
    index = (first.year * 12 + first.month - 1) // months * months
    found: list[int] = []
    while True:
        index += months
        if index // 12 > MAXYEAR:  # a date of ISO 8601 ends in 9999, and so does the period
            return found
        at = round(datetime(index // 12, index % 12 + 1, 1, tzinfo=zone).timestamp())
        if at >= end:
            return found
        if at % QUARTER:
            raise WindowError(f"a window would begin off the quarter hours in zone {zone.key}; choose another zone")
        if len(found) + 2 > MOST_WINDOWS:
            raise WindowError(f"the period has more than {MOST_WINDOWS} windows; make it shorter or the windows longer")
        if at > start:
            found.append(at)


def shared(total: int, spans: Sequence[Span]) -> list[int]:
    """``total`` shared out by the seconds of the spans, floored; the last one gets what rounding leaves."""
    whole = sum(span.seconds for span in spans)
    shares = [total * span.seconds // whole for span in spans[:-1]]
    return [*shares, total - sum(shares)]

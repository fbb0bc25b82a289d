"""What is kept in memory of one account's slots: 32 bytes for each, and 32 more for each resource in it.

Parallel arrays in order of the hour instead of objects: 10,000 accounts have millions of slots in a year. A slot is nearly
always the last one or one of the last few; what was charged between two boundaries is a sum over a slice.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from bursar_domain.buckets import NOTHING, QUARTERS, Amounts, Quarters, RowKey
from bursar_domain.units import HOUR, QUARTER

Rows = Mapping[RowKey, Amounts]
Spans = dict[str, list[tuple[int, int]]]
_ZEROS = array("q", bytes(8 * QUARTERS))


class Charges:
    """Slots of one account as they were counted. Hours are first seconds."""

    __slots__ = ("_allocated", "_boundaries", "_charged", "_hours", "_prints", "_seqs", "_spans", "_sums")

    def __init__(self) -> None:
        self._hours = array("q")
        self._seqs = array("q")
        self._prints = array("q")
        self._allocated = array("q")
        self._charged: dict[str, array[int]] = {}
        self._boundaries: tuple[int, ...] | None = None
        self._sums: dict[str, list[int]] = {}  # before the first boundary, between the first and the second, …
        self._spans: Spans | None = None

    def __len__(self) -> int:
        return len(self._hours)

    @property
    def first(self) -> int:
        """The first hour of which there is a slot."""
        return self._hours[0]

    @property
    def last(self) -> int:
        """The last hour of which there is a slot."""
        return self._hours[-1]

    def hours(self, since: int, until: int | None = None) -> Sequence[int]:
        """Hours from ``since`` on, to before ``until``, of which there is a slot."""
        return self._hours[self._range(since, until)]

    def allocated(self, since: int, until: int | None = None) -> int:
        """Unit-seconds of all resources allocated in these hours."""
        return sum(self._allocated[self._range(since, until)])

    def _range(self, since: int, until: int | None) -> slice:
        return slice(bisect_left(self._hours, since), None if until is None else bisect_left(self._hours, until))

    def versions(self) -> tuple["array[int]", "array[int]"]:
        """A copy of the hours, and of the numbers of the reads that their slots come from."""
        return self._hours[:], self._seqs[:]

    def seq(self, hour: int) -> int | None:
        """Number of the read that the slot comes from; None where there is no slot."""
        at = self._find(hour)
        return None if at is None else self._seqs[at]

    def differs(self, hour: int, rows: Rows) -> bool:
        """Whether the slot was counted as something else than this."""
        at = self._find(hour)
        return bool(rows) if at is None else self._prints[at] != fingerprint(rows)

    def _find(self, hour: int) -> int | None:
        at = bisect_left(self._hours, hour)
        return at if at < len(self._hours) and self._hours[at] == hour else None

    def put(self, hour: int, seq: int, rows: Rows) -> None:
        """Put a slot in the place of what was counted for it."""
        at = bisect_left(self._hours, hour)
        if at == len(self._hours) or self._hours[at] != hour:
            self._insert(at, hour)
        self._seqs[at], self._prints[at] = seq, fingerprint(rows)
        self._allocated[at] = sum(sum(amounts.allocated) for amounts in rows.values())
        now = _charged(rows)
        for resource in {*now, *self._charged}:
            self._charge(at, resource, now.get(resource, NOTHING))

    def _charge(self, at: int, resource: str, now: Quarters) -> None:
        """Replace four quarters, and keep the sums that were asked for in step."""
        series = self._charged.get(resource)
        if series is None:
            series = self._charged[resource] = array("q", bytes(8 * QUARTERS * len(self._hours)))
        place = slice(at * QUARTERS, (at + 1) * QUARTERS)
        before, series[place] = series[place], array("q", now)
        if self._boundaries is None:
            return
        sums = self._sums.setdefault(resource, [0] * (len(self._boundaries) + 1))
        for index, (old, new) in enumerate(zip(before, now, strict=True)):
            if old != new:
                sums[bisect_right(self._boundaries, self._hours[at] + index * QUARTER)] += new - old
                self._spans = None

    def _insert(self, at: int, hour: int) -> None:
        self._hours.insert(at, hour)
        for column in (self._seqs, self._prints, self._allocated):
            column.insert(at, 0)
        place = slice(at * QUARTERS, at * QUARTERS)
        for series in self._charged.values():
            series[place] = _ZEROS

    def spans(self, boundaries: tuple[int, ...]) -> Spans:
        """What was charged by resource, summed up between boundaries: [(first second, unit-seconds)], zeros left out.

        The first second is the boundary, or that of the first quarter with use for what lies before all of them. Between two
        boundaries the same allocations are active, so the attribution of the sum is that of its quarters. The same object as
        before as long as nothing changed.
        """
        if self._boundaries != boundaries:
            self._boundaries, self._spans = boundaries, None
            cuts = [0, *(self._position(at) for at in boundaries), len(self._hours) * QUARTERS]
            self._sums = {name: _between(series, cuts) for name, series in self._charged.items()}
        if self._spans is None:
            found = {name: list(self._dated(name, sums)) for name, sums in self._sums.items()}
            self._spans = {name: sums for name, sums in found.items() if sums}
        return self._spans

    def _dated(self, resource: str, sums: Sequence[int]) -> Iterator[tuple[int, int]]:
        boundaries = self._boundaries or ()
        if sums[0]:
            index = next(index for index, amount in enumerate(self._charged[resource]) if amount)
            yield self._hours[index // QUARTERS] + index % QUARTERS * QUARTER, sums[0]
        yield from ((at, total) for at, total in zip(boundaries, sums[1:], strict=True) if total)

    def _position(self, boundary: int) -> int:
        """Index of the first quarter at or after the boundary."""
        hour = boundary // HOUR * HOUR
        at = bisect_left(self._hours, hour)
        begun = at < len(self._hours) and self._hours[at] == hour
        return at * QUARTERS + (-(-(boundary - hour) // QUARTER) if begun else 0)


def _between(series: "array[int]", cuts: Sequence[int]) -> list[int]:
    return [sum(series[begin:end]) for begin, end in pairwise(cuts)]


def _charged(rows: Rows) -> dict[str, Quarters]:
    """Four quarters of each resource, refunds taken off."""
    found: dict[str, Quarters] = {}
    for (_, resource), (a, r) in rows.items():
        have = found.get(resource, NOTHING)
        found[resource] = (have[0] + a[0] - r[0], have[1] + a[1] - r[1], have[2] + a[2] - r[2], have[3] + a[3] - r[3])
    return found


def fingerprint(rows: Rows) -> int:
    """64 bits of a slot's content, good within this process."""
    return hash(frozenset(rows.items()))

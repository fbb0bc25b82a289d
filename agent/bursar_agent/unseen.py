"""Use that a counter shows and no record explains yet: when it was, as far as samples tell. Pure.

Cuts part the time since records ended into pieces; which piece a use was in decides who is charged. What grew between two
samples of one piece was used there. What grew across a cut may have been used on either side, and neither is the worse one
by itself: before it, an allocation may not have begun that would be charged after it. But no use, whenever it was, takes more
from what is left now than what was used now, by those who have something left. So it stays adrift, and burdens what is left
now in full.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from bursar_domain import ceiling
from bursar_domain.ceiling import Sample
from bursar_domain.units import MINUTE


@dataclass(frozen=True, slots=True)
class Counter:
    """What is known of one counter. ``lag_seconds``: how much later than the use it may move."""

    samples: Sequence[Sample]
    capacity: int
    lag_seconds: int = 0


@dataclass(frozen=True, slots=True)
class Unseen:
    """Unit-seconds: ``placed`` by a second of their piece, as they are to be folded, and those that are ``adrift``.

    Less than nothing is adrift where records show more than the counter does yet.
    """

    placed: tuple[tuple[int, int], ...]
    adrift: int

    @property
    def total(self) -> int:
        """Everything that no record explains."""
        return self.adrift + sum(amount for _, amount in self.placed)


def find(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """``starts``: the second up to which use is complete, and every cut since; ``known``: what records show of each piece."""
    grown, adrift = _grown(counter, starts)
    more = [growth - amount for growth, amount in zip(grown, known, strict=True)]
    placed = tuple((at, amount) for at, amount in zip(starts, more, strict=True) if amount > 0)
    return Unseen(placed, adrift + sum(amount for amount in more if amount < 0))


def _grown(counter: Counter, starts: Sequence[int]) -> tuple[list[int], int]:
    """Growth by piece, and what can't be put down to one."""
    grown, adrift = [0] * len(starts), 0
    for before, after, minutes in ceiling.growths(counter.samples, starts[0], counter.capacity):
        number = _piece(starts, before.at - counter.lag_seconds, after.at)
        if number is None:
            adrift += MINUTE * minutes
        else:
            grown[number] += MINUTE * minutes
    return grown, adrift


def _piece(starts: Sequence[int], begin: int, end: int) -> int | None:
    """The piece that holds all of a time; what is older than the first is of that, for records explain it."""
    ends = [*(later for _, later in pairwise(starts)), end]
    pieces = enumerate(zip(starts, ends, strict=True))
    return next((number for number, (first, last) in pieces if (first <= begin or not number) and end <= last), None)

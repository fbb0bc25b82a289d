"""Projection: at the rate of the last days, when are the hours used up, and how much will the window have used?

The rate is the account's use over D = min(14 days, age of the unbroken chain of allocations that list the resource); below
24 hours of age nothing is projected.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from bursar_domain.terms import Terms
from bursar_domain.units import DAY, QUARTER

LONGEST: Final = 14 * DAY
SHORTEST: Final = DAY
METHOD: Final = "use of the last {days} days goes on at the same rate; running jobs, holidays and queued work are not looked at"


@dataclass(frozen=True, slots=True)
class Rate:
    """``amount`` unit-seconds were used in ``seconds``."""

    amount: int
    seconds: int

    @property
    def per_day(self) -> int:
        """Unit-seconds a day, rounded down."""
        return self.amount * DAY // self.seconds

    def over(self, seconds: int) -> int:
        """Unit-seconds that as many seconds will use, rounded up."""
        return -(-self.amount * max(0, seconds) // self.seconds)

    def in_words(self) -> str:
        """How the projection is made, for people."""
        return METHOD.format(days=max(1, round(self.seconds / DAY)))


def since(terms: Iterable[Terms], resource: str, now: int) -> int | None:
    """From which quarter on use makes the rate; None while the chain of allocations is younger than a day."""
    begin = now
    for item in sorted(terms, key=lambda item: item.active_until, reverse=True):
        if resource in item.resources and item.start < begin <= item.active_until:
            begin = item.start
    age = min(LONGEST, now - begin)
    return (now - age) // QUARTER * QUARTER if age >= SHORTEST else None


def rate(used: int, since: int | None, now: int) -> Rate | None:
    """The rate of what was used between ``since`` and ``now``; None where that is unknown."""
    return None if since is None or now <= since else Rate(used, now - since)


def exhaustion(left: int, rate: Rate | None, now: int, end: int, before: int = 0) -> int | None:
    """Second at which ``left`` is used up, ``now`` where it is already; None where it lasts to ``end`` or nobody knows.

    ``before``: what is used of others before any of it is.
    """
    if left <= 0:
        return now
    if rate is None or rate.amount <= 0:
        return None
    at = now + (before + left) * rate.seconds // rate.amount
    return at if at < end else None

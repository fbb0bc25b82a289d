"""Balances: what each allocation of one account was granted, used and has left. Operator, gateway and agent all call this."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from bursar_domain.attribution import UNFUNDED, Share, attribute
from bursar_domain.units import hours_left, hours_used, seconds_from_hours


@dataclass(frozen=True, slots=True)
class Grant:
    """One allocation as the balance needs it: ``hours`` per resource, active in ``[start, end)`` (epoch seconds)."""

    uid: str
    start: int
    end: int
    hours: Mapping[str, int]


@dataclass(slots=True)
class Balance:
    """Unit-seconds per resource of one allocation."""

    uid: str
    granted: dict[str, int] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    overdraft: dict[str, int] = field(default_factory=dict)

    def left(self, resource: str) -> int:
        """Granted less used and overdrawn; negative where more was used than granted."""
        return self.granted.get(resource, 0) - self.used.get(resource, 0) - self.overdraft.get(resource, 0)

    def booked(self) -> dict[str, int]:
        """Unit-seconds used, overdraft included."""
        return {name: self.used.get(name, 0) + self.overdraft.get(name, 0) for name in self.granted}

    def used_hours(self) -> dict[str, int]:
        """Whole hours used, rounded up."""
        return {name: hours_used(name, amount) for name, amount in self.booked().items()}

    def available_hours(self) -> dict[str, int]:
        """Whole hours left, rounded down, never below zero."""
        return {name: max(0, hours_left(name, self.left(name))) for name in self.granted}


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """All allocations of one account, and use that no allocation covers (``unfunded``, unit-seconds)."""

    allocations: Mapping[str, Balance]
    unfunded: Mapping[str, int]

    def left_at(self, at: int, grants: Sequence[Grant], resource: str) -> int:
        """Unit-seconds left over the allocations active at ``at`` that list the resource (debts of one reduce the sum)."""
        active = (g for g in grants if g.start <= at < g.end and resource in g.hours)
        return sum(self.allocations[g.uid].left(resource) for g in active)


def balance(grants: Sequence[Grant], quarters: Mapping[str, Iterable[tuple[int, int]]]) -> AccountBalance:
    """Put an account's use (resource -> quarters of (first second, unit-seconds charged)) down to its allocations."""
    balances = {grant.uid: Balance(grant.uid) for grant in grants}
    unfunded: dict[str, int] = {}
    for resource in sorted({name for grant in grants for name in grant.hours} | set(quarters)):
        listing = [grant for grant in grants if resource in grant.hours]
        shares = [Share(g.uid, g.start, g.end, seconds_from_hours(resource, g.hours[resource])) for g in listing]
        result = attribute(shares, quarters.get(resource, ()))
        for share in shares:
            entry = balances[share.uid]
            entry.granted[resource] = share.room
            entry.used[resource] = result.used[share.uid]
            entry.overdraft[resource] = result.overdraft.get(share.uid, 0)
        if result.overdraft.get(UNFUNDED):
            unfunded[resource] = result.overdraft[UNFUNDED]
    return AccountBalance(balances, unfunded)

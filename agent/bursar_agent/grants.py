"""What an account's signed entry says at a given second: which allocations act, with how many hours, under which rules."""

from collections.abc import Mapping, Sequence

from bursar_domain.balance import Grant
from bursar_domain.thresholds import Action, Rule
from bursar_domain.units import seconds_from_hours
from bursar_domain.wire import AccountEntry, AllocationEntry


def grant_of(allocation: AllocationEntry, now: int) -> Grant:
    """The allocation as the balance needs it, its dated transitions up to ``now`` carried out."""
    hours, end = dict(allocation.granted), allocation.end
    taken_away = not any(hours.values())
    for transition in sorted(allocation.transitions, key=lambda item: item.at):
        if transition.at > now or taken_away:
            break
        if transition.granted:
            hours = dict(transition.granted)
        else:
            end = min(end, transition.at)
    return Grant(allocation.uid, allocation.start, end, hours)


def grants_of(entry: AccountEntry, now: int) -> list[Grant]:
    """All allocations of the account."""
    return [grant_of(allocation, now) for allocation in entry.allocations]


def active(grants: Sequence[Grant], now: int) -> list[Grant]:
    """Those whose period holds ``now``."""
    return [grant for grant in grants if grant.start <= now < grant.end]


def room(active_grants: Sequence[Grant]) -> dict[str, int]:
    """Granted unit-seconds by resource."""
    total: dict[str, int] = {}
    for grant in active_grants:
        for name, hours in grant.hours.items():
            total[name] = total.get(name, 0) + seconds_from_hours(name, hours)
    return total


def boundaries(entry: AccountEntry) -> tuple[int, ...]:
    """Every second at which the set of active allocations may change."""
    times = {time for allocation in entry.allocations for time in (allocation.start, allocation.end)}
    times |= {transition.at for allocation in entry.allocations for transition in allocation.transitions}
    return tuple(sorted(times))


def rules(allocation: AllocationEntry) -> list[Rule]:
    """Thresholds of one allocation."""
    return [Rule(item.percent, Action(item.action), item.clear_below_percent) for item in allocation.thresholds]


def earliest(entries: Mapping[str, AccountEntry]) -> int | None:
    """First second of the earliest allocation, from which use counts."""
    return min((a.start for entry in entries.values() for a in entry.allocations), default=None)

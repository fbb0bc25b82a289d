"""Balances, decided: an account's use put down to its allocations, and the figures that a status shows."""

from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bursar_crds.instants import parse_instant
from bursar_domain.balance import Balance, Grant
from bursar_domain.thresholds import Action, Rule, in_force, strongest, used_percent
from bursar_domain.units import hours_left, hours_used, seconds_from_hours
from bursar_domain.wire import AllocationEntry
from bursar_operator.domain import hours
from bursar_operator.ledgerview import Figures

Obj = Mapping[str, Any]
Spans = Mapping[str, Sequence[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class AccountUse:
    """What an account used, per resource summed between the boundaries of its allocations (first second, unit-seconds)."""

    boundaries: tuple[int, ...]
    spans: Spans


def summed(quarters: Mapping[str, Iterable[tuple[int, int]]], boundaries: Collection[int]) -> AccountUse:
    """Sum the quarters between boundaries: the set of active allocations is fixed there, so attribution stays the same."""
    cuts = sorted(set(boundaries))
    return AccountUse(tuple(cuts), {name: _summed(items, cuts) for name, items in quarters.items()})


def _summed(quarters: Iterable[tuple[int, int]], cuts: Sequence[int]) -> list[tuple[int, int]]:
    sums: dict[int, int] = {}
    for at, amount in quarters:
        index = bisect_right(cuts, at)
        first = cuts[index - 1] if index else -1
        sums[first] = sums.get(first, 0) + amount
    return sorted(sums.items())


def grant_of(allocation: Obj) -> Grant:
    """A stored allocation. What the pools hold counts: use stays with an allocation whose grant is being taken back."""
    status, period = allocation.get("status") or {}, allocation["spec"]["period"]
    room = hours.upper(hours.of(status.get("charged")), hours.of(status.get("granted")))
    start, end = (int(parse_instant(period[at]).timestamp()) for at in ("start", "end"))
    return Grant(allocation["metadata"]["uid"], start, end, room)


def grant_of_entry(entry: AllocationEntry) -> Grant:
    """An allocation whose object is gone, as it was published last."""
    return Grant(entry.uid, entry.start, entry.end, entry.granted)


def boundaries(grants: Iterable[Grant]) -> set[int]:
    """Every start and end."""
    return {at for grant in grants for at in (grant.start, grant.end)}


def rules(allocation: Obj) -> tuple[Rule, ...]:
    """The thresholds on booked use."""
    found = allocation["spec"].get("thresholds") or ()
    return tuple(
        Rule(item["percent"], Action(item["action"]), item.get("clearBelowPercent"))
        for item in found
        if item["basis"] == "Used"
    )


def rules_in_force(allocation: Obj, balance: Balance | None, before: Collection[str]) -> frozenset[str]:
    """Keys of the thresholds in force now, given those in force before."""
    granted = _granted_seconds(allocation)
    return in_force(rules(allocation), balance.booked() if balance else {}, granted, before)


def figures(  # what a status shows, all of it
    allocation: Obj,
    balance: Balance | None,
    committed: Mapping[str, int],
    keys: Collection[str],
    as_of: datetime | None,
    stale: bool,
) -> Figures:
    """Figures of one allocation; ``committed`` in unit-seconds of the account's running jobs."""
    granted = _granted_seconds(allocation)
    booked = balance.booked() if balance else {}
    left = {name: amount - booked.get(name, 0) for name, amount in granted.items()}
    shown = granted.keys()
    return Figures(
        used={name: hours_used(name, booked.get(name, 0)) for name in shown | booked.keys()},
        committed=committed_hours(committed, shown),
        available={name: hours_left(name, amount) for name, amount in left.items()},
        used_percent=used_percent(booked, granted),
        usage_as_of=as_of,
        enforcement=str(strongest(rules(allocation), keys)),
        exhausted=any(left[name] <= 0 for name, amount in granted.items() if amount > 0),
        overdrawn=any(amount < 0 for amount in left.values()),
        usage_stale=stale,
    )


def committed_hours(committed: Mapping[str, int], resources: Collection[str]) -> dict[str, int]:
    """Whole hours that running jobs may still use, rounded up, of the resources that the allocation lists."""
    return {name: hours_used(name, amount) for name, amount in committed.items() if name in resources and amount > 0}


def _granted_seconds(allocation: Obj) -> dict[str, int]:
    granted = hours.of((allocation.get("status") or {}).get("granted"))
    return {name: seconds_from_hours(name, amount) for name, amount in granted.items()}

"""An entry as people read it."""

from collections.abc import Iterator
from typing import Any

from bursar_api.balance import instant
from bursar_domain.entries import Entry
from bursar_domain.units import Scales
from bursar_ledger.entries import Booked

Obj = dict[str, Any]


def view(booked: Booked, project: str | None, scales: Scales) -> Obj:
    """Everything about it; ``number`` is None before it is booked. A Correction's amounts are what it changed the use by."""
    entry = booked.entry
    return {
        "number": booked.number or None,
        "kind": entry.kind.value,
        "project": project,
        "cluster": entry.cluster,
        "account": entry.account,
        "allocation": entry.name or None,
        "uid": entry.uid or None,
        "at": instant(entry.at),
        "amounts": [
            {"name": name, "hours": _hours(name, amount, scales), "seconds": amount}
            for name, amount in sorted(amounts(entry).items())
        ],
        "window": None if entry.window is None else instant(entry.window),
        "reference": entry.reference or None,
        "author": entry.author,
        "reason": entry.reason,
        "request": booked.request or None,
        "recordedAt": instant(booked.recorded_at),
        "key": entry.key,
        "hash": booked.hash or None,
    }


def columns() -> list[str]:
    """Titles of the CSV."""
    head = ["number", "kind", "project", "cluster", "allocation", "at", "resource", "hours", "seconds"]
    return [*head, "reference", "author", "reason", "recordedAt"]


def amounts(entry: Entry) -> dict[str, int]:
    """Resource -> unit-seconds; of a Correction the sum of its rows."""
    found = dict(entry.amounts)
    for row in entry.rows:
        found[row.resource] = found.get(row.resource, 0) + sum(_charged(row.allocated, row.refunded))
    return found


def _charged(allocated: tuple[int, ...], refunded: tuple[int, ...]) -> Iterator[int]:
    return (used - back for used, back in zip(allocated, refunded, strict=True))


def _hours(resource: str, amount: int, scales: Scales) -> int:
    """Towards zero, so that nothing looks more than it is."""
    return scales.hours_left(resource, amount) if amount >= 0 else scales.hours_used(resource, amount)

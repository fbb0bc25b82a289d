"""Hours per resource in this checker's own arithmetic: zeros are left out, whatever is absent is 0."""

from collections.abc import Iterable, Mapping
from typing import Any

Amounts = Mapping[str, int]
Json = Mapping[str, Any]


def parse(items: object) -> dict[str, int]:
    """From `[{name, hours}]`."""
    found: dict[str, int] = {}
    for item in items if isinstance(items, list) else []:
        found[str(item["name"])] = found.get(str(item["name"]), 0) + int(item["hours"])
    return nonzero(found)


def of_map(found: Json) -> dict[str, int]:
    """From `{name: hours}`."""
    return nonzero({str(name): int(str(hours)) for name, hours in found.items()})


def nonzero(found: Amounts) -> dict[str, int]:
    """The same without zeros."""
    return {name: hours for name, hours in found.items() if hours}


def added(*items: Amounts) -> dict[str, int]:
    """The sum."""
    total: dict[str, int] = {}
    for item in items:
        for name, hours in item.items():
            total[name] = total.get(name, 0) + hours
    return nonzero(total)


def less(a: Amounts, b: Amounts) -> dict[str, int]:
    """The difference; may be below zero."""
    return added(a, {name: -hours for name, hours in b.items()})


def greater(a: Amounts, b: Amounts) -> dict[str, int]:
    """The greater of both in each resource."""
    return nonzero({name: max(a.get(name, 0), b.get(name, 0)) for name in {**a, **b}})


def within(a: Amounts, b: Amounts) -> bool:
    """Whether `a` is nowhere above `b`."""
    return all(a.get(name, 0) <= b.get(name, 0) for name in {**a, **b})


def beyond(a: Amounts, b: Amounts, only: Iterable[str]) -> dict[str, int]:
    """What `a` has more than `b` of the resources in `only`."""
    return {name: a.get(name, 0) - b.get(name, 0) for name in only if a.get(name, 0) > b.get(name, 0)}

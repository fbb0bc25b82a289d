"""Hours per resource as vectors: an absent resource is 0, every operation works resource by resource on integers."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Hours = Mapping[str, int]


def of(items: Iterable[Mapping[str, Any]] | None) -> dict[str, int]:
    """From a list-map ``[{name, hours}]``."""
    return {item["name"]: item["hours"] for item in items or ()}


def as_list(hours: Hours) -> list[dict[str, Any]]:
    """As a list-map in order of name; zeros stay, since a resource at 0 is closed and an absent one is not listed."""
    return [{"name": name, "hours": hours[name]} for name in sorted(hours)]


def at_least(a: Hours, b: Hours) -> bool:
    """Whether ``a`` is not below ``b`` in any resource."""
    return all(a.get(name, 0) >= amount for name, amount in b.items())


def same(a: Hours, b: Hours) -> bool:
    """Equal where both are counted: an absent resource equals 0."""
    return a == b or (at_least(a, b) and at_least(b, a))


def is_zero(a: Hours) -> bool:
    """Whether nothing is held."""
    return not any(a.values())


def upper(a: Hours, b: Hours) -> dict[str, int]:
    """The greater amount of each resource."""
    return {name: max(a.get(name, 0), b.get(name, 0)) for name in {**a, **b}}


def lower(a: Hours, b: Hours) -> dict[str, int]:
    """The smaller amount of each resource of ``a``."""
    return {name: min(amount, b.get(name, 0)) for name, amount in a.items()}


def plus(a: Hours, b: Hours) -> dict[str, int]:
    """The sum."""
    return {name: a.get(name, 0) + b.get(name, 0) for name in {**a, **b}}


def minus(a: Hours, b: Hours) -> dict[str, int]:
    """The difference; may be below zero."""
    return {name: a.get(name, 0) - b.get(name, 0) for name in {**a, **b}}


def total(items: Sequence[Hours]) -> dict[str, int]:
    """The sum of all."""
    result: dict[str, int] = {}
    for hours in items:
        for name, amount in hours.items():
            result[name] = result.get(name, 0) + amount
    return result


def positive(a: Hours) -> dict[str, int]:
    """Only the resources of which there is something, and nothing below zero."""
    return {name: amount for name, amount in a.items() if amount > 0}


def in_words(a: Hours) -> str:
    """For people: ``500,000 cpu and 2,000 gpu hours``."""
    parts = [f"{amount:,} {name}" for name, amount in sorted(a.items()) if amount]
    if not parts:
        return "no hours"
    head, last = ", ".join(parts[:-1]), parts[-1]
    return f"{head} and {last} hours" if head else f"{last} hours"

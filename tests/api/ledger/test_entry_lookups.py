"""Entries found by their keys and by the allocation's name."""

from bursar_domain.entries import Entry, EntryKind
from bursar_ledger import Ledger


def entry(key: str, name: str) -> Entry:
    """An adjustment."""
    return Entry(key, EntryKind.ADJUSTMENT, "lookup", "p", 900, "dana", "why", f"uid-{name}", "ns", name, {"cpu": 3600})


async def test_by_key_and_by_name(own: Ledger) -> None:
    made = await own.append([entry("one", "a"), entry("two", "b"), entry("three", "a")], 0)
    assert await own.booked(["three", "none", "one"]) == [made[0], made[2]]
    assert await own.booked([]) == []
    assert await own.entries("lookup", "p", name="a") == [made[0], made[2]]
    assert await own.entries(name="a", after=1, limit=1) == [made[2]]
    assert await own.entries(name="c") == []

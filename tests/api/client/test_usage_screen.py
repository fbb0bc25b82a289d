"""`bursar usage` drawn: bars per user or month on one screen, the small ones together, nothing too long."""

from typing import Any

import pytest

from bursar_client.cli.paper import Paper
from bursar_client.cli.usagescreen import draw
from bursar_domain.units import HOUR

Obj = dict[str, Any]
SMALL = "u"


def usage(rows: list[tuple[str, int]], by: str = "user", resource: str = "cpu", **more: Any) -> Obj:
    """An answer of the gateway: label and hours of each row."""
    per_hour = HOUR * {"memory": 1024, "billing": 1000}.get(resource, 1)
    head = {"cluster": "alpha", "project": "p", "account": "p", "resource": resource, "secondsPerHour": per_hour}
    items = [head | {by: name, "charged": hours * per_hour} for name, hours in rows]
    return {"items": items, "asOf": {"alpha": "2026-10-05T06:00:00Z"}, "start": None, "end": None} | more


def drawn(found: Obj, by: str = "user", width: int = 80, *, plain: bool = False) -> list[str]:
    """The screen's lines."""
    return [line.plain for line in draw(found, by, Paper(width, plain))]


def test_people_are_ordered_by_what_they_used() -> None:
    lines = drawn(usage([("bob", 100), ("alice", 300), ("bob", 0)], start="2026-10-01T00:00:00Z", end="2026-11-01T00:00:00Z"))
    assert lines == [
        "cpu hours on alpha from 2026-10-01 to 2026-11-01: 400",
        "  alice  ████████████████████████████████████████  300  75%",
        "  bob    █████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░  100  25%",
        "alpha: complete up to 2026-10-05 06:00 UTC",
    ]


def test_parts_of_service_units_are_added_before_they_are_rounded() -> None:
    found = usage([("bob", 0), ("alice", 0)], resource="billing")
    for row in found["items"]:
        row["charged"] = 400 * HOUR
    lines = drawn(found)
    assert lines[0] == "billing hours on alpha: 1"
    assert all(line.endswith("  1  50%") for line in lines[1:3])


def test_months_stay_in_their_order_and_the_oldest_go_together() -> None:
    months = [(f"{year}-{month:02}", 10 * month) for year in (2023, 2024, 2025) for month in range(1, 13)]
    lines = drawn(usage(months, "month"), "month")
    assert len(lines) <= 24
    labels = [line.split("  ")[1] for line in lines[1:-1]]
    assert labels[0] == "18 before"
    assert labels[1:] == sorted(labels[1:])
    assert labels[-1] == "2025-12"


@pytest.mark.parametrize("width", [80, 60])
@pytest.mark.parametrize("plain", [True, False])
def test_a_hundred_people_on_three_resources_are_one_screen(width: int, plain: bool) -> None:
    people = [(SMALL * (n % 60 + 1) + str(n), n * 10_000_000) for n in range(100)]
    found = usage(people)
    for resource in ("gpu", "memory"):
        found["items"] += usage(people, resource=resource)["items"]
    lines = drawn(found, width=width, plain=plain)
    assert len(lines) <= 24
    assert [line for line in lines if len(line) > width] == []
    assert sum("others" in line for line in lines) == 3
    assert not plain or "\n".join(lines).isascii()


def test_memory_counts_gib_hours() -> None:
    assert drawn(usage([("alice", 7)], resource="memory"))[0] == "memory hours on alpha: 7"


def test_allocations_are_named_with_their_project_and_what_had_none_says_so() -> None:
    text = "\n".join(drawn(usage([("main", 3), ("", 1)], "allocation"), "allocation"))
    assert "p / main" in text
    assert "p / (none was active)" in text


def test_refunds_may_leave_nothing() -> None:
    lines = drawn(usage([("alice", 0), ("bob", -2)]))
    assert "alice" in lines[1]
    assert "█" not in "".join(lines)


def test_no_use() -> None:
    assert drawn(usage([]) | {"asOf": {}}) == ["no use"]
    assert drawn(usage([], start="2026-10-01T00:00:00Z"))[0] == "no use from 2026-10-01"

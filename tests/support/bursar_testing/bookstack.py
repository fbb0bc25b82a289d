"""An agent played through the ledger beside a real operator: a project with one allocation, its clock and use."""

import secrets
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from bursar_domain.units import HOUR
from bursar_domain.wire import AccountState, AllocationEntry, Delta, Hello, SlotReport, StatusReport, UsageReport, UsageRow
from bursar_kube.client import Obj
from bursar_kube.resources import ALLOCATIONS, EVENTS, PROJECTS
from bursar_testing import manifests
from bursar_testing.operatorprocess import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
START, END = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"
JANUARY = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())
FEBRUARY = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp())
MARCH = int(datetime(2026, 3, 1, tzinfo=UTC).timestamp())
DAY = 24 * HOUR
MONTHLY = {"recurrence": {"every": "Month"}}


async def made(stack: Stack, eventually: Eventually, name: str, hours: int, **spec: Any) -> Obj:
    """A project on a cluster of its own with one granted allocation."""
    await stack.apply(manifests.cluster(name, capacity=1000))
    await stack.apply(manifests.project(name, "alice"))

    async def settled() -> bool:
        return bool((await stack.kube.get(PROJECTS, name)).get("status", {}).get("account"))

    await eventually(settled)
    await stack.apply(manifests.pool(name, name, hours * 2))
    period = {"start": START, "end": END}
    await stack.apply(manifests.allocation(name, "main", name, hours, name, **{"period": period, **spec}))

    async def granted() -> Obj | None:
        found = await stack.kube.get(ALLOCATIONS, "main", f"project-{name}")
        return found if found.get("status", {}).get("grantRevision") else None

    found: Obj = await eventually(granted)
    await eventually(lambda: signed(stack, name))
    return found


async def signed(stack: Stack, name: str) -> AllocationEntry | None:
    """The one allocation as it is published."""
    delta = await stack.ledger.desired(name, 0)
    entries = [item for entry in delta.entries for item in entry.allocations] if delta else []
    return entries[0] if entries else None


async def tell_time(
    stack: Stack,
    name: str,
    at: int,
    generation: int = 1,
    accounts: tuple[AccountState, ...] = (),
    acknowledgements: Mapping[str, int] | None = None,
) -> None:
    """The agent's clock."""
    await say_hello(stack, name, at)
    report = StatusReport(
        report_id=secrets.token_hex(8),
        session="s1",
        generation=generation,
        digest="x",
        scheduler_time=at,
        enforced_at=at,
        accounts=accounts,
        acknowledgements=acknowledgements or {},
    )
    await stack.ledger.record_status(name, report, at)


async def acknowledge(stack: Stack, name: str, at: int) -> Delta:
    """The agent has done everything that is published, which is the answer."""
    delta = await stack.ledger.desired(name, 0)
    assert delta is not None
    revisions = {item.uid: item.grant_revision for entry in delta.entries for item in entry.allocations}
    await tell_time(stack, name, at, delta.root.root.generation, acknowledgements=revisions)
    return delta


async def say_hello(stack: Stack, name: str, at: int) -> None:
    """The agent's first word, if it said none yet; the scheduler's time is not known by it."""
    if name not in await stack.ledger.agents():
        await stack.ledger.record_hello(
            name, Hello(session="s1", agent_version="1", scheduler="simulator", scheduler_version="1", clock=at), at
        )


async def use(stack: Stack, name: str, at: int, hours: int, *, seq: int, watermark: int) -> None:
    """So many cpu hours of bob in one hour, complete until the watermark."""
    await report_use(stack, name, at, hours, seq=seq, watermark=watermark)
    await tell_time(stack, name, watermark)


async def report_use(stack: Stack, name: str, at: int, hours: int, *, seq: int, watermark: int | None) -> None:
    """The same where the agent has not said its scheduler's time yet; None: nothing is complete yet."""
    await say_hello(stack, name, at)
    quarter = hours * HOUR // 4
    row = UsageRow(user="bob", resource="cpu", allocated=(quarter,) * 4)
    slot = SlotReport(account=name, hour=at // HOUR * HOUR, epoch=1, seq=seq, rows=(row,) if hours else ())
    report = UsageReport(report_id=secrets.token_hex(8), session="s1", slots=(slot,), watermark=watermark)
    receipt = await stack.ledger.put_usage(name, report, watermark or at + HOUR)
    assert not receipt.refused


def hours_of(found: list[Obj] | None) -> dict[str, int]:
    """A status list as a mapping."""
    return {item["name"]: item["hours"] for item in found or ()}


async def status_says(stack: Stack, name: str, right: Callable[[Obj], bool]) -> Obj | None:
    """The status once it has figures that are right."""
    status: Obj = (await stack.kube.get(ALLOCATIONS, "main", f"project-{name}")).get("status", {})
    return status if "used" in status and right(status) else None


def has_action(action: str, status: Obj) -> bool:
    """Whether that is in force."""
    return bool(status["enforcement"] == action)


async def events(stack: Stack, name: str) -> list[tuple[str, str, str]]:
    """Reason, type and note of each Event of the allocation, sorted."""
    found = await stack.kube.list(EVENTS, f"project-{name}")
    return sorted((item["reason"], item["type"], item["note"]) for item in found if item["regarding"]["kind"] == "Allocation")

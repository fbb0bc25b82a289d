"""Ends that are moved, on a real API server without a webhook: what was charged stays, whoever was deleted since."""

from bursar_crds.instants import parse_instant
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import AllocationEntry
from bursar_kube.client import Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_testing import manifests
from bursar_testing.bookstack import DAY, JANUARY, START, Eventually, acknowledge, hours_of, made, signed, status_says, use
from bursar_testing.operatorprocess import Stack

JULY, AUGUST, OCTOBER = (f"2030-{month:02}-01T00:00:00Z" for month in (7, 8, 10))


def second(at: str) -> int:
    return int(parse_instant(at).timestamp())


async def move(stack: Stack, name: str, end: str) -> Obj:
    return await stack.kube.merge_patch(ALLOCATIONS, "main", {"spec": {"period": {"end": end}}}, f"project-{name}")


async def two_with_use(stack: Stack, eventually: Eventually, name: str) -> None:
    """Main until July paid 40 of its 100 hours; other until August, with 50 hours, ran beside it and was deleted."""
    await made(stack, eventually, name, 100, period={"start": START, "end": JULY})
    await stack.apply(manifests.allocation(name, "other", name, 50, name, period={"start": START, "end": AUGUST}))

    async def both() -> bool:
        delta = await stack.ledger.desired(name, 0)
        return delta is not None and len(delta.entries[0].allocations) == 2

    await eventually(both)
    await use(stack, name, JANUARY + DAY, 40, seq=1, watermark=JANUARY + 2 * DAY)
    await eventually(lambda: status_says(stack, name, lambda s: hours_of(s["used"]) == {"cpu": 40}))
    await stack.kube.delete(ALLOCATIONS, "other", f"project-{name}")

    async def gone() -> bool:
        await acknowledge(stack, name, JANUARY + 3 * DAY)
        try:
            await stack.kube.get(ALLOCATIONS, "other", f"project-{name}")
        except NotFound:
            delta = await stack.ledger.desired(name, 0)
            return delta is not None and bool(delta.entries[0].ended)
        return False

    await eventually(gone)


async def open_until(stack: Stack, name: str, end: int) -> AllocationEntry | None:
    found = await signed(stack, name)
    return found if found is not None and found.open_until == end else None


async def test_an_end_moved_past_that_of_a_deleted_one_moves_no_charge(stack: Stack, eventually: Eventually) -> None:
    """While the operator was away, and read again from the ledger by one more."""
    await two_with_use(stack, eventually, "moving")
    await stack.operator.stop()
    await move(stack, "moving", OCTOBER)
    await stack.restart()
    published = await eventually(lambda: open_until(stack, "moving", second(OCTOBER)))
    assert published.past_ends == ((JANUARY + 3 * DAY + QUARTER, second(JULY)),)
    await stack.operator.stop()
    await stack.restart()
    await use(stack, "moving", JANUARY + 4 * DAY, 5, seq=2, watermark=JANUARY + 5 * DAY)
    await eventually(lambda: status_says(stack, "moving", lambda s: hours_of(s["used"])["cpu"] not in (0, 40)))
    status = (await stack.kube.get(ALLOCATIONS, "main", "project-moving"))["status"]
    assert hours_of(status["used"]) == {"cpu": 45}
    pool = (await stack.kube.get(QUOTAPOOLS, "moving"))["status"]
    assert (hours_of(pool["granted"]), hours_of(pool.get("spent")).get("cpu", 0)) == ({"cpu": 100}, 0)
    after = await signed(stack, "moving")
    assert after is not None
    assert after.past_ends == published.past_ends


async def test_an_end_cut_into_the_past_takes_no_charge_away(stack: Stack, eventually: Eventually) -> None:
    """By somebody whom no webhook stopped: it ends with the quarter hour in which that is seen."""
    await made(stack, eventually, "cut", 100, period={"start": START, "end": JULY})
    await use(stack, "cut", JANUARY + DAY, 40, seq=1, watermark=JANUARY + 2 * DAY)
    await eventually(lambda: status_says(stack, "cut", lambda s: hours_of(s["used"]) == {"cpu": 40}))
    await move(stack, "cut", "2026-01-01T12:00:00Z")
    assert await eventually(lambda: open_until(stack, "cut", JANUARY + 2 * DAY + QUARTER))
    await use(stack, "cut", JANUARY + 2 * DAY - HOUR, 3, seq=2, watermark=JANUARY + 3 * DAY)
    await eventually(lambda: status_says(stack, "cut", lambda s: hours_of(s["used"]) == {"cpu": 43}))


async def test_the_end_of_what_is_being_deleted_moves_no_more(stack: Stack, eventually: Eventually) -> None:
    """No webhook judges it then; its agent has not let go of it yet."""
    await made(stack, eventually, "leaver", 100, period={"start": START, "end": JULY})
    await use(stack, "leaver", JANUARY + DAY, 40, seq=1, watermark=JANUARY + 2 * DAY)
    await eventually(lambda: status_says(stack, "leaver", lambda s: hours_of(s["used"]) == {"cpu": 40}))
    await stack.kube.delete(ALLOCATIONS, "main", "project-leaver")

    async def closed() -> AllocationEntry | None:
        found = await signed(stack, "leaver")
        return found if found is not None and found.closed_from is not None else None

    await eventually(closed)
    assert (await move(stack, "leaver", "2026-01-01T12:00:00Z"))["metadata"]["deletionTimestamp"]

    async def spent() -> bool:
        await acknowledge(stack, "leaver", JANUARY + 3 * DAY)
        pool = (await stack.kube.get(QUOTAPOOLS, "leaver")).get("status", {})
        return not pool["intents"] and hours_of(pool["granted"]) == {"cpu": 40} == hours_of(pool.get("spent"))

    await eventually(spent)

"""The books on a real API server: windows, gates, entries and thresholds, with an agent played through the ledger."""

import asyncio
from functools import partial

from bursar_crds.reasons import Reason
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.units import HOUR
from bursar_kube.client import Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, EVENTS, QUOTAPOOLS
from bursar_testing import manifests
from bursar_testing.bookstack import (
    DAY,
    END,
    FEBRUARY,
    JANUARY,
    MARCH,
    MONTHLY,
    START,
    Eventually,
    acknowledge,
    events,
    has_action,
    hours_of,
    made,
    report_use,
    say_hello,
    signed,
    status_says,
    tell_time,
    use,
)
from bursar_testing.operatorprocess import Stack


async def test_a_recurring_allocation_is_signed_with_every_window(stack: Stack, eventually: Eventually) -> None:
    await made(stack, eventually, "monthly", 365, **MONTHLY)
    found = await signed(stack, "monthly")
    assert found is not None
    assert [window.start for window in found.windows][:3] == [JANUARY, FEBRUARY, MARCH]
    assert [window.steps[0].granted["cpu"] // HOUR for window in found.windows] == [
        31,
        28,
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ]


async def has_events(
    stack: Stack, name: str, wanted: list[tuple[Reason, str, str]] | None
) -> list[tuple[str, str, str]] | None:
    """The events, once there are those; None: any."""
    found = await events(stack, name)
    return found if found and (wanted is None or found == wanted) else None


async def test_a_gate_that_is_opened_gives_its_share(stack: Stack, eventually: Eventually) -> None:
    tranches = [{"from": START, "percent": 40}, {"gate": "report", "percent": 60}]
    await made(stack, eventually, "gated", 100, tranches=tranches)
    before = await signed(stack, "gated")
    assert before is not None
    assert before.windows[0].steps[-1].granted["cpu"] == 40 * HOUR
    patch = '{"spec":{"openedGates":["report"]}}'
    await stack.kubectl("patch", "allocation", "main", "-n", "project-gated", "--type=merge", "-p", patch)

    async def opened() -> bool:
        found = await signed(stack, "gated")
        return found is not None and found.windows[0].steps[-1].granted["cpu"] == 100 * HOUR

    await eventually(opened)
    note = "gate report is open: 60 percent more of the hours may be used from now on"
    await eventually(partial(has_events, stack, "gated", [(Reason.GATE_OPENED, "Normal", note)]))


async def test_windows_roll_over_close_and_carry(stack: Stack, eventually: Eventually) -> None:
    """Use in January; February begins; once January is closed half of what it left comes in."""
    await made(stack, eventually, "rolling", 365, carryOver={"percent": 50}, **MONTHLY)
    await say_hello(stack, "rolling", JANUARY)
    await asyncio.sleep(1)  # the operator has looked, and knows of an agent without a time
    await use(stack, "rolling", JANUARY + DAY, 11, seq=1, watermark=JANUARY + 2 * DAY)
    january = await eventually(lambda: status_says(stack, "rolling", lambda s: hours_of(s["used"]) == {"cpu": 11}))
    assert (hours_of(january["available"]), january["window"]["start"]) == ({"cpu": 20}, START)
    assert january["usedPercent"] == 35
    await use(stack, "rolling", FEBRUARY + HOUR, 3, seq=2, watermark=FEBRUARY + DAY)
    february = await eventually(
        lambda: status_says(stack, "rolling", lambda s: s["window"]["start"] == "2026-02-01T00:00:00Z" and s["used"] != [])
    )
    assert (hours_of(february["used"]), hours_of(february["available"])) == ({"cpu": 3}, {"cpu": 25})
    await use(stack, "rolling", FEBRUARY + HOUR, 3, seq=3, watermark=FEBRUARY + 3 * DAY)
    carried = await eventually(
        lambda: status_says(stack, "rolling", lambda s: hours_of(s["window"].get("carriedHours")) == {"cpu": 10})
    )
    assert hours_of(carried["available"]) == {"cpu": 35}
    booked = await stack.ledger.entries("rolling", "rolling", kinds=[EntryKind.CARRY_OVER, EntryKind.EXPIRY])
    assert [(item.entry.kind, item.entry.amounts["cpu"] // HOUR) for item in booked] == [
        (EntryKind.CARRY_OVER, 10),
        (EntryKind.EXPIRY, 10),
    ]

    async def published() -> bool:
        found = await signed(stack, "rolling")
        return found is not None and found.windows[1].steps[-1].carried == {"cpu": 10 * HOUR}

    await eventually(published)
    note = "the window of 2026-02-01T00:00:00Z has begun (28 cpu hours left)"
    found = await eventually(partial(has_events, stack, "rolling", None))
    assert [(reason, note.split(" (")[0]) for reason, _, note in found] == [(Reason.ROLLED_OVER, note.split(" (")[0])]


async def test_a_threshold_is_told_once_in_a_window_and_direction(stack: Stack, eventually: Eventually) -> None:
    thresholds = [{"percent": 50, "basis": "Used", "action": "Hold", "clearBelowPercent": 40}]
    await made(stack, eventually, "warned", 100, thresholds=thresholds)
    for seq, (hours, action) in enumerate([(60, "Hold"), (10, "None"), (70, "Hold"), (20, "None")], start=1):
        await use(stack, "warned", JANUARY + DAY, hours, seq=seq, watermark=JANUARY + 2 * DAY)
        await eventually(partial(status_says, stack, "warned", partial(has_action, action)))

    async def told() -> list[Obj] | None:
        events = [item for item in await stack.kube.list(EVENTS, "project-warned") if item["regarding"]["kind"] == "Allocation"]
        rules = await stack.ledger.rules()
        return sorted(events, key=lambda item: str(item["reason"])) if len(events) >= 2 and any(rules.values()) else None

    events = await eventually(told)
    assert [(item["reason"], item["type"], item["action"]) for item in events] == [
        (Reason.THRESHOLD_CLEARED, "Normal", "Hold"),
        (Reason.THRESHOLD_CROSSED, "Warning", "Hold"),
    ]
    assert events[1]["note"].startswith("60 % used (60 of 100 cpu hours; window of 2026-01-01T00:00:00Z): Hold from 50 %")


async def test_an_entry_by_hand_moves_balance_and_what_is_signed(stack: Stack, eventually: Eventually) -> None:
    found = await made(stack, eventually, "helped", 100)
    await tell_time(stack, "helped", JANUARY + DAY)
    amounts = {"cpu": -30 * HOUR}
    uid = found["metadata"]["uid"]
    entry = Entry(
        "adjust/helped", EntryKind.ADJUSTMENT, "helped", "helped", JANUARY + DAY, "dana", "lent out", uid=uid, amounts=amounts
    )
    await stack.ledger.append([entry], JANUARY + DAY)
    status = await eventually(lambda: status_says(stack, "helped", lambda s: hours_of(s["available"]) == {"cpu": 70}))
    assert hours_of(status["adjusted"]) == {"cpu": -30}

    async def published() -> bool:
        item = await signed(stack, "helped")
        return item is not None and item.windows[0].steps[-1].adjusted == amounts

    await eventually(published)
    await eventually(partial(has_events, stack, "helped", [(Reason.ADJUSTED, "Normal", "-30 cpu hours by dana: lent out")]))


async def test_what_a_deleted_allocation_was_charged_stays_with_it(stack: Stack, eventually: Eventually) -> None:
    await made(stack, eventually, "leaving", 100)
    await stack.apply(manifests.allocation("leaving", "other", "leaving", 50, "leaving", period={"start": START, "end": END}))

    async def both() -> bool:
        delta = await stack.ledger.desired("leaving", 0)
        return delta is not None and len(delta.entries[0].allocations) == 2

    await eventually(both)
    await use(stack, "leaving", JANUARY + DAY, 40, seq=1, watermark=JANUARY + 2 * DAY)
    names = {"main": 0, "other": 0}

    async def charged() -> dict[str, int] | None:
        for name in names:
            status = (await stack.kube.get(ALLOCATIONS, name, "project-leaving")).get("status", {})
            names[name] = hours_of(status.get("used")).get("cpu", 0)
        return names if sum(names.values()) == 40 else None

    await eventually(charged)
    payer = max(names, key=lambda name: names[name])
    rest = next(name for name in names if name != payer)
    gone = (await stack.kube.get(ALLOCATIONS, payer, "project-leaving"))["metadata"]["uid"]
    await stack.kube.delete(ALLOCATIONS, payer, "project-leaving")

    async def acknowledged() -> bool:
        """The agent has the lower limit, and reads it back."""
        delta = await acknowledge(stack, "leaving", JANUARY + 3 * DAY)
        ended = [item.uid for entry in delta.entries for item in entry.ended]
        return ended == [gone]

    await eventually(acknowledged)
    status = (await stack.kube.get(ALLOCATIONS, rest, "project-leaving"))["status"]
    assert hours_of(status.get("used")).get("cpu", 0) == 0


async def test_what_was_used_stays_charged_where_the_cluster_told_no_time_yet(stack: Stack, eventually: Eventually) -> None:
    await made(stack, eventually, "timeless", 100)
    await report_use(stack, "timeless", JANUARY + DAY, 40, seq=1, watermark=None)
    await eventually(lambda: status_says(stack, "timeless", lambda s: hours_of(s["used"]) == {"cpu": 40}))
    await stack.kube.delete(ALLOCATIONS, "main", "project-timeless")

    async def lowered() -> Entry | None:
        found = await stack.ledger.entries("timeless", "timeless", kinds=[EntryKind.GRANT])
        return found[-1].entry if len(found) > 1 else None

    assert (await eventually(lowered)).at > JANUARY + DAY


async def test_hours_used_by_what_was_torn_away_stay_spent(stack: Stack, eventually: Eventually) -> None:
    """Its finalizer is taken by force; what it had used by the books is no pool's to give again."""
    found = await made(stack, eventually, "torn", 100)
    await use(stack, "torn", JANUARY + DAY, 40, seq=1, watermark=JANUARY + 2 * DAY)
    await eventually(lambda: status_says(stack, "torn", lambda s: hours_of(s["used"]) == {"cpu": 40}))

    async def torn() -> bool:
        try:
            await stack.kube.merge_patch(ALLOCATIONS, "main", {"metadata": {"finalizers": None}}, "project-torn")
            await stack.kube.delete(ALLOCATIONS, "main", "project-torn")
            return bool(
                (await stack.kube.get(ALLOCATIONS, "main", "project-torn"))["metadata"]["uid"] != found["metadata"]["uid"]
            )
        except NotFound:
            return True

    async def spent() -> bool:
        """The agent takes up whatever is published."""
        delta = await stack.ledger.desired("torn", 0)
        assert delta is not None
        await tell_time(stack, "torn", JANUARY + 3 * DAY, generation=delta.root.root.generation)
        status = (await stack.kube.get(QUOTAPOOLS, "torn")).get("status", {})
        return hours_of(status.get("spent")) == {"cpu": 40} and not status["intents"]

    await eventually(torn)
    await eventually(spent)
    assert hours_of((await stack.kube.get(QUOTAPOOLS, "torn"))["status"]["granted"]) == {"cpu": 40}

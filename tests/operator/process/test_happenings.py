"""Events on a real API server: each change once, over restarts and crashes; thresholds that outlive their process."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from functools import partial

from bursar_crds.reasons import Reason
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action, Rule, Standing
from bursar_domain.units import HOUR, UNSCALED
from bursar_domain.wire import AccountState
from bursar_kube.client import Obj
from bursar_kube.errors import Invalid, Unavailable
from bursar_kube.resources import CLUSTERS, EVENTS
from bursar_ledger.firings import InForce
from bursar_operator.crossings import Crossings
from bursar_operator.domain import happenings
from bursar_operator.domain.happenings import Scene, State
from bursar_operator.metrics import Metrics
from bursar_testing.bookstack import DAY, JANUARY, Eventually, events, has_action, made, status_says, tell_time, use
from bursar_testing.frailkube import DeafKube
from bursar_testing.operatorprocess import Stack

HOLD = [{"percent": 100, "basis": "Used", "action": "Hold", "clearBelowPercent": 95}]
NOW = datetime(2026, 1, 2, tzinfo=UTC)


async def read_back(stack: Stack, name: str, uid: str, action: str, error: str = "") -> None:
    """The agent has it at the scheduler, unless there is an error."""
    state = AccountState(
        account=name, state="Failed" if error else "Enforced", enforcement=action, actions={uid: action}, error=error
    )
    await tell_time(stack, name, JANUARY + 2 * DAY, accounts=(state,))


async def failing(stack: Stack, name: str) -> bool:
    """The operator has heard of the agent's trouble."""
    conditions = (await stack.kube.get(CLUSTERS, name)).get("status", {}).get("conditions", ())
    return any(item["reason"] == Reason.ENFORCEMENT_FAILED for item in conditions)


async def reasons(stack: Stack, name: str, wanted: list[Reason]) -> bool:
    return [item[0] for item in await events(stack, name)] == sorted(str(reason) for reason in wanted)


async def test_a_refund_that_lifts_a_hold_is_seen_and_each_change_told_once(stack: Stack, eventually: Eventually) -> None:
    found = await made(stack, eventually, "held", 100, thresholds=HOLD)
    uid = found["metadata"]["uid"]
    await use(stack, "held", JANUARY + DAY, 100, seq=1, watermark=JANUARY + 2 * DAY)
    await read_back(stack, "held", uid, "Hold")
    await eventually(partial(status_says, stack, "held", partial(has_action, "Hold")))
    first = [Reason.EXHAUSTED, Reason.THRESHOLD_CROSSED, Reason.ENFORCEMENT_CHANGED]
    await eventually(partial(reasons, stack, "held", first))
    amounts = {"cpu": 20 * HOUR}
    refund = Entry(
        "refund/1", EntryKind.REFUND, "held", "held", JANUARY + 2 * DAY, "dana", "node broke", uid=uid, amounts=amounts,
        reference="77",
    )  # fmt: skip
    await stack.ledger.append([refund], JANUARY + 2 * DAY)
    status = await eventually(partial(status_says, stack, "held", partial(has_action, "None")))
    conditions = {item["type"]: item["status"] for item in status["conditions"]}
    assert (conditions["Exhausted"], status["available"]) == ("False", [{"name": "cpu", "hours": 20}])
    await read_back(stack, "held", uid, "None")
    second = [*first, Reason.REFUNDED, Reason.NOT_EXHAUSTED, Reason.THRESHOLD_CLEARED, Reason.ENFORCEMENT_CHANGED]
    await eventually(partial(reasons, stack, "held", second))
    notes = [note for _, _, note in await events(stack, "held")]
    assert "+20 cpu hours (job 77) by dana: node broke" in notes
    assert "the scheduler keeps Hold for this allocation: no further job starts" in notes
    before = await events(stack, "held")
    await stack.operator.kill()
    await stack.restart()
    await eventually(partial(status_says, stack, "held", partial(has_action, "None")))
    await asyncio.sleep(1)
    assert await events(stack, "held") == before


async def test_hysteresis_outlives_the_operator(stack: Stack, eventually: Eventually) -> None:
    thresholds = [{"percent": 80, "basis": "Used", "action": "Notify", "clearBelowPercent": 70}]
    found = await made(stack, eventually, "lasting", 100, thresholds=thresholds)
    uid = found["metadata"]["uid"]
    await use(stack, "lasting", JANUARY + DAY, 85, seq=1, watermark=JANUARY + 2 * DAY)
    await eventually(partial(status_says, stack, "lasting", partial(has_action, "Notify")))

    async def remembered() -> bool:
        return (await stack.ledger.rules()).get(uid) == (JANUARY, frozenset({"Notify@Used80"}))

    await eventually(remembered)
    await stack.operator.kill()
    await use(stack, "lasting", JANUARY + DAY, 75, seq=2, watermark=JANUARY + 2 * DAY)
    await stack.restart()
    used = await eventually(partial(status_says, stack, "lasting", lambda s: s["used"][0]["hours"] == 75))
    assert used["enforcement"] == "Notify"
    await use(stack, "lasting", JANUARY + DAY, 69, seq=3, watermark=JANUARY + 2 * DAY)
    await eventually(partial(status_says, stack, "lasting", partial(has_action, "None")))
    await eventually(partial(reasons, stack, "lasting", [Reason.THRESHOLD_CROSSED, Reason.THRESHOLD_CLEARED]))


async def test_what_a_crash_left_untold_is_told_by_the_next_operator(stack: Stack, eventually: Eventually) -> None:
    """It died between remembering that the threshold is in force and making the Event."""
    await stack.operator.stop()
    await stack.restart()
    found = await made(stack, eventually, "untold", 100, thresholds=HOLD)
    await stack.operator.kill()
    kept = happenings.marked(frozenset({"Hold@Used100", "Exhausted"}), [("Hold@Used100", "up")])
    await stack.ledger.set_rules([InForce(found["metadata"]["uid"], JANUARY, kept, JANUARY + DAY)])
    await use(stack, "untold", JANUARY + DAY, 100, seq=1, watermark=JANUARY + 2 * DAY)
    await stack.restart()
    await eventually(partial(reasons, stack, "untold", [Reason.THRESHOLD_CROSSED]))


async def test_a_scheduler_that_does_not_answer_ends_no_hold(stack: Stack, eventually: Eventually) -> None:
    """Nor does an action that only a newer agent knows; it keeps nobody from looking at the allocation."""
    found = await made(stack, eventually, "silent", 100, thresholds=HOLD)
    uid = found["metadata"]["uid"]
    await use(stack, "silent", JANUARY + DAY, 100, seq=1, watermark=JANUARY + 2 * DAY)
    await read_back(stack, "silent", uid, "Hold")
    first = [Reason.EXHAUSTED, Reason.THRESHOLD_CROSSED, Reason.ENFORCEMENT_CHANGED]
    await eventually(partial(reasons, stack, "silent", first))
    await read_back(stack, "silent", uid, "Hold", error="the controller is down")
    await eventually(partial(failing, stack, "silent"))
    await read_back(stack, "silent", uid, "Freeze")
    amounts = {"cpu": 20 * HOUR}
    lost = Entry(
        "adjust/silent", EntryKind.ADJUSTMENT, "silent", "silent", JANUARY + 2 * DAY, "dana", "あ" * 500,
        uid=uid, amounts=amounts,
    )  # fmt: skip
    await stack.ledger.append([lost], JANUARY + 2 * DAY)
    await eventually(partial(status_says, stack, "silent", partial(has_action, "None")))
    second = [*first, Reason.ADJUSTED, Reason.NOT_EXHAUSTED, Reason.THRESHOLD_CLEARED]
    await eventually(partial(reasons, stack, "silent", second))
    await read_back(stack, "silent", uid, "None")
    await eventually(partial(reasons, stack, "silent", [*second, Reason.ENFORCEMENT_CHANGED]))


def scene(allocation: Obj, used: int = 100) -> Scene:
    standing = Standing(100 * HOUR, used * HOUR, used * HOUR)
    return Scene(allocation, JANUARY + DAY, (Rule(100, Action.HOLD),), {"cpu": standing}, UNSCALED)


async def test_an_event_that_is_there_already_counts_as_told(stack: Stack, eventually: Eventually) -> None:
    """It died between making the Event and remembering that; neither telling again nor a third time makes another one."""
    allocation = await made(stack, eventually, "twice", 100)
    uid = allocation["metadata"]["uid"]
    happening = happenings.of_change(scene(allocation), JANUARY, ("Hold@Used100", "up"))
    await stack.kube.create(EVENTS, happenings.event(happening, NOW))
    for number in range(2):
        crossings = Crossings(stack.kube, stack.ledger, Metrics(), lambda: NOW)
        last = f"Block@Used{200 + number}"
        crossings.hear(scene(allocation), State(JANUARY, frozenset({"Hold@Used100", last})), recurs=False, is_read_back=True)
        await told(crossings, stack, eventually, uid, last)
    notes = [note for _, _, note in await events(stack, "twice")]
    assert len([note for note in notes if "Hold from 100 %" in note]) == 1
    assert (uid, JANUARY, "Hold@Used100", "up") in await stack.ledger.fired({uid})


async def test_a_long_outage_loses_no_event_and_one_that_is_refused_stops_no_other(
    stack: Stack, eventually: Eventually
) -> None:
    allocation = await made(stack, eventually, "outage", 100)
    uid = allocation["metadata"]["uid"]
    kube = await DeafKube.connect(str(stack.kubeconfig))
    assert isinstance(kube, DeafKube)

    async def fired(rule: str) -> bool:
        return (uid, JANUARY, rule, "up") in await stack.ledger.fired({uid})

    for error, refusals, is_told in ((Unavailable("nobody answers"), 50, True), (Invalid("it breaks a rule"), 1, False)):
        kube.error, kube.refusals = error, refusals
        crossings = Crossings(kube, stack.ledger, Metrics(), lambda: NOW, retry_seconds=0.01)
        first, second = f"Hold@Used{refusals}", f"Notify@Used{refusals}"
        crossings.hear(scene(allocation), State(JANUARY, frozenset({first, second})), recurs=False, is_read_back=True)
        async with telling(crossings):
            await eventually(partial(fired, rule=second))
        assert await fired(rule=first) == is_told
    await kube.close()


async def told(crossings: Crossings, stack: Stack, eventually: Eventually, uid: str, last: str) -> None:
    """Until everything up to the last change is told and remembered."""

    async def settled() -> bool:
        kept = (await stack.ledger.rules()).get(uid, (0, frozenset[str]()))[1]
        return kept == {"Hold@Used100", last}

    async with telling(crossings):
        await eventually(settled)


@contextlib.asynccontextmanager
async def telling(crossings: Crossings) -> AsyncIterator[None]:
    """While it tells."""
    task = asyncio.create_task(crossings.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

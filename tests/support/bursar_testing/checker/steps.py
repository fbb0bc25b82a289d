"""I5: each write of a pool is a step of a counter with a bound, and each step has its reason: opens, closes, a recount.

The store gives the order of all writes, so a pool's history is linearisable exactly if every single step is legal.
"""

from collections.abc import Iterable, Iterator, Mapping

from bursar_testing.checker.amounts import Amounts, added, beyond, less, within
from bursar_testing.checker.history import POOLS
from bursar_testing.checker.objects import Allocation, Intent, Pool
from bursar_testing.checker.world import Change, Finding, World

MOST_INTENTS = 256


def check(world: World, change: Change) -> Iterator[Finding]:
    """After one write of a pool."""
    version, before, after = change.version, change.pool_before, change.version.pool
    if version.resource != POOLS or after is None:
        return
    for rule, words in _judge(world, before, after):
        yield Finding("violation", rule, version.revision, f"pool {after.name}: {words}")


def _judge(world: World, before: Pool | None, after: Pool) -> Iterator[tuple[str, str]]:
    intents: Mapping[str, Intent] = before.intents if before else {}
    opened = [item for uid, item in after.intents.items() if uid not in intents or intents[uid].number != item.number]
    closed = [item for uid, item in intents.items() if uid not in after.intents or after.intents[uid].number != item.number]
    for uid, item in after.intents.items():
        if uid in intents and intents[uid].number == item.number and intents[uid] != item:
            yield "I5", f"intent {item.number} of {uid} changed while it was open"
    if len(after.intents) != after.intent_count or after.intent_count > MOST_INTENTS:
        yield "I5", f"{after.intent_count} intents of {len(after.intents)} allocations"
    if before is not None:
        yield from _order(before, after)
        yield from _total(world, before, after, opened, closed)
    yield from _opens(world, before, after, opened)
    yield from _caps(world, after, opened)


def _order(before: Pool, after: Pool) -> Iterator[tuple[str, str]]:
    if after.epoch < before.epoch:
        yield "I5", f"its term fell from {before.epoch} to {after.epoch}"
    if after.sequence < before.sequence:
        yield "I5", f"its sequence fell from {before.sequence} to {after.sequence}"
    if after.granted is None and before.granted is not None:
        yield "I5", "its total is gone"


def _opens(world: World, before: Pool | None, after: Pool, opened: Iterable[Intent]) -> Iterator[tuple[str, str]]:
    """Numbers grow, at the root by one counter; below it only what the pool above has; none lifts the total over the limit."""
    last = before.sequence if before else 0
    for item in sorted(opened, key=lambda intent: intent.number):
        if after.parent is None:
            if not last < item.number <= after.sequence:
                yield "I5", f"intent {item.number} of {item.uid} is not between {last} and the sequence {after.sequence}"
            last = item.number
        elif (above := world.pools.get(after.parent)) is None or above.intents.get(item.uid) != item:
            yield "I5", f"intent {item.number} of {item.uid} is not open in {after.parent}"
        gone = world.gone.get(item.uid)
        if gone is not None and not within(item.before, gone.charged):
            yield "I5", f"intent {item.number} is of {item.uid}, which went with {gone.charged}, and starts from {item.before}"
        raised = [name for name, hours in item.more.items() if hours > 0]
        over = beyond(after.granted or {}, after.limit, raised)
        if over:
            yield "I1", f"intent {item.number} of {item.uid} lifts it {over} over its limit {after.limit}"
    if before is not None and after.parent is None and after.sequence > max(last, before.sequence):
        yield "I5", f"its sequence grew to {after.sequence} and the last operation opened is {last}"


def _caps(world: World, after: Pool, opened: Iterable[Intent]) -> Iterator[tuple[str, str]]:
    if not after.caps:
        return
    for item in opened:
        raised = [name for name, hours in item.more.items() if hours > 0 and name in after.caps]
        held = added(*(found.charged for found in world.of_project(after.name, item.namespace)))
        used = world.spent.get((after.name, item.namespace), {})
        over = beyond(added(held, used, _undecided(world, after, item.namespace)), after.caps, raised)
        if over:
            yield "I1", f"intent {item.number} of {item.uid} lifts {item.namespace} {over} over what a project may hold"


def _undecided(world: World, pool: Pool, namespace: str) -> dict[str, int]:
    """What open operations that are not decided yet add for a project; those that are decided are in its charges."""
    waiting = {
        uid: item for uid, item in pool.intents.items() if (found := world.decided(uid)) is None or found.sequence < item.number
    }
    return added(*(item.more for item in waiting.values() if item.namespace == namespace))


def _total(
    world: World, before: Pool, after: Pool, opened: Iterable[Intent], closed: Iterable[Intent]
) -> Iterator[tuple[str, str]]:
    granted, spent = added(*(item.more for item in opened)), dict[str, int]()
    free = dict[str, int]()  # what of the holds of allocations that are gone may stay, as spent
    for item in closed:
        row = world.decided(item.uid)
        if row is None or (row.sequence < item.number and item.uid in world.allocations):
            yield "I5", f"intent {item.number} of {item.uid} vanished and was never decided"
            continue
        if row.sequence < item.number:
            free = added(free, item.hold)
            granted = less(granted, item.hold)
            continue
        change, used = _effect(item, row)
        granted, spent = added(granted, change), added(spent, used)
    yield from _balance(world, before, after, granted, spent, free)


def _effect(item: Intent, row: Allocation) -> tuple[dict[str, int], Amounts]:
    if row.charge_sequence == item.number:
        return less(added(item.after, item.spend), item.hold), item.spend
    return less(item.before, item.hold), {}


def _balance(
    world: World, before: Pool, after: Pool, granted: Amounts, spent: Amounts, free: Amounts
) -> Iterator[tuple[str, str]]:
    kept = less(less(after.spent, before.spent), spent)
    if not (within(kept, free) and within({}, kept)):
        yield "I5", f"what is spent moved by {added(kept, spent)}, explained is {dict(spent)}"
    if before.granted is None or after.granted is None:
        return
    rest = less(less(after.granted, before.granted), added(granted, kept))
    if rest and not _recounted(world, before, after):
        yield "I5", f"its total moved from {before.granted} to {after.granted}, {rest} of it without a reason"


def _recounted(world: World, before: Pool, after: Pool) -> bool:
    """The total is exactly what has to be held; with nothing open, it may also have been more and stay, or be what is below."""
    counted = _owed(world, after)
    choices: list[Amounts] = [counted]
    if not before.intents and not after.intents:
        choices += [added(*(child.granted or {} for child in world.below(after.name))), before.granted or {}]
    names = {*(after.granted or {}), *(before.granted or {}), *counted}
    return all((after.granted or {}).get(name, 0) in {choice.get(name, 0) for choice in choices} for name in names)


def _owed(world: World, pool: Pool) -> dict[str, int]:
    """What is charged and was spent; for an allocation with an open operation what that holds, and not its charge."""
    charged = (row.charged for uid in pool.intents if (row := world.allocations.get(uid)) is not None)
    rest = less(world.charged(pool.name), added(*charged))
    return added(rest, pool.spent, *(item.hold for item in pool.intents.values()))

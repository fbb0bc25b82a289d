"""I2: a grant rests on exactly one charge, made by exactly one operation; nobody is told or keeps more than is charged."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from bursar_testing.checker.amounts import Amounts, within
from bursar_testing.checker.history import ALLOCATIONS, History, Poll, Told
from bursar_testing.checker.objects import Allocation
from bursar_testing.checker.world import Change, Finding, World


def check(world: World, change: Change) -> Iterator[Finding]:
    """After one write of an allocation."""
    version, before, after = change.version, change.allocation_before, change.version.allocation
    if version.resource != ALLOCATIONS:
        return
    if after is None:
        found = [f"it went while {before.charged} is charged to it"] if before is not None and before.charged else []
    else:
        found = list(_judge(world, before, after))
    for words in found:
        yield Finding("violation", "I2", version.revision, f"{version.key}: {words}")


def _judge(world: World, before: Allocation | None, after: Allocation) -> Iterator[str]:
    if not within(after.granted, after.charged):
        yield f"{after.granted} is granted and {after.charged} charged"
    if before is None:
        if after.granted or after.charged:
            yield "it was made with a grant"
        return
    if after.sequence < before.sequence or after.revision < before.revision:
        yield f"its numbers fell from {before.sequence}, {before.revision} to {after.sequence}, {after.revision}"
    if after.granted != before.granted and after.revision <= before.revision:
        yield f"its grant changed from {before.granted} to {after.granted} under revision {after.revision}"
    if after.charged != before.charged:
        yield from _commit(world, before, after)


def _commit(world: World, before: Allocation, after: Allocation) -> Iterator[str]:
    """One new operation, open in every pool of the path, from what was charged to what is."""
    number, path = after.charge_sequence, world.path(after.leaf)
    if number != after.sequence or number <= before.sequence:
        yield f"its charge changed by operation {number}, and {before.sequence} was decided before, {after.sequence} after"
    if not path or path[-1].parent is not None:
        yield f"its charge changed and its pools are not all there: {[pool.name for pool in path]}"
    for pool in path:
        item = pool.intents.get(after.uid)
        if item is None or item.number != number:
            yield f"operation {number} is not open in pool {pool.name}"
        elif item.before != before.charged or item.after != after.charged:
            steps = f"{item.before} to {item.after}", f"{before.charged} to {after.charged}"
            yield f"operation {number} goes from {steps[0]}, the charge from {steps[1]}"
    if before.deleting and not within(after.charged, before.charged):
        yield "it was raised while it is being deleted"


@dataclass(frozen=True, slots=True)
class Stand:
    """What an allocation is charged and granted from a revision on."""

    at: int
    charged: Amounts
    granted: Amounts
    revision: int


def stands(history: History) -> dict[str, list[Stand]]:
    """uid -> every version in order; nothing is charged once it is gone."""
    found: dict[str, list[Stand]] = {}
    keys: dict[str, str] = {}
    for version in history.versions:
        item = version.allocation
        if item is not None:
            keys[version.key] = item.uid
            found.setdefault(item.uid, []).append(Stand(version.revision, item.charged, item.granted, item.revision))
        elif (uid := keys.pop(version.key, None)) is not None:
            found[uid].append(Stand(version.revision, {}, {}, found[uid][-1].revision))
    return found


def during(stands_of: Sequence[Stand], low: int, high: int) -> Sequence[Stand]:
    """Those that stood at any revision from `low` to `high`."""
    ats = [stand.at for stand in stands_of]
    return stands_of[max(0, bisect_right(ats, low) - 1) : bisect_right(ats, high)]


def check_told(history: History) -> Iterator[Finding]:
    """What agents are told is charged: at the time they are told it, and until they are told something else."""
    known = stands(history)
    told: dict[str, tuple[Told, int]] = {}
    previous_low = 0
    for poll in history.polls:
        for item in poll.told:
            if item.uid in told:
                before, since = told[item.uid]
                yield from _kept(known.get(item.uid, ()), before, since, previous_low)
            told[item.uid] = item, poll.high
            yield from _told(known.get(item.uid, ()), item, poll)
        previous_low = poll.low
    for item, since in told.values():
        yield from _kept(known.get(item.uid, ()), item, since, previous_low)


def _told(found: Sequence[Stand], item: Told, poll: Poll) -> Iterator[Finding]:
    if item.revision is None:
        return
    if not any(within(item.granted, stand.charged) for stand in during(found, poll.low, poll.high)):
        yield Finding("violation", "I2", poll.high, f"agents are told {item.granted} of {item.uid}, which is not charged")
    decided = [stand.granted for stand in found if stand.revision == item.revision and stand.at <= poll.high]
    if item.revision and not any(granted == item.granted for granted in decided):
        yield Finding(
            "violation", "I2", poll.high, f"agents are told {item.granted} of {item.uid} as {item.revision}, never granted"
        )


def _kept(found: Sequence[Stand], item: Told, since: int, until: int) -> Iterator[Finding]:
    """While the tables said so for certain, no version may be charged less."""
    if item.revision is None or until < since:
        return
    for stand in during(found, since, until):
        if not within(item.granted, stand.charged):
            words = f"{stand.charged} is charged to {item.uid} while agents are told {item.granted}"
            yield Finding("violation", "I2", stand.at, words)


def check_acknowledged(history: History) -> Iterator[Finding]:
    """Hours go back to the pool only after the agent of an enforced cluster has read back a grant that does without them."""
    looks = _Acknowledgements(history)
    for uid, found in stands(history).items():
        for before, after in pairwise(found):
            if within(before.charged, after.charged):
                continue
            needed = _needed(found, after)
            known = looks.after(uid, after.at)
            if known is not None and known < needed:
                words = f"{after.charged} is charged to {uid} and its agent has read back {known}, not {needed}"
                yield Finding("violation", "I2", after.at, words)


def _needed(found: Sequence[Stand], after: Stand) -> int:
    """The first revision from which on no grant was more than what stays charged."""
    needed = after.revision
    for stand in reversed([stand for stand in found if stand.at <= after.at and stand.revision]):
        if not within(stand.granted, after.charged):
            break
        needed = stand.revision
    return needed


class _Acknowledgements:
    """Revisions that were read back, by the looks at the tables; they only grow."""

    def __init__(self, history: History) -> None:
        self._lows = [poll.low for poll in history.polls]
        self._acks: dict[str, list[tuple[int, int]]] = {}
        self._clusters = {
            version.allocation.uid: version.allocation.cluster for version in history.versions if version.allocation
        }
        self._enforced = {cluster for poll in history.polls for cluster, _ in poll.agents}
        for number, poll in enumerate(history.polls):
            for uid, revision in poll.acks:
                self._acks.setdefault(uid, []).append((number, revision))

    def after(self, uid: str, at: int) -> int | None:
        """What the first look that began at or after a revision saw; None where there was none, or nobody enforces."""
        number = bisect_left(self._lows, at)
        if number == len(self._lows) or self._clusters.get(uid) not in self._enforced:
            return None
        seen = [revision for look, revision in self._acks.get(uid, ()) if look <= number]
        return seen[-1] if seen else 0

"""I4: what fits is decided within five seconds, at times when nothing is broken on purpose.

A request is an allocation that asks for more than is charged and is not being deleted. It fits while every pool on its path
has room for what is missing (its own open operation aside), the project's cap too. It is decided once it is charged what it
asks for: where there is room all the time, a refusal is none. It is late when it fitted all the time, was never decided, and
the whole time lay in a calm span (`--calm`): one without faults. Time without a leader does not count: neither while its
Lease is not renewed, nor before the next one has claimed the pools.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bursar_testing.checker.amounts import added, less, within
from bursar_testing.checker.history import History
from bursar_testing.checker.objects import Allocation, Pool
from bursar_testing.checker.world import Change, Finding, World

Span = tuple[float, float]
MAY_FIT = frozenset(
    {"", "Waiting", "EpochPending", "QuotaExceeded", "ProjectShareExceeded", "PartlyGranted", "Granted", "Releasing", "Expired"}
)
"""Reasons of those that wait for nothing but room; whatever else keeps an allocation from its hours, room does not help."""
SILENCE_SECONDS = 5.0
"""A Lease that is not written for so long has nobody who leads: it is renewed every two seconds."""
PATIENCE_SECONDS = 600.0
"""A request that waits so long may keep others from what it waits for."""


@dataclass(slots=True)
class _Waiting:
    generation: int
    asked_at: float
    since: float
    """Since when it fits without a break."""


class Promptness:
    """Follows every request that waits."""

    def __init__(self, history: History, calm: Sequence[Span], seconds: float) -> None:
        self._renewals = history.renewals
        self._calm = calm
        self._seconds = seconds
        self._waiting: dict[str, _Waiting] = {}

    def check(self, world: World, change: Change) -> Iterator[Finding]:
        """After one write."""
        version = change.version
        yield from self._late(world, version.at, version.revision)
        item = version.allocation or change.allocation_before
        if item is not None:
            self._note(world, version.allocation, item.uid, version.at)
        if version.pool is not None:
            before = change.pool_before
            claimed = before is None or before.epoch != version.pool.epoch
            for uid in [uid for uid in self._waiting if claimed or not fits(world, world.allocations[uid])]:
                self._waiting[uid].since = version.at

    def finish(self, world: World, history: History) -> Iterator[Finding]:
        """At the end of the history."""
        last = history.versions[-1].revision if history.versions else 0
        yield from self._late(world, history.last_at, last)

    def _note(self, world: World, item: Allocation | None, uid: str, at: float) -> None:
        if item is None or item.deleting or not item.wanted or item.verdict not in MAY_FIT:
            self._waiting.pop(uid, None)
            return
        known = self._waiting.get(uid)
        if known is None or known.generation != item.generation or not fits(world, item):
            self._waiting[uid] = _Waiting(item.generation, at, at)

    def _led_since(self, at: float) -> float | None:
        """Since when somebody leads without a break, for all that the Lease tells; None while nobody does."""
        if not self._renewals:
            return 0.0
        last = bisect_right(self._renewals, at) - 1
        if last < 0 or at - self._renewals[last] > SILENCE_SECONDS:
            return None
        while last > 0 and self._renewals[last] - self._renewals[last - 1] <= SILENCE_SECONDS:
            last -= 1
            if at - self._renewals[last] > self._seconds + SILENCE_SECONDS:
                break
        return self._renewals[last]

    def _late(self, world: World, at: float, revision: int) -> Iterator[Finding]:
        led_since = self._led_since(at) if self._waiting else None
        if led_since is None:
            return
        for uid, waiting in list(self._waiting.items()):
            span = next((span for span in self._calm if span[0] <= at <= span[1]), None)
            begins = None if span is None else max(waiting.since, span[0], led_since)
            if begins is None or at - begins <= self._seconds or not fits(world, world.allocations[uid]):
                continue
            if any(at - other.asked_at >= PATIENCE_SECONDS for other in self._waiting.values()):
                continue
            item = world.allocations[uid]
            self._waiting[uid].since = at
            words = f"{item.namespace}/{item.name} waits for {item.wanted}, which fits, for {at - begins:.1f} s"
            yield Finding("violation", "I4", revision, words)


def fits(world: World, item: Allocation) -> bool:
    """Whether every pool on its path has room for what is missing; its own open operation is not counted."""
    path = world.path(item.leaf)
    if not path or path[-1].parent is not None:
        return False
    return all(_has_room(world, pool, item) for pool in path)


def _has_room(world: World, pool: Pool, item: Allocation) -> bool:
    if pool.granted is None:
        return False
    own = pool.intents[item.uid].more if item.uid in pool.intents else {}
    left = less(pool.limit, less(pool.granted, own))
    wanted = item.wanted
    if not all(left.get(name, 0) >= hours for name, hours in wanted.items()):
        return False
    if not any(name in pool.caps for name in wanted):
        return True
    # Use beyond a charge counts, too, and only the ledger knows of it: a project that has used hours and let go proves nothing.
    charged = added(*(found.charged for found in world.of_project(pool.name, item.namespace)))
    others = (found.more for uid, found in pool.intents.items() if found.namespace == item.namespace and uid != item.uid)
    held = added(charged, *others, wanted)
    used = world.spent.get((pool.name, item.namespace), {})
    return not used and within({name: held.get(name, 0) for name in pool.caps}, pool.caps)

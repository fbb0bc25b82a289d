"""At the end, when nothing is asked any more: nothing is lost and nothing is stuck."""

from collections.abc import Iterator

from bursar_testing.checker.amounts import added, within
from bursar_testing.checker.history import History
from bursar_testing.checker.objects import Allocation
from bursar_testing.checker.promptness import fits
from bursar_testing.checker.world import Finding, World

UNDECIDED = frozenset({"", "Waiting", "EpochPending", "Granted", "Releasing"})
"""Reasons that tell of no decision: at rest nobody waits."""


def check(world: World, history: History, at: int) -> Iterator[Finding]:
    """Everything lost or stuck."""
    for words in _lost(world):
        yield Finding("lost", "lost", at, words)
    for words in [*_stuck_pools(world), *_stuck_allocations(world), *_stuck_books(world, history)]:
        yield Finding("stuck", "stuck", at, words)


def _lost(world: World) -> Iterator[str]:
    for item in world.allocations.values():
        if item.deleting or item.granted == item.asked:
            continue
        name = f"{item.namespace}/{item.name}"
        if item.verdict in UNDECIDED or item.observed != item.generation:
            yield f"{name} asks for {item.asked}, has {item.granted} and no reason ({item.verdict or 'none'})"
        elif item.wanted and fits(world, item):
            yield f"{name} was refused ({item.verdict}) and fits"


def _stuck_pools(world: World) -> Iterator[str]:
    for pool in world.pools.values():
        if pool.intents:
            yield f"pool {pool.name} has {len(pool.intents)} open operations: {sorted(pool.intents)[:3]}"
        owed = added(world.charged(pool.name), pool.spent)
        if pool.granted is None or dict(pool.granted) != owed:
            yield f"pool {pool.name} holds {pool.granted} and owes {owed}"


def _stuck_allocations(world: World) -> Iterator[str]:
    for item in world.allocations.values():
        if item.deleting:
            yield f"{item.namespace}/{item.name} is being deleted and does not go"
        elif dict(item.charged) != dict(item.granted) and not within(item.charged, item.granted):
            yield f"{item.namespace}/{item.name} is charged {item.charged} and granted {item.granted}"


def _stuck_books(world: World, history: History) -> Iterator[str]:
    told = {item.uid: item for poll in history.polls for item in poll.told}
    graves = {uid for poll in history.polls for uid in poll.graves}
    for item in world.allocations.values():
        if item.revision and not item.deleting and not _is_told(item, told.get(item.uid)):
            yield f"agents are not told of {item.namespace}/{item.name}: revision {item.revision}, {item.granted}"
    for uid, gone in world.gone.items():
        if uid in told and uid not in graves:
            yield f"{gone.namespace}/{gone.name} ({uid}) is gone and was published, and nothing says so for good"


def _is_told(item: Allocation, told: object) -> bool:
    return getattr(told, "revision", None) == item.revision and getattr(told, "granted", None) == item.granted

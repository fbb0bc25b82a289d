"""I1: a pool always holds at least what is charged to it and was spent, and what the pools below it hold."""

from collections.abc import Iterator

from bursar_testing.checker.amounts import added, beyond, within
from bursar_testing.checker.history import POOLS
from bursar_testing.checker.objects import Pool
from bursar_testing.checker.world import Change, Finding, World


def check(world: World, change: Change) -> Iterator[Finding]:
    """After one write."""
    version = change.version
    if version.resource == POOLS:
        found = [version.pool] if version.pool else []
        parent = version.pool.parent if version.pool else None
        touched = found + ([world.pools[parent]] if parent in world.pools else [])
    else:
        after, before = version.allocation, change.allocation_before
        if after is not None and after.marked:
            yield Finding("violation", "dry-run", version.revision, f"{version.key} was stored by a dry run")
        touched = world.path((after or before).leaf) if (after or before) else []  # type: ignore[union-attr]
    for pool in touched:
        yield from _judge(world, pool, version.revision)


def _judge(world: World, pool: Pool, revision: int) -> Iterator[Finding]:
    charged = world.charged(pool.name)
    if pool.granted is None:
        if charged and pool.epoch:
            yield Finding("violation", "I1", revision, f"pool {pool.name} is not counted and {charged} is charged to it")
        return
    owed = added(charged, pool.spent)
    if not within(owed, pool.granted):
        over = beyond(owed, pool.granted, owed)
        yield Finding(
            "violation", "I1", revision, f"pool {pool.name} holds {pool.granted}, {over} less than is charged and spent"
        )
    held = added(*(child.granted or {} for child in world.below(pool.name)))
    if not within(held, pool.granted):
        over = beyond(held, pool.granted, held)
        yield Finding("violation", "I1", revision, f"pool {pool.name} holds {over} less than the pools below it")

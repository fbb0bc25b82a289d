"""I3: no charge outlives its allocation by more than a recount and a minute after the agent's acknowledgement."""

from collections.abc import Iterator

from bursar_testing.checker.amounts import added, beyond
from bursar_testing.checker.history import POOLS, History
from bursar_testing.checker.objects import Pool
from bursar_testing.checker.world import Change, Finding, World

SLACK_SECONDS = 60.0


class Outliving:
    """Follows what pools hold beyond what is owed, and allocations whose end is acknowledged."""

    def __init__(self, history: History, recount_seconds: float) -> None:
        self._bound = recount_seconds + SLACK_SECONDS
        self._acknowledged = _acknowledged(history)
        self._surplus: dict[str, float] = {}
        """Pool -> since when it holds more than is owed with nothing open."""
        self._ghosts: dict[tuple[str, str], float] = {}
        """Pool and uid that is gone -> since when the pool has an operation of it."""
        self._ending: dict[str, float] = {}
        """Allocation that goes and is still charged -> since when its agent knows."""

    def check(self, world: World, change: Change) -> Iterator[Finding]:
        """After one write."""
        version = change.version
        yield from self._late(version.at, version.revision)
        if version.resource == POOLS:
            name = version.key.split("/", 1)[1]
            self._note_pool(world, name, world.pools.get(name), version.at)
            return
        before, after = change.allocation_before, version.allocation
        uid = after.uid if after else before.uid if before else ""
        if after is not None and after.deleting and after.charged and not after.granted:
            since = self._acknowledged.get((uid, after.revision))
            if since is not None:
                self._ending.setdefault(uid, max(since, version.at))
        else:
            self._ending.pop(uid, None)
        for pool in world.path((after or before).leaf) if (after or before) else []:  # type: ignore[union-attr]
            self._note_pool(world, pool.name, pool, version.at)

    def finish(self, history: History) -> Iterator[Finding]:
        """At the end of the history."""
        last = history.versions[-1].revision if history.versions else 0
        yield from self._late(history.last_at, last)

    def _note_pool(self, world: World, name: str, pool: Pool | None, at: float) -> None:
        owed = {} if pool is None else added(world.charged(name), pool.spent)
        if pool is None or pool.intents or not beyond(pool.granted or {}, owed, pool.granted or {}):
            self._surplus.pop(name, None)
        else:
            self._surplus.setdefault(name, at)
        ghosts = {uid for uid in (pool.intents if pool else ()) if uid in world.gone}
        for key in [key for key in self._ghosts if key[0] == name and key[1] not in ghosts]:
            del self._ghosts[key]
        for uid in ghosts:
            self._ghosts.setdefault((name, uid), at)

    def _late(self, at: float, revision: int) -> Iterator[Finding]:
        late = [f"pool {name} holds more than is owed" for name, since in self._surplus.items() if at - since > self._bound]
        late += [f"pool {name} holds {uid}, which is gone" for (name, uid), t in self._ghosts.items() if at - t > self._bound]
        late += [f"{uid} goes and is still charged" for uid, since in self._ending.items() if at - since > self._bound]
        if late:
            self._surplus.clear()
            self._ghosts.clear()
            self._ending.clear()
        for words in late:
            yield Finding("violation", "I3", revision, f"{words}, for longer than {self._bound:.0f} s")


def _acknowledged(history: History) -> dict[tuple[str, int], float]:
    """uid and revision -> when the tables first had it read back."""
    found: dict[tuple[str, int], float] = {}
    for poll in history.polls:
        for ack in poll.acks:
            found.setdefault(ack, poll.at)
    return found

"""Allocations that are gone: proven by a quorum read, tombstoned in the ledger, their intents closed once that is known."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final

from bursar_kube.client import Kube
from bursar_kube.errors import NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import ALLOCATIONS
from bursar_operator.copies import Key
from bursar_operator.domain.grant import TOMBSTONE
from bursar_operator.domain.rows import Obj
from bursar_operator.ledgerview import LedgerView
from bursar_operator.pools import Pools

WORKERS: Final = 4
AGAIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Departed:
    """An allocation that seems to be gone; namespace and name are empty where a quorum list has proven it."""

    uid: str
    namespace: str = ""
    name: str = ""


class Departures:
    """Follows up on what is gone. `present` has an allocation looked at that turns out to be there."""

    def __init__(self, kube: Kube, ledger: LedgerView, pools: Pools, present: Callable[[Key], None]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._pools = pools
        self._present = present
        self._queue: WorkQueue[Departed] = WorkQueue("departures")

    def add(self, obj: Obj) -> None:
        """The informer saw this object deleted."""
        metadata = obj["metadata"]
        self._queue.add(Departed(metadata["uid"], metadata["namespace"], metadata["name"]))

    def review(self, living: Collection[str], clusters: Iterable[str]) -> None:
        """After the quorum list of a new term: whatever the pools or the ledger know and the list does not is gone."""
        known = {intent.uid for intent in self._pools.intents_of_all()}
        known.update(uid for cluster in clusters for uid in self._ledger.uids(cluster) if not self._is_tombstoned(uid))
        for uid in known.difference(living):
            self._queue.add(Departed(uid))

    async def run(self) -> None:
        """Work until cancelled."""
        await self._queue.run(WORKERS, self._follow_up)

    def _is_tombstoned(self, uid: str) -> bool:
        published = self._ledger.revision(uid)
        return published is not None and published[0] >= TOMBSTONE

    async def _follow_up(self, departed: Departed) -> float | None:
        if departed.name and not await self._is_gone(departed):
            self._present((departed.namespace, departed.name))
            return None
        uid = departed.uid
        if self._ledger.revision(uid) is None and not self._pools.holds(uid):
            return None
        if not self._is_tombstoned(uid):
            await self._ledger.tombstone(uid)
        if not self._pools.holds(uid):
            return None
        if self._ledger.tombstoned(uid):
            self._pools.proven_gone(uid, self._ledger.used_hours(uid))
            return None
        return AGAIN_SECONDS

    async def _is_gone(self, departed: Departed) -> bool:
        try:
            obj = await self._kube.get(ALLOCATIONS, departed.name, departed.namespace)
        except NotFound:
            return True
        return bool(obj["metadata"]["uid"] != departed.uid)

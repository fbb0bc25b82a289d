"""Allocations that are gone: proven by a quorum read, tombstoned in the ledger, their intents closed once that is known.

One that was torn away (its finalizer taken by force) left hours with its pools. Before its tombstone, after which a recount
may take them back, a deletion is opened there, so that what was used stays spent when it is closed.
"""

from collections.abc import Callable, Iterable, Set
from typing import Final

import structlog

from bursar_kube.client import Kube
from bursar_kube.errors import NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import ALLOCATIONS
from bursar_operator.copies import Key
from bursar_operator.domain import hours
from bursar_operator.domain.batch import Gone
from bursar_operator.domain.grant import TOMBSTONE
from bursar_operator.domain.rows import Obj, row_of
from bursar_operator.ledgerview import LedgerView
from bursar_operator.pools import Pools

WORKERS: Final = 64  # nearly all the time they wait: for a round of publication each, which many share
AGAIN_SECONDS: Final = 1.0
LOG = structlog.get_logger("bursar.grants")


class Departures:
    """Follows up on what is gone. `present` has an allocation looked at that turns out to be there."""

    def __init__(self, kube: Kube, ledger: LedgerView, pools: Pools, present: Callable[[Key], None]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._pools = pools
        self._present = present
        self._queue: WorkQueue[str] = WorkQueue("departures")
        self._seen: dict[str, Gone] = {}

    def add(self, obj: Obj) -> None:
        """The informer saw this object deleted."""
        row = row_of(obj)
        self._seen[row.uid] = Gone(row.uid, row.namespace, row.name, row.leaf or "", row.state.charged)
        self._queue.add(row.uid)

    def review(self, living: Set[str], clusters: Iterable[str]) -> None:
        """After the quorum list of a new term: whatever the pools or the ledger know and the list does not is gone."""
        known = {intent.uid for intent in self._pools.intents_of_all()}
        gone = {uid for cluster in clusters for uid in self._ledger.uids(cluster) if uid not in living}
        for uid in (known - living) | {uid for uid in gone if not self._is_tombstoned(uid)}:
            self._queue.add(uid)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._queue.run(WORKERS, self._follow_up)

    def _is_tombstoned(self, uid: str) -> bool:
        published = self._ledger.revision(uid)
        return published is not None and published[0] >= TOMBSTONE

    async def _follow_up(self, uid: str) -> float | None:
        again = await self._step(uid, self._seen.get(uid))
        if again is None:
            self._seen.pop(uid, None)
        return again

    async def _step(self, uid: str, seen: Gone | None) -> float | None:
        if seen is not None and not await self._is_gone(seen):
            self._present((seen.namespace, seen.name))
            return None
        if self._ledger.revision(uid) is None and not self._pools.holds(uid):
            return None
        if not self._is_tombstoned(uid):
            if not self._is_kept(uid, seen):
                return AGAIN_SECONDS
            await self._ledger.tombstone(uid)
        if not self._pools.holds(uid):
            return None
        if self._ledger.tombstoned(uid):
            self._pools.proven_gone(uid, self._ledger.used_hours(uid))
            return None
        return AGAIN_SECONDS

    def _is_kept(self, uid: str, seen: Gone | None) -> bool:
        """Whether its pools keep its hours until it is told what of them was used."""
        gone = seen or self._ledger.gone(uid)
        if gone is None or hours.is_zero(gone.charged):
            return True
        if not self._pools.keeps(gone):
            return False
        LOG.warning("an allocation was torn away; the hours it used stay spent", namespace=gone.namespace, name=gone.name)
        return True

    async def _is_gone(self, seen: Gone) -> bool:
        try:
            obj = await self._kube.get(ALLOCATIONS, seen.name, seen.namespace)
        except NotFound:
            return True
        return bool(obj["metadata"]["uid"] != seen.uid)

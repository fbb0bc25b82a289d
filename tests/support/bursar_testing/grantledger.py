"""Books whose acknowledgements a test controls: what the grant core asks of the ledger, kept in memory."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from bursar_operator.domain import hours
from bursar_operator.domain.batch import Gone
from bursar_operator.domain.grant import TOMBSTONE
from bursar_operator.informers import Informers
from bursar_operator.ledgerview import Figures
from bursar_testing.frailkube import Life

Obj = dict[str, Any]


class GrantLedger:
    """Publishes what the allocations' statuses grant, as the desired state does; acknowledges at once, or when told to."""

    def __init__(self, *, acknowledges: bool = True, enforced: bool = True) -> None:
        self.acknowledges = acknowledges
        self.enforced = enforced
        self.published: dict[str, tuple[int, dict[str, int]]] = {}
        self.acks: dict[str, int] = {}
        self.used: dict[str, dict[str, int]] = {}
        self.committed: dict[str, dict[str, int]] = {}
        self.shown: dict[str, Figures] = {}
        self.lowered: list[tuple[str, dict[str, int]]] = []
        self.clusters: dict[str, str] = {}
        self.pools: dict[str, str] = {}
        self._touch: Callable[[str, str], None] = lambda namespace, name: None
        self._keys: dict[str, tuple[str, str]] = {}

    def follow(self, informers: Informers, touch: Callable[[str, str], None]) -> None:
        """Publish from now on what this term's informer shows."""
        self._touch = touch
        informers.allocations.subscribe(lambda event, old, new: self._take(new))

    def name(self, uid: str) -> str:
        """The name of an allocation that was ever seen."""
        return self._keys[uid][1]

    def acknowledge(self) -> None:
        """The agents have read back everything that is published."""
        for uid, (revision, _) in self.published.items():
            self.acks[uid] = revision
        for key in self._keys.values():
            self._touch(*key)

    def _take(self, obj: Obj | None) -> None:
        if obj is None:
            return
        metadata, status = obj["metadata"], obj.get("status") or {}
        uid, revision = metadata["uid"], status.get("grantRevision") or 0
        self._keys[uid] = metadata["namespace"], metadata["name"]
        self.clusters[uid] = obj["spec"]["clusterRef"]["name"]
        self.pools[uid] = status.get("pool") or ""
        if revision > self.published.get(uid, (0, {}))[0]:
            self._publish(uid, revision, hours.of(status.get("granted")))

    def _publish(self, uid: str, revision: int, granted: dict[str, int]) -> None:
        self.published[uid] = revision, granted
        if self.acknowledges:
            self.acks[uid] = revision
        self._touch(*self._keys[uid])

    # what the grant core asks

    def ack(self, uid: str) -> int | None:
        return self.acks.get(uid)

    def enforced_at(self, uid: str) -> datetime | None:
        return None

    def revision(self, uid: str) -> tuple[int, Mapping[str, int]] | None:
        return self.published.get(uid)

    def used_hours(self, uid: str) -> Mapping[str, int]:
        return self.used.get(uid, {})

    def committed_hours(self, uid: str) -> Mapping[str, int]:
        return self.committed.get(uid, {})

    def figures(self, uid: str) -> Figures | None:
        return self.shown.get(uid)

    def acknowledged_as_not_enforced(self, cluster: str) -> bool:
        return not self.enforced

    def complete_until(self, cluster: str) -> datetime | None:
        return None

    def uids(self, cluster: str) -> Iterable[str]:
        return [uid for uid in self.published if self.clusters.get(uid) == cluster]

    def uses(self, cluster: str, account: str) -> Iterable[tuple[str, str, Mapping[str, int]]]:
        return [(uid, self.pools.get(uid, ""), used) for uid, used in self.used.items() if self.clusters.get(uid) == cluster]

    def gone(self, uid: str) -> Gone | None:
        if uid not in self._keys:
            return None
        return Gone(uid, *self._keys[uid], self.pools.get(uid, ""), self.published.get(uid, (0, {}))[1])

    def tombstoned(self, uid: str) -> bool:
        return self.published.get(uid, (0, {}))[0] >= TOMBSTONE and (self.acknowledges or not self.enforced)

    async def tombstone(self, uid: str) -> None:
        self.published[uid] = TOMBSTONE, {}


class MortalLedger(GrantLedger):
    """The same books as one process sees and writes them, as long as its life lasts."""

    def __init__(self, books: GrantLedger, life: Life) -> None:
        super().__init__()
        self.__dict__.update(books.__dict__)
        self._life = life

    def _publish(self, uid: str, revision: int, granted: dict[str, int]) -> None:
        if self._life.may_write():
            super()._publish(uid, revision, granted)

    async def tombstone(self, uid: str) -> None:
        if not self._life.may_write():
            await self._life.ended()
        await super().tombstone(uid)
        if self._life.dead.is_set():
            await self._life.ended()

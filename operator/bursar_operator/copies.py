"""Copies of allocations: what the informer holds or what this process wrote last, whichever is newer."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from sys import intern
from typing import Final

import structlog

from bursar_kube.client import Kube, PagesGone
from bursar_kube.informer import EventType
from bursar_kube.resources import ALLOCATIONS
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.poolstatus import Listed
from bursar_operator.domain.rows import Obj, Row, drawn, row_of, version
from bursar_operator.informers import BY_NAMESPACE, Informers
from bursar_operator.recent import Recent

GONE_MAXIMUM: Final = 10_000
ROWS_MAXIMUM: Final = 5_000
AGAIN_SECONDS: Final = 1.0
LOG = structlog.get_logger("bursar.grants")
Key = tuple[str, str]
"""Namespace and name."""


class Copies:
    """Newest copy of every allocation. `changed` is told of a newer one that this process did not write, `departed` of the
    object that a deletion left."""

    def __init__(
        self, kube: Kube, informers: Informers, changed: Callable[[Key], None], departed: Callable[[Obj], None]
    ) -> None:
        self._kube = kube
        self._informer = informers.allocations
        self._changed = changed
        self._departed = departed
        self._own: dict[Key, Obj] = {}
        self._last: dict[Key, Obj] = {}  # of what is not there any more, until the informer tells of that
        self._under_way: dict[Key, list[int]] = {}  # versions that were seen while a write of this process had no answer
        self._keys: dict[str, Key] = {}
        self._rows: Recent[str, Row] = Recent(ROWS_MAXIMUM)
        self._gone: dict[str, None] = {}  # the latest: an answer that comes late must not bring them back
        self._loading = True
        self.touched: Callable[[str, str], None] = lambda namespace, uid: None
        """Told of the namespace and uid of every copy that changes or goes."""

    async def start(self) -> Mapping[str, Hours]:
        """Read every allocation now, after the pools are claimed, and follow them from there; Σ charged by leaf pool."""
        warm = self._informer.is_synced
        self._informer.subscribe(self._on_event)
        await self._informer.start()
        self._informer.release()
        await self._informer.synced()
        self._loading = False
        listed = Listed()
        for obj in self._informer.each():
            self._keys[obj["metadata"]["uid"]] = _key(obj)
            listed.draw(*drawn(obj))
            if _is_urgent(obj):
                self._changed(_key(obj))
        return (await self.quorum(lambda row: True)).charged if warm else listed.charged

    async def quorum(self, is_settled: Callable[[Row], bool]) -> Listed:
        """Every allocation as the API server holds it after this call began; the copies are at least as new then.

        It is read by the page: all at once would take a hundred times the memory.
        """
        while True:
            listed = Listed()
            try:
                async for page in self._kube.pages(ALLOCATIONS):
                    for obj in page:
                        row = row_of(obj)
                        listed.add(row, settled=is_settled(row))
                        self.saw(obj)
            except PagesGone:
                LOG.warning("reading every allocation took longer than the API server keeps a list; reading again")
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            return listed

    def keys(self) -> list[Key]:
        """Every allocation."""
        return list(self._keys.values())

    def uids(self) -> Iterable[str]:
        """Every UID."""
        return self._keys.keys()

    def get(self, key: Key) -> Obj | None:
        """The newest copy; None where the object was found to be gone."""
        if self._is_absent(key):
            return None
        seen, own = self._informer.get(*key), self._own.get(key)
        if own is None:
            return seen
        if seen is not None and version(seen) >= version(own):
            del self._own[key]
            return seen
        return own

    def _is_absent(self, key: Key) -> bool:
        last = self._last.get(key)
        if last is None:
            return False
        present = self._version(key)
        if present is not None and present > version(last):
            del self._last[key]
        return key in self._last

    def row(self, uid: str) -> Row | None:
        """The newest copy as a row; None where the allocation is gone."""
        key, row = self._keys.get(uid), self._rows.get(uid)
        if key is not None and self._is_absent(key):
            return None
        if key is None or (row is not None and row.version == self._version(key)):
            return None if key is None else row
        obj = self.get(key)
        return self._rows.put(uid, row_of(obj)) if obj is not None and obj["metadata"]["uid"] == uid else None

    def _version(self, key: Key) -> int | None:
        """The version of the newest copy."""
        seen, own = self._informer.version(*key), self._own.get(key)
        versions = ([] if seen is None else [int(seen)]) + ([] if own is None else [version(own)])
        return max(versions, default=None)

    def rows_in(self, namespace: str) -> list[Row]:
        """The newest copies of a namespace."""
        keys = {*self._informer.keys_by_index(BY_NAMESPACE, namespace), *(key for key in self._own if key[0] == namespace)}
        found = [obj for key in keys if (obj := self.get(key)) is not None]
        return [row for obj in found if (row := self.row(obj["metadata"]["uid"])) is not None]

    def saw(self, obj: Obj) -> None:
        """Take in what a read gave. It has to be looked at: the informer's event of the same version tells nothing new."""
        if self.adopt(obj):
            self._changed(_key(obj))

    def adopt(self, obj: Obj) -> bool:
        """Take in what a write gave, unless a newer copy is there; whether it was taken."""
        obj["metadata"].pop("managedFields", None)
        key = _key(obj)
        present = self._version(key)
        if obj["metadata"]["uid"] in self._gone or (present is not None and version(obj) <= present):
            return False
        self._own[key] = obj
        self._keys[obj["metadata"]["uid"]] = key
        self.touched(key[0], obj["metadata"]["uid"])
        return True

    async def written(self, key: Key, write: Awaitable[Obj]) -> Obj:
        """What a write gives, taken in. An event that tells of that very write, and may well come first, is no news."""
        self._under_way[key] = []
        stored: Obj | None = None
        try:
            stored = await write
            self.adopt(stored)
            return stored
        finally:
            if any(stored is None or seen != version(stored) for seen in self._under_way.pop(key)):
                self._changed(key)

    def forget(self, key: Key) -> None:
        """The object is not there. The informer's copy, which may be older, is nothing to go by until it tells so, too."""
        last = self.get(key)
        self._own.pop(key, None)
        if last is not None and self._informer.version(*key) is not None:
            self._last[key] = last

    def _on_event(self, event: EventType, old: Obj | None, new: Obj | None) -> None:
        if new is None:
            if old is not None:
                self._on_gone(old)
            return
        if self._loading:  # thousands at once: those that wait are told of when all are in, the others by and by
            return
        key = _key(new)
        own = self._own.get(key)
        self._keys[new["metadata"]["uid"]] = key
        self.touched(key[0], new["metadata"]["uid"])
        if old is not None and old["metadata"]["uid"] != new["metadata"]["uid"]:
            self._on_gone(old)
            self._keys[new["metadata"]["uid"]] = key
        if own is None or version(new) > version(own):
            self._own.pop(key, None)
            if key in self._under_way:
                self._under_way[key].append(version(new))
            else:
                self._changed(key)
        elif version(new) == version(own):
            del self._own[key]

    def _on_gone(self, obj: Obj) -> None:
        """A watch that was cut may never have told what this process wrote last: what was charged before counts no more."""
        uid, key = obj["metadata"]["uid"], _key(obj)
        last, own = self._last.pop(key, None), self._own.get(key)
        if own is not None and own["metadata"]["uid"] == uid:
            last = self._own.pop(key)
        if last is not None and last["metadata"]["uid"] == uid and version(last) > version(obj):
            obj = last
        self._keys.pop(uid, None)
        self._rows.drop(uid)
        self._gone[uid] = None
        if len(self._gone) > GONE_MAXIMUM:
            del self._gone[next(iter(self._gone))]
        self.touched(obj["metadata"]["namespace"], uid)
        self._departed(obj)


def _key(obj: Obj) -> Key:
    return intern(obj["metadata"]["namespace"]), obj["metadata"]["name"]


def _is_urgent(obj: Obj) -> bool:
    """Whether the object waits for this process, as far as a glance tells."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    return (
        "deletionTimestamp" in metadata
        or status.get("observedGeneration") != metadata.get("generation")
        or status.get("grantGeneration") != metadata.get("generation")
        or status.get("granted") != status.get("charged")
    )

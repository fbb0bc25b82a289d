"""What allocations come to in the desired state. Others have turns while many are built, and yet all are one state."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from bursar_domain.wire import AllocationEntry
from bursar_operator.accounts import Accounts
from bursar_operator.domain import entries
from bursar_operator.informers import Informers
from bursar_operator.recent import Recent

BUILT_MAXIMUM: Final = 6_000
AT_ONCE: Final = 200
Obj = dict[str, Any]
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Built:
    """What one version of an allocation comes to; no entry where nothing is granted, or more than is charged."""

    uid: str
    version: str
    booked: int
    """Entries in the ledger that its terms rest on."""
    cluster: str
    entry: AllocationEntry | None
    is_edited: bool


class Builder:
    """Builds each version once, as long as it is kept.

    ``fresh`` holds the uids of what was built with an entry and not stored since: nothing else may differ from what is stored.
    """

    def __init__(self, informers: Informers, accounts: Accounts) -> None:
        self._informer = informers.allocations
        self._accounts = accounts
        self._built: Recent[Key, Built] = Recent(BUILT_MAXIMUM)
        self._prepared: dict[Key, Built] = {}  # of one publication, which may have more than is kept
        self.fresh: set[str] = set()

    async def prepare(self, places: Iterable[Key]) -> bool:
        """Build what is not built yet, until `settle`; whether others had turns, so that some may be older than it is now."""
        count = 0
        for place in places:
            if self._known(place) is None:
                self.of(place)
                count += 1
                if count % AT_ONCE == 0:
                    await asyncio.sleep(0)
        return count >= AT_ONCE

    def settle(self) -> None:
        """Keep no more than what is kept at any time."""
        self._prepared = {}

    def of(self, place: Key) -> Built | None:
        """What an allocation comes to. Kept for a version of the object and for what is booked: an account whose allocations
        change one after the other costs what changed."""
        known = self._known(place)
        if known is not None:
            self._prepared[place] = known
            return known
        item = self._informer.get(*place)
        if item is None:
            return None
        self._prepared[place] = self._build(item)
        return self._built.put(place, self._prepared[place])

    def drop(self, namespace: str, name: str) -> None:
        """The allocation is gone."""
        self._built.drop((namespace, name))

    def _known(self, place: Key) -> Built | None:
        version = self._informer.version(*place)
        for known in (self._prepared.get(place), self._built.get(place)):
            if known is not None and (known.version, known.booked) == (version, self._accounts.count(known.uid)):
                return known
        return None

    def _build(self, item: Obj) -> Built:
        metadata, is_edited = item["metadata"], entries.is_overgranted(item)
        is_published = entries.is_granted(item) and not is_edited
        entry = entries.allocation_entry(item, self._accounts.living(item)) if is_published else None
        if entry is not None:
            self.fresh.add(metadata["uid"])
        count, cluster = self._accounts.count(metadata["uid"]), item["spec"]["clusterRef"]["name"]
        return Built(metadata["uid"], metadata["resourceVersion"], count, cluster, entry, is_edited)

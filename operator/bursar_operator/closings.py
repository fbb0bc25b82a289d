"""Windows that close: which are due is asked of every allocation of a cluster, answered at little cost and with pauses."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import groupby
from sys import intern
from typing import Final, NamedTuple

from bursar_operator.accounts import Accounts
from bursar_operator.directory import Directory
from bursar_operator.informers import BY_CLUSTER, Informers

AT_ONCE: Final = 200
Key = tuple[str, str]
"""Cluster and account, or namespace and name."""


class Seen(NamedTuple):
    """At which watermark the next window of one version of an allocation closes; None: never."""

    uid: str
    version: str
    booked: int
    closes: int | None


class Closings:
    """Books what becomes of windows whose last slot is closed. An allocation that is what it was is not unpacked again."""

    def __init__(
        self, informers: Informers, accounts: Accounts, directory: Directory, read_use: Callable[[Key], Awaitable[None]]
    ) -> None:
        self._informer = informers.allocations
        self._accounts = accounts
        self._directory = directory
        self._read_use = read_use
        self._seen: dict[Key, Seen] = {}

    async def book(self, cluster: str, watermark: int, now: int) -> list[Key]:
        """Book it, in one write for each account; the accounts for which there was any."""
        found = await self._due(cluster, watermark)
        for key, places in found.items():
            if self._accounts.has_use(key):
                await self._read_use(key)
            items = (item for place in places if (item := self._informer.get(*place)) is not None)
            entries = [entry for item in items for entry in self._accounts.closings(item, key, watermark)]
            await self._accounts.book(entries, now)
        return list(found)

    def forget(self, namespace: str, name: str) -> None:
        """The allocation is gone."""
        self._seen.pop((namespace, name), None)

    async def _due(self, cluster: str, watermark: int) -> dict[Key, list[Key]]:
        """Where something is to be booked, by account in order."""
        found: list[tuple[Key, Key]] = []
        for number, place in enumerate(self._informer.keys_by_index(BY_CLUSTER, cluster)):
            if number % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)
            closes = self._closes(place)
            key = self._directory.key_in(place[0], cluster) if closes is not None and closes <= watermark else None
            if key is not None:
                found.append((key, place))
        return {key: [place for _, place in some] for key, some in groupby(sorted(found), lambda item: item[0])}

    def _closes(self, place: Key) -> int | None:
        seen = self._seen.get(place)
        if seen is not None and (seen.version, seen.booked) == (self._informer.version(*place), self._accounts.count(seen.uid)):
            return seen.closes
        item = self._informer.get(*place)
        if item is None:
            return None
        uid, version = intern(item["metadata"]["uid"]), item["metadata"]["resourceVersion"]
        self._seen[place] = Seen(uid, version, self._accounts.count(uid), self._accounts.closes(item))
        return self._seen[place].closes

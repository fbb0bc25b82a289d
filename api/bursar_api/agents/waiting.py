"""Long polls: one reader of the ledger's generations per process wakes everybody who waits for a newer one."""

import asyncio
import logging
from contextlib import suppress
from typing import Final

from bursar_ledger import Ledger, LedgerError, Version

POLL_SECONDS: Final = 0.05
RETRY_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)
Waiter = tuple[str, Version | None, asyncio.Event]


class Generations:
    """Reads the versions of all clusters while somebody waits, and only then."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._waiters: set[Waiter] = set()
        self._draining = False
        self._task: asyncio.Task[None] | None = None

    async def newer(self, cluster: str, known: Version | None) -> None:
        """Return once the cluster's version is another one than ``known``, or nobody may wait any more; cancel it to stop."""
        if self._draining:
            return
        waiter = (cluster, known, asyncio.Event())
        self._waiters.add(waiter)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        try:
            await waiter[2].wait()
        finally:
            self._waiters.discard(waiter)

    def drain(self) -> None:
        """Send everybody away, for good: the process is about to end."""
        self._draining = True
        for _, _, event in self._waiters:
            event.set()

    async def _poll(self) -> None:
        while self._waiters:
            try:
                versions = await self._ledger.desired_versions()
            except LedgerError as error:
                _log.warning("waiting agents are not woken: %s", error)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            for cluster, known, event in self._waiters:
                if versions.get(cluster) != known:
                    event.set()
            await asyncio.sleep(POLL_SECONDS)


class Heartbeats:
    """Signs of life, written every few seconds for all agents together; who waits in a long poll is alive."""

    SECONDS: Final = 5.0

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._seen: dict[tuple[str, str], int] = {}
        self._waiting: dict[tuple[str, str], int] = {}
        self._task: asyncio.Task[None] | None = None

    def seen(self, cluster: str, session: str, now: int) -> None:
        """The session called."""
        self._seen[cluster, session] = now
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._write())

    def waits(self, cluster: str, session: str, change: int) -> None:
        """One more (+1) or one less (-1) of its calls waits."""
        count = self._waiting.pop((cluster, session), 0) + change
        if count > 0:
            self._waiting[cluster, session] = count

    def forget(self, cluster: str, session: str) -> None:
        """The session's connection broke: what is not written yet stays unwritten, unless another of its calls waits."""
        if (cluster, session) not in self._waiting:
            self._seen.pop((cluster, session), None)

    async def _write(self) -> None:
        loop = asyncio.get_running_loop()
        while self._seen:
            seen, self._seen = self._seen, {}
            began = loop.time()
            with suppress(LedgerError):  # the next round tells it again
                await self._ledger.touch_all(seen)
            await asyncio.sleep(self.SECONDS)
            later = max(seen.values()) + round(loop.time() - began)
            self._seen = dict.fromkeys(self._waiting, later) | self._seen

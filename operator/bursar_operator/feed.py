"""The ledger's change feed: five looks a second, which cost next to nothing while nothing changes; only that is read again."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import structlog

from bursar_domain.units import HOUR
from bursar_ledger.changes import Change
from bursar_ledger.ledger import Ledger
from bursar_operator.books import Books
from bursar_operator.metrics import Metrics

POLL_SECONDS: Final = 0.2
STATES_SECONDS: Final = 1.0
SWEEP_SECONDS: Final = 15.0
WATERMARK_SECONDS: Final = 60.0
LOG = structlog.get_logger("bursar.operator")


class Audience(Protocol):
    """Who is told."""

    def cluster_changed(self, cluster: str) -> None:
        """Its agent said something."""

    def account_changed(self, cluster: str, account: str) -> None:
        """Its state at the scheduler, or its use, changed."""

    def entries_changed(self, cluster: str, account: str) -> None:
        """Something was booked for it."""

    async def enrolment_asked(self) -> None:
        """An agent waits to be let in."""


class Feed:
    """Keeps `Books` fresh and tells the audience."""

    def __init__(
        self, ledger: Ledger, books: Books, audience: Audience, metrics: Metrics, monotonic: Callable[[], float]
    ) -> None:
        self._ledger = ledger
        self._books = books
        self._audience = audience
        self._metrics = metrics
        self._monotonic = monotonic
        self._number = 0
        self._is_behind = True
        self._states_due: dict[str, float] = {}
        self._states_wanted: dict[str, set[str]] = {}
        self._watermarks: dict[str, float] = {}
        self._closed: dict[str, int] = {}
        self._swept = 0.0

    async def start(self) -> None:
        """Begin after what `Books.load` is going to read; call it before."""
        self._number = await self._ledger.change_number()

    async def run(self) -> None:
        """Look for ever; a look that fails is repeated."""
        await self._audience.enrolment_asked()
        while True:
            try:
                await self._look()
            except Exception as error:
                self._metrics.failures.labels("feed").inc()
                LOG.exception("the ledger could not be read; trying again", error=str(error))
                await asyncio.sleep(1.0)
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self) -> None:
        is_due = self._monotonic() - self._swept > SWEEP_SECONDS
        if self._ledger.may_have_changed() or self._is_behind or is_due:
            self._is_behind = True  # until it was read to the end
            await self._read_changes()
            self._is_behind = False
        await self._read_states()
        async for cluster, account in self._books.unsettled():
            await self._use(cluster, account)
        if is_due:
            self._swept = self._monotonic()
            await self._books.refresh_agents()
            for cluster in self._books.clusters():
                await self._watermark(cluster)
            await self._audience.enrolment_asked()

    async def _read_changes(self) -> None:
        newest = await self._ledger.change_number()
        if newest != self._number:
            changes = await self._ledger.changes(self._number)
            await self._take(changes)
            self._number = max((change.number for change in changes), default=newest)
            self._metrics.ledger_change.set(self._number)

    async def _take(self, changes: Sequence[Change]) -> None:
        agents = {
            change.cluster for change in changes if change.kind in ("hello", "status", "usage") and change.account is None
        }
        if agents:
            await self._books.refresh_agents()
        for cluster in {change.cluster for change in changes if change.kind == "status"}:
            for uid in await self._books.refresh_acknowledgements(cluster):
                self._books.touch(uid)
        for change in changes:
            if change.account is not None and change.kind == "entry":
                await self._entries(change.cluster, change.account)
            elif change.account is not None and change.kind == "usage":
                await self._use(change.cluster, change.account)
            elif change.account is not None and change.kind == "status":
                self._states_wanted.setdefault(change.cluster, set()).add(change.account)
        for cluster in agents:
            self._audience.cluster_changed(cluster)
            await self._watermark(cluster)
        if any(change.kind == "hello" for change in changes):
            for cluster in agents:
                self._books.touch_cluster(cluster)
        if any(change.kind == "enrolment" for change in changes):
            await self._audience.enrolment_asked()

    async def _entries(self, cluster: str, account: str) -> None:
        """Somebody booked something: the account's terms are others, and so is what its agent has to know."""
        if await self._books.refresh_entries(cluster, account):
            self._audience.entries_changed(cluster, account)
            self._books.touch_account(cluster, account)

    async def _use(self, cluster: str, account: str) -> None:
        await self._books.refresh_use(cluster, account)
        self._books.touch_account(cluster, account)
        self._audience.account_changed(cluster, account)

    async def _read_states(self) -> None:
        """States are read whole per cluster, so at most once a second each."""
        now = self._monotonic()
        for cluster in [name for name in self._states_wanted if self._states_due.get(name, 0.0) <= now]:
            self._states_due[cluster] = now + STATES_SECONDS
            accounts = self._states_wanted.pop(cluster)
            await self._books.refresh_states(cluster)
            self._audience.cluster_changed(cluster)
            for account in accounts:
                self._books.touch_account(cluster, account)
                self._audience.account_changed(cluster, account)

    async def _watermark(self, cluster: str) -> None:
        """Use that moved on without a figure changing concerns every allocation, but is worth a look once a minute only.

        So is the close of windows, but where the cluster's time runs faster than ours, as often as that says.
        """
        # Before its agent says a time it has none: ours may be far ahead of that of a simulated machine.
        now, time = self._monotonic(), self._books.known_time(cluster) or 0
        if now - self._watermarks.get(cluster, 0.0) >= WATERMARK_SECONDS or time - self._closed.get(cluster, 0) >= HOUR:
            self._watermarks[cluster], self._closed[cluster] = now, time
            for name, account in await self._books.close_windows(cluster):
                self._audience.entries_changed(name, account)
            self._books.touch_cluster(cluster)

"""What a statement is made of: one snapshot, every correction that is booked, whatever was published of it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import Correction
from bursar_domain.units import HOUR
from bursar_ledger import Ledger
from bursar_ledger.database import Database
from bursar_testing.wires import slot, usage

NOW = 2_000_000_000
CPU = RowKey("alice", "cpu")
CLOSED = 49 * HOUR


class Counting(Database):
    """Knows how many snapshots were taken."""

    snapshots = 0

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        self.snapshots += 1
        async with super().read() as tx:
            yield tx


async def fill(ledger: Ledger, cluster: str) -> None:
    """Five seconds at closing, seven in truth; three hours by hand."""
    await ledger.put_usage(cluster, usage("1", slot("a", 0, (0, 1), {CPU: Amounts((5, 0, 0, 0))}), watermark=CLOSED), NOW)
    await ledger.put_usage(cluster, usage("2", slot("a", 0, (0, 2), {CPU: Amounts((7, 0, 0, 0))})), NOW)
    made = Entry(f"k-{cluster}", EntryKind.ADJUSTMENT, cluster, "a", 0, "dana", "why", "u", amounts={"cpu": 3 * HOUR})
    await ledger.append([made], NOW)


async def test_what_is_booked_counts_before_it_is_published(ledger: Ledger, site: str) -> None:
    await fill(ledger, site)
    [found] = await ledger.statement_readings([site], "a", None, None, "user")
    assert found.account.corrections == (Correction("cpu", 0, 2, CLOSED),)
    assert (await ledger.account_reading(site, "a")).corrections == ()
    assert [entry.kind for entry in (*found.made, *found.corrections)] == [EntryKind.ADJUSTMENT, EntryKind.CORRECTION]
    assert [(row["user"], row["charged"]) for row in found.use] == [("alice", 7)]
    assert found.closed_to == CLOSED


async def test_all_clusters_are_read_in_one_snapshot(ledger: Ledger, site: str, url: str) -> None:
    own = await Ledger.connect(url)
    await own.close()
    database = Counting.open(url)
    try:
        found = await Ledger(database).statement_readings([site, "other"], "a", 0, HOUR, "month")
        assert isinstance(database, Counting)
        assert ([item.cluster for item in found], database.snapshots) == ([site, "other"], 1)
    finally:
        await database.close()

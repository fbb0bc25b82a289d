"""Every allocation that was ever published, with the cluster and account it was published for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from sys import intern
from typing import Final

from sqlalchemy import select

from bursar_ledger.database import Database
from bursar_ledger.publication import TOMBSTONE
from bursar_ledger.tables import Grant

PAGE: Final = 1_000


@dataclass(frozen=True, slots=True)
class PublishedGrant:
    """One uid. ``entry`` is the JSON of the `AllocationEntry` that was published last.

    It is empty, as cluster and account are, where nothing was before its tombstone.
    """

    uid: str
    cluster: str
    account: str
    revision: int
    entry: str

    @property
    def tombstoned(self) -> bool:
        """Whether nothing may be published for it any more."""
        return self.revision == TOMBSTONE


class Grants:
    """Reading what was published, allocation by allocation."""

    _database: Database

    async def each_grant(self) -> AsyncIterator[PublishedGrant]:
        """What was published, uid by uid: there may be many, and they are read by the page."""
        query = select(Grant.uid, Grant.cluster, Grant.account, Grant.revision, Grant.entry)
        async with self._database.read() as tx:
            rows = await tx.stream(query.execution_options(yield_per=PAGE))
            async for page in rows.partitions():
                for uid, cluster, account, revision, entry in page:
                    yield PublishedGrant(intern(uid), intern(cluster), intern(account), revision, entry)

"""Every allocation that was ever published, with the cluster and account it was published for."""

from dataclasses import dataclass

from sqlalchemy import select

from bursar_domain.wire import AllocationEntry
from bursar_ledger.database import Database
from bursar_ledger.publication import TOMBSTONE
from bursar_ledger.tables import Grant


@dataclass(frozen=True, slots=True)
class PublishedGrant:
    """One uid. ``entry`` is as published last; None, with empty cluster and account, where nothing was before its tombstone."""

    uid: str
    cluster: str
    account: str
    revision: int
    entry: AllocationEntry | None

    @property
    def tombstoned(self) -> bool:
        """Whether nothing may be published for it any more."""
        return self.revision == TOMBSTONE


class Grants:
    """Reading what was published, allocation by allocation."""

    _database: Database

    async def grants(self) -> dict[str, PublishedGrant]:
        """uid -> what was published for it."""
        query = select(Grant.uid, Grant.cluster, Grant.account, Grant.revision, Grant.entry)
        async with self._database.read() as tx:
            rows = (await tx.execute(query)).all()
        return {row.uid: PublishedGrant(row.uid, row.cluster, row.account, row.revision, _entry(row.entry)) for row in rows}


def _entry(text: str) -> AllocationEntry | None:
    return AllocationEntry.model_validate_json(text) if text else None

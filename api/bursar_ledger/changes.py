"""Change feed: what an operator must look at again.

Each row keeps its newest number, so a reader that was away misses nothing and the feed stays as small as what it is about.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_ledger import bulk
from bursar_ledger.database import Database
from bursar_ledger.tables import Change as Row

Kind = Literal["enrolment", "hello", "status", "usage", "entry"]
_KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_KIND: Final[Mapping[str, Kind]] = {kind: kind for kind in _KINDS}
_RECORD: Final = bulk.over_names(
    "INSERT INTO changes (cluster, account, kind, number) SELECT CAST(:cluster AS text), n.value, CAST(:kind AS text),"
    " (SELECT COALESCE(MAX(number), 0) + 1 FROM changes) FROM {names} AS n WHERE true"
    " ON CONFLICT (cluster, account, kind) DO UPDATE SET number = excluded.number"
)


@dataclass(frozen=True, slots=True)
class Change:
    """Something of this kind changed at this account; ``account`` is None where it concerns the cluster as a whole."""

    number: int
    cluster: str
    account: str | None
    kind: Kind


class Changes:
    """Reading the feed."""

    _database: Database

    def may_have_changed(self) -> bool:
        """Whether anything may have been written since the last call: costs next to nothing where the ledger is a file."""
        return self._database.moved()

    async def change_number(self) -> int:
        """The newest number; 0 before the first change."""
        async with self._database.read() as tx:
            return await _newest(tx)

    async def changes(self, after: int) -> list[Change]:
        """Everything that changed since ``after``, oldest first; those of one transaction share a number."""
        query = select(Row.number, Row.cluster, Row.account, Row.kind).where(Row.number > after)
        async with self._database.read() as tx:
            rows = await tx.execute(query.order_by(Row.number, Row.cluster, Row.account, Row.kind))
            return [Change(row.number, row.cluster, row.account or None, _KIND[row.kind]) for row in rows]


async def record(tx: AsyncConnection, cluster: str, kind: Kind, accounts: Iterable[str | None]) -> None:
    """Put the accounts (None: the cluster) at the end of the feed; they are seen when the transaction commits."""
    names = sorted({account or "" for account in accounts})
    if names:
        await tx.execute(_RECORD[tx.dialect.name], {"cluster": cluster, "kind": kind, "names": bulk.json_of(names)})


async def _newest(tx: AsyncConnection) -> int:
    return (await tx.execute(select(func.coalesce(func.max(Row.number), 0)))).scalar_one()

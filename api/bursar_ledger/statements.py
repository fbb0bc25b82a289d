"""What a statement is made of, in one snapshot: the account, what was booked by hand, corrections, the use."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import select

from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import corrections_in
from bursar_domain.terms import BY_HAND
from bursar_ledger import accounts, entries, sums
from bursar_ledger.accounts import AccountReading
from bursar_ledger.database import Database
from bursar_ledger.sums import By, UsageTotal
from bursar_ledger.tables import Watermark


@dataclass(frozen=True, slots=True)
class StatementReading:
    """One account on one cluster.

    ``account`` knows every `Correction` that is booked, whatever was published of them. ``use`` is as it is known now, split
    further by what was asked for. ``closed_to`` is the highest watermark there ever was; None before the first.
    """

    cluster: str
    account: AccountReading
    made: tuple[Entry, ...]
    corrections: tuple[Entry, ...]
    use: Sequence[UsageTotal]
    closed_to: int | None


class Statements:
    """Reading what statements are made of."""

    _database: Database

    async def statement_readings(
        self, clusters: Collection[str], account: str, start: int | None, end: int | None, by: By
    ) -> list[StatementReading]:
        """The account on each cluster; the use of ``[start, end)``, cut at both."""
        found = []
        async with self._database.read() as tx:
            for cluster in clusters:
                booked = await entries.entries_of(tx, cluster, account, kinds=BY_HAND | {EntryKind.CORRECTION})
                late = tuple(item.entry for item in booked if item.entry.kind is EntryKind.CORRECTION)
                changes = tuple(change for entry in late for change in corrections_in(entry))
                edges = [at for at in (start, end) if at is not None]
                mark = select(Watermark.closed_to).where(Watermark.cluster == cluster)
                found.append(
                    StatementReading(
                        cluster=cluster,
                        account=await accounts.reading_of(tx, cluster, account, edges, changes),
                        made=tuple(item.entry for item in booked if item.entry.kind in BY_HAND),
                        corrections=late,
                        use=await sums.usage_of(tx, cluster, account=account, start=start, end=end, by=by),
                        closed_to=(await tx.execute(mark)).scalar_one_or_none(),
                    )
                )
        return found

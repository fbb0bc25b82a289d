"""Reports that were taken in: the same one again gets the same receipt and changes nothing."""

from typing import Final, Literal

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.wire import Receipt
from bursar_ledger.database import add
from bursar_ledger.tables import Report

KEEP_SECONDS: Final = 86_400
ReportKind = Literal["status", "usage"]


async def receipt_of(tx: AsyncConnection, cluster: str, kind: ReportKind, report: str, now: int) -> Receipt | None:
    """The receipt that this report got, if it came before."""
    query = select(Report.accepted, Report.dropped).where(
        Report.cluster == cluster, Report.kind == kind, Report.report == report
    )
    row = (await tx.execute(query)).first()
    return None if row is None else Receipt(clock=now, accepted=row[0], dropped=row[1])


async def remember(tx: AsyncConnection, cluster: str, kind: ReportKind, report: str, receipt: Receipt) -> None:
    """Keep the receipt for a day; an older report that comes again is still harmless, its slots are no news."""
    now = receipt.clock
    await tx.execute(delete(Report).where(Report.cluster == cluster, Report.at < now - KEEP_SECONDS))
    row = {
        "cluster": cluster,
        "kind": kind,
        "report": report,
        "at": now,
        "accepted": receipt.accepted,
        "dropped": receipt.dropped,
    }
    await add(tx, Report, [row])

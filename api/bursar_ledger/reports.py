"""Reports that were taken in: the same one again gets the same receipt and changes nothing."""

import json
from typing import Final, Literal

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.wire import Receipt, Refused
from bursar_ledger.database import add
from bursar_ledger.tables import Report

KEEP_SECONDS: Final = 86_400
ReportKind = Literal["status", "usage"]


async def receipt_of(tx: AsyncConnection, cluster: str, kind: ReportKind, report: str, now: int) -> Receipt | None:
    """The receipt that this report got, if it came before."""
    query = select(Report.accepted, Report.dropped, Report.staged, Report.refused).where(
        Report.cluster == cluster, Report.kind == kind, Report.report == report
    )
    row = (await tx.execute(query)).first()
    if row is None:
        return None
    refused = tuple(Refused.model_validate(item) for item in json.loads(row.refused))
    return Receipt(clock=now, accepted=row.accepted, dropped=row.dropped, staged=row.staged, refused=refused)


async def is_known(tx: AsyncConnection, cluster: str, kind: ReportKind, report: str) -> bool:
    """Whether this report came in the last day, or is the one that the last one named as the one before."""
    query = select(Report.at).where(Report.cluster == cluster, Report.kind == kind, Report.report == report)
    return (await tx.execute(query)).first() is not None


async def remember(
    tx: AsyncConnection, cluster: str, kind: ReportKind, report: str, receipt: Receipt, previous: str | None = None
) -> None:
    """Keep the receipt for a day; an older report that comes again is still harmless, its slots are no news.

    The newest one stays, however long nothing comes after it, and so does the one before, which may be named again.
    """
    now = receipt.clock
    is_old = (Report.cluster == cluster) & (Report.kind == kind) & (Report.at < now - KEEP_SECONDS)
    await tx.execute(delete(Report).where(is_old, Report.report != (previous or "")))
    row = {
        "cluster": cluster,
        "kind": kind,
        "report": report,
        "at": now,
        "accepted": receipt.accepted,
        "dropped": receipt.dropped,
        "staged": receipt.staged,
        # Not orjson: an hour that was refused may be any whole number.
        "refused": json.dumps([item.model_dump() for item in receipt.refused]),
    }
    await add(tx, Report, [row])

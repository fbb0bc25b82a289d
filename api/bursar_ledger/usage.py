"""Usage: whole slots that replace by version. Amounts are unit-seconds."""

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.wire import Receipt, SlotReport, UsageReport, UsageRow
from bursar_ledger import changes, reports, sessions, slots
from bursar_ledger.database import Database, Row, add, chunks, upsert
from bursar_ledger.tables import Bucket, Slot, Watermark, table


class Usage:
    """Taking usage in."""

    _database: Database

    async def put_usage(self, cluster: str, report: UsageReport, now: int) -> Receipt:
        """Replace each slot whose version is greater than the stored one; ``dropped`` counts the others.

        BadReport where an amount can't be true: nothing of the report is used then.
        """
        slots.check(report.slots)
        async with self._database.write() as tx:
            await sessions.fence(tx, cluster, report.session, now)
            known = await reports.receipt_of(tx, cluster, "usage", report.report_id, now)
            if known is not None:
                return known
            newest = slots.newest(report.slots)
            stored = await _versions(tx, cluster, newest)
            news = slots.news(newest, stored)
            await _replace(tx, cluster, news, stored)
            moved = await _move_watermark(tx, cluster, report)
            accounts: set[str | None] = {key.account for key in news}
            await changes.record(tx, cluster, "usage", accounts | ({None} if moved else set()))
            receipt = Receipt(clock=now, accepted=len(news), dropped=len(report.slots) - len(news))
            await reports.remember(tx, cluster, "usage", report.report_id, receipt)
        return receipt

    async def watermark(self, cluster: str) -> int | None:
        """Second (scheduler's clock) up to which the cluster's use is complete; None before the first."""
        async with self._database.read() as tx:
            stored = await _watermark(tx, cluster)
        return None if stored is None else stored[1]


async def _versions(tx: AsyncConnection, cluster: str, keys: Iterable[SlotKey]) -> dict[SlotKey, SlotVersion]:
    found: dict[SlotKey, SlotVersion] = {}
    query = select(Slot.account, Slot.hour, Slot.epoch, Slot.seq).where(Slot.cluster == cluster)
    for some in chunks(keys):
        rows = await tx.execute(query.where(tuple_(Slot.account, Slot.hour).in_(some)))
        found |= {SlotKey(account, hour): SlotVersion(epoch, seq) for account, hour, epoch, seq in rows}
    return found


async def _replace(
    tx: AsyncConnection, cluster: str, news: Mapping[SlotKey, SlotReport], stored: Mapping[SlotKey, SlotVersion]
) -> None:
    old: list[Row] = [{"at_account": key.account, "at_hour": key.hour} for key in news if key in stored]
    if old:
        bucket = table(Bucket)
        here = (bucket.c.account == bindparam("at_account")) & (bucket.c.hour == bindparam("at_hour"))
        await tx.execute(delete(bucket).where(bucket.c.cluster == cluster, here), [dict(row) for row in old])
    versions: list[Row] = [
        {"cluster": cluster, "account": key.account, "hour": key.hour, "epoch": slot.epoch, "seq": slot.seq}
        for key, slot in news.items()
    ]
    await upsert(tx, Slot, versions)
    await add(tx, Bucket, [_bucket(cluster, key, row) for key, slot in news.items() for row in slot.rows if any(row.allocated)])


def _bucket(cluster: str, key: SlotKey, row: UsageRow) -> Row:
    a, r = row.allocated, row.refunded
    return {
        "cluster": cluster,
        "account": key.account,
        "hour": key.hour,
        "user": row.user,
        "resource": row.resource,
        "allocated_0": a[0],
        "allocated_1": a[1],
        "allocated_2": a[2],
        "allocated_3": a[3],
        "refunded_0": r[0],
        "refunded_1": r[1],
        "refunded_2": r[2],
        "refunded_3": r[3],
    }


async def _watermark(tx: AsyncConnection, cluster: str) -> tuple[int, int] | None:
    row = (await tx.execute(select(Watermark.epoch, Watermark.watermark).where(Watermark.cluster == cluster))).first()
    return None if row is None else (row[0], row[1])


async def _move_watermark(tx: AsyncConnection, cluster: str, report: UsageReport) -> bool:
    if report.watermark is None:
        return False
    stored = await _watermark(tx, cluster)
    epoch = max((slot.epoch for slot in report.slots), default=stored[0] if stored else 0)
    new = slots.watermark(epoch, report.watermark, stored)
    if new is None:
        return False
    await upsert(tx, Watermark, [{"cluster": cluster, "epoch": new[0], "watermark": new[1]}])
    return True

"""Rows of slots: reading and replacing inside the caller's transaction."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.units import DAY
from bursar_domain.wire import RebuiltRange
from bursar_ledger import bulk, partitions, slots
from bursar_ledger.database import chunks
from bursar_ledger.slots import Content, FlatRow, Standing
from bursar_ledger.tables import Bucket, Entry, Head, Hour, Rebuild, Slot, Watermark

_ROWS: Final = (
    'account, hour, "user", resource, allocated_0, allocated_1, allocated_2, allocated_3,'
    " refunded_0, refunded_1, refunded_2, refunded_3"
)
SIMULATOR: Final = "simulator"


async def standing(tx: AsyncConnection, cluster: str, accounts: Collection[str]) -> Standing:
    """What is known of the cluster, and which of these accounts were ever published for it."""
    mark = (await tx.execute(select(Watermark.__table__).where(Watermark.cluster == cluster))).first()
    settings = await _settings(tx, cluster) or {}
    rebuilds = await tx.execute(select(Rebuild.epoch, Rebuild.since, Rebuild.until).where(Rebuild.cluster == cluster))
    return Standing(
        watermark=None if mark is None else (mark.epoch, mark.watermark),
        closed_to=None if mark is None else mark.closed_to,
        rolled_before=0 if mark is None else mark.rolled_before,
        rebuilds=tuple(RebuiltRange(epoch=row.epoch, start=row.since, end=row.until) for row in rebuilds),
        capacity={item["name"]: item["capacity"] for item in settings.get("resources", ())},
        is_simulated=settings.get("schedulerType") == SIMULATOR,
        accounts=await _published(tx, cluster, accounts),
    )


async def _settings(tx: AsyncConnection, cluster: str) -> dict[str, Any] | None:
    """What was published for the cluster."""
    found = (await tx.execute(select(Head.settings).where(Head.cluster == cluster))).scalar_one_or_none()
    return None if found is None else orjson.loads(found)


async def _published(tx: AsyncConnection, cluster: str, accounts: Collection[str]) -> frozenset[str]:
    found: set[str] = set()
    for some in chunks(accounts):
        query = select(Entry.account).where(Entry.cluster == cluster, Entry.account.in_(some))
        found.update((await tx.execute(query)).scalars())
    return frozenset(found)


async def versions(tx: AsyncConnection, cluster: str, keys: Iterable[SlotKey]) -> dict[SlotKey, SlotVersion]:
    """The stored versions of these slots."""
    rows = await bulk.select(tx, Slot, "account, hour, epoch, seq", cluster, keys)
    return {SlotKey(account, hour): SlotVersion(epoch, seq) for account, hour, epoch, seq in rows}


async def rolled(tx: AsyncConnection, cluster: str, keys: Iterable[SlotKey], before: int) -> set[SlotKey]:
    """Those whose day is kept as one: nothing of it can be told apart any more."""
    days = {key: SlotKey(key.account, key.hour - key.hour % DAY) for key in keys if key.hour < before}
    if not days:
        return set()
    found = await bulk.select(tx, Slot, "account, hour, rolled", cluster, set(days.values()))
    whole = {SlotKey(account, hour) for account, hour, as_one in found if as_one}
    return {key for key, day in days.items() if day in whole}


async def rows_of(tx: AsyncConnection, cluster: str, keys: Collection[SlotKey]) -> dict[SlotKey, list[FlatRow]]:
    """The stored rows of these slots."""
    found: dict[SlotKey, list[FlatRow]] = {}
    if keys:
        for account, hour, *rest in await bulk.select(tx, Bucket, _ROWS, cluster, keys):
            found.setdefault(SlotKey(account, hour), []).append(tuple(rest))
    return found


async def replace(
    tx: AsyncConnection, cluster: str, news: Mapping[SlotKey, Content], stored: Collection[SlotKey], rolled: int = 0
) -> None:
    """Put the new content in the place of what is stored."""
    old = [key for key in news if key in stored]
    if old:
        for model in (Bucket, Hour, Slot):
            await bulk.delete(tx, model, cluster, old)
    await partitions.ensure(tx, {key.hour for key in news})
    slot_rows = [(cluster, *key, *content.version, rolled) for key, content in news.items()]
    await bulk.insert(tx, Slot, slot_rows)
    await bulk.insert(tx, Bucket, [(cluster, *key, *row) for key, content in news.items() for row in content.rows])
    hours = [(cluster, *key, *row) for key, content in news.items() for row in slots.charged(content.rows)]
    await bulk.insert(tx, Hour, hours)


async def below(tx: AsyncConnection, cluster: str, rebuilt: RebuiltRange) -> list[SlotKey]:
    """The slots in the range that are of a lower epoch, days kept as one left out."""
    statement = text(
        "SELECT account, hour FROM usage_slots WHERE cluster = :cluster AND hour >= :start AND hour < :end"
        " AND epoch < :epoch AND rolled = 0 ORDER BY account, hour"
    )
    found = await tx.execute(statement, {"cluster": cluster, **rebuilt.model_dump()})
    return [SlotKey(account, hour) for account, hour in found]

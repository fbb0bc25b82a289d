"""Rows of slots: reading and replacing inside the caller's transaction."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.units import DAY
from bursar_domain.wire import RebuiltRange
from bursar_ledger import bulk, partitions
from bursar_ledger.slots import Content, FlatRow, Standing
from bursar_ledger.tables import Bucket, Head, Hour, Rebuild, Slot

_ROWS: Final = (
    'account, hour, "user", resource, allocated_0, allocated_1, allocated_2, allocated_3,'
    " refunded_0, refunded_1, refunded_2, refunded_3"
)
# One row, of NULLs where nothing is known: one question instead of two.
_KNOWN: Final = text(
    "SELECT w.epoch, w.watermark, w.closed_to, w.rolled_before, h.settings, n.epoch AS newest_epoch, n.seq AS newest_seq"
    " FROM (SELECT CAST(:cluster AS text) AS cluster) AS c LEFT JOIN usage_watermarks AS w ON w.cluster = c.cluster"
    " LEFT JOIN desired_heads AS h ON h.cluster = c.cluster LEFT JOIN usage_newest AS n ON n.cluster = c.cluster"
)
_PUBLISHED: Final = bulk.over_names(
    "SELECT account FROM desired_entries WHERE cluster = :cluster AND account IN (SELECT n.value FROM {names} AS n)"
)
SIMULATOR: Final = "simulator"


async def standing(tx: AsyncConnection, cluster: str, accounts: Collection[str]) -> Standing:
    """What is known of the cluster, and which of these accounts were ever published for it."""
    mark = (await tx.execute(_KNOWN, {"cluster": cluster})).one()
    settings: dict[str, Any] = {} if mark.settings is None else orjson.loads(mark.settings)
    rebuilds = await tx.execute(select(Rebuild.epoch, Rebuild.since, Rebuild.until).where(Rebuild.cluster == cluster))
    return Standing(
        watermark=None if mark.epoch is None else (mark.epoch, mark.watermark),
        closed_to=mark.closed_to,
        newest=None if mark.newest_epoch is None else SlotVersion(mark.newest_epoch, mark.newest_seq),
        rolled_before=mark.rolled_before or 0,
        rebuilds=tuple(RebuiltRange(epoch=row.epoch, start=row.since, end=row.until) for row in rebuilds),
        capacity={item["name"]: item["capacity"] for item in settings.get("resources", ())},
        is_simulated=_is_simulated(settings),
        accounts=await _published(tx, cluster, accounts),
    )


async def is_simulated(tx: AsyncConnection, cluster: str) -> bool:
    """Whether the cluster has a clock of its own."""
    found = (await tx.execute(select(Head.settings).where(Head.cluster == cluster))).scalar_one_or_none()
    return found is not None and _is_simulated(orjson.loads(found))


def _is_simulated(settings: Mapping[str, Any]) -> bool:
    return settings.get("schedulerType") == SIMULATOR


async def _published(tx: AsyncConnection, cluster: str, accounts: Collection[str]) -> frozenset[str]:
    asked = {"cluster": cluster, "names": bulk.json_of(accounts)}
    return frozenset((await tx.execute(_PUBLISHED[tx.dialect.name], asked)).scalars())


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
    # In order of the keys: neighbours share a page of the tree.
    ordered = sorted(news.items())
    await bulk.insert(tx, Slot, ((cluster, *key, *content.version, rolled) for key, content in ordered))
    await bulk.insert(tx, Bucket, ((cluster, *key, *row) for key, content in ordered for row in content.rows))
    await bulk.insert(tx, Hour, ((cluster, *key, *row) for key, content in ordered for row in content.hours))


async def below(tx: AsyncConnection, cluster: str, rebuilt: RebuiltRange) -> list[SlotKey]:
    """The slots in the range that are of a lower epoch, days kept as one left out."""
    statement = text(
        "SELECT account, hour FROM usage_slots WHERE cluster = :cluster AND hour >= :start AND hour < :end"
        " AND epoch < :epoch AND rolled = 0 ORDER BY account, hour"
    )
    found = await tx.execute(statement, {"cluster": cluster, **rebuilt.model_dump()})
    return [SlotKey(account, hour) for account, hour in found]

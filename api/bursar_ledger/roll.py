"""Old use is kept by days: whole days of closed slots become one row per user and resource, and no sum changes."""

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.units import DAY, HOUR
from bursar_ledger import bulk, slot_rows, slots
from bursar_ledger.database import Database, chunks
from bursar_ledger.slots import Content, FlatRow
from bursar_ledger.tables import Bucket, Hour, Slot, Watermark

DAYS_AT_ONCE: Final = 200
Boundaries = Mapping[tuple[str, str], Collection[int]]
_DAYS: Final = text(
    "SELECT account, hour - hour % 86400 AS day, MAX(epoch) AS epoch, MAX(seq) AS seq FROM usage_slots"
    " WHERE cluster = :cluster AND hour < :before AND rolled = 0 GROUP BY account, day ORDER BY account, day"
)


class Roll:
    """Keeping old use by days."""

    _database: Database

    async def roll(self, before: int, keep: Boundaries) -> int:
        """Keep each account's UTC days that end by ``before`` and are closed as one row per user and resource; how many.

        A day stays as it is where one of the account's boundaries (``keep``: (cluster, account) -> seconds) lies inside it.
        What is kept by days stands in the first quarter of the day; later versions of its slots are refused as TooOld. Other
        writers get their turn in between.
        """
        async with self._database.read() as tx:
            marks = (await tx.execute(select(Watermark.cluster, Watermark.closed_to))).all()
        rolled = 0
        for cluster, closed_to in marks:
            horizon = horizon_of(before, closed_to)
            if horizon > 0:
                rolled += await self._roll_cluster(cluster, horizon, keep)
        return rolled

    async def _roll_cluster(self, cluster: str, horizon: int, keep: Boundaries) -> int:
        async with self._database.write() as tx:
            lower = (Watermark.cluster == cluster) & (Watermark.rolled_before < horizon)
            await tx.execute(update(Watermark).where(lower).values(rolled_before=horizon))
        async with self._database.read() as tx:
            found = await tx.execute(_DAYS, {"cluster": cluster, "before": horizon})
            days = {SlotKey(row.account, row.day): SlotVersion(row.epoch, row.seq) for row in found}
        chosen = choose(days, {account: keep[at, account] for at, account in keep if at == cluster})
        for some in chunks(chosen, DAYS_AT_ONCE):
            async with self._database.write() as tx:
                await _roll_days(tx, cluster, {day: days[day] for day in some})
        return len(chosen)


def horizon_of(before: int, closed_to: int) -> int:
    """The second before which whole days may be rolled: each of their slots is closed."""
    return min(before, closed_to - slots.CLOSES_AFTER + HOUR) // DAY * DAY


def choose(days: Iterable[SlotKey], keep: Mapping[str, Collection[int]]) -> list[SlotKey]:
    """Those that no boundary of their account cuts."""
    cut = {SlotKey(account, at - at % DAY) for account, boundaries in keep.items() for at in boundaries if at % DAY}
    return [day for day in days if day not in cut]


def folded(rows: Iterable[FlatRow]) -> list[FlatRow]:
    """The rows of a day's slots as one row per user and resource, all of it in the first quarter."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for user, resource, a, b, c, d, e, f, g, h in rows:
        allocated, refunded = sums.get((user, resource), (0, 0))
        sums[user, resource] = allocated + a + b + c + d, refunded + e + f + g + h
    return [(*key, allocated, 0, 0, 0, refunded, 0, 0, 0) for key, (allocated, refunded) in sums.items()]


async def _roll_days(tx: AsyncConnection, cluster: str, days: Mapping[SlotKey, SlotVersion]) -> None:
    hours = {SlotKey(day.account, at): day for day in days for at in range(day.hour, day.hour + DAY, HOUR)}
    stored = await slot_rows.rows_of(tx, cluster, hours)
    found: dict[SlotKey, list[FlatRow]] = {day: [] for day in days}
    for key, rows in stored.items():
        found[hours[key]] += rows
    for model in (Bucket, Hour, Slot):
        await bulk.delete(tx, model, cluster, hours)
    content = {day: Content.of(days[day], folded(rows)) for day, rows in found.items()}
    await slot_rows.replace(tx, cluster, content, stored=(), rolled=1)

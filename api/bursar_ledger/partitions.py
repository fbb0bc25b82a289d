"""Monthly partitions on PostgreSQL: made by whoever first writes into a month, in the same transaction.

By month alone and not by cluster too: each table's key begins with the cluster, so clusters share no page of an index, and a
site with ten clusters would else have ten times as many tables to plan over.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.units import DAY

TABLES: Final = ("usage_buckets", "usage_hours")


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month (UTC): ``[start, end)`` in epoch seconds."""

    name: str
    start: int
    end: int


def month_of(second: int) -> Month:
    """The month that the second lies in."""
    at = datetime.fromtimestamp(second, UTC)
    start = datetime(at.year, at.month, 1, tzinfo=UTC)
    end = datetime(at.year + at.month // 12, at.month % 12 + 1, 1, tzinfo=UTC)
    return Month(f"{start:%Y_%m}", int(start.timestamp()), int(end.timestamp()))


def months(hours: Iterable[int]) -> list[Month]:
    """The months of these hours, in order."""
    days = {hour - hour % DAY for hour in hours}
    found = {month.start: month for month in map(month_of, days)}
    return [found[start] for start in sorted(found)]


async def ensure(tx: AsyncConnection, hours: Iterable[int]) -> None:
    """Make the partitions that these hours need and that are not there; nothing on SQLite.

    A table is made first and attached then: that locks out no reader, which CREATE TABLE … PARTITION OF would.
    """
    if tx.dialect.name != "postgresql":
        return
    wanted = {f"{name}_{month.name}": (name, month) for month in months(hours) for name in TABLES}
    missing = text("SELECT n FROM unnest(CAST(:names AS text[])) AS n WHERE to_regclass(n) IS NULL ORDER BY n")
    for child in (await tx.execute(missing, {"names": list(wanted)})).scalars().all():
        parent, month = wanted[child]
        await tx.execute(text(f"CREATE TABLE {child} (LIKE {parent} INCLUDING ALL)"))
        bounds = f"FROM ({month.start}) TO ({month.end})"
        await tx.execute(text(f"ALTER TABLE {parent} ATTACH PARTITION {child} FOR VALUES {bounds}"))

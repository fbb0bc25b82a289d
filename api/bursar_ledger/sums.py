"""Sums over the buckets: the one place where use is added up."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

from sqlalchemy import ColumnElement, Integer, case, func, literal_column, select, true
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.orm import InstrumentedAttribute

from bursar_domain.units import DAY, HOUR, QUARTER
from bursar_ledger.database import Database
from bursar_ledger.spans import CHARGED
from bursar_ledger.tables import Bucket, Hour, Rebuild

By = Literal["account", "user", "resource", "month", "day", "hour"]
UsageTotal = dict[str, str | int]
Column = InstrumentedAttribute[int]
ALLOCATED: Final[tuple[Column, ...]] = (Bucket.allocated_0, Bucket.allocated_1, Bucket.allocated_2, Bucket.allocated_3)
REFUNDED: Final[tuple[Column, ...]] = (Bucket.refunded_0, Bucket.refunded_1, Bucket.refunded_2, Bucket.refunded_3)
_FORMATS: Final = {"month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H:00:00Z"}


class Sums:
    """Reading usage."""

    _database: Database

    async def quarters(
        self, cluster: str, account: str, start: int | None = None, end: int | None = None
    ) -> dict[str, list[tuple[int, int]]]:
        """resource -> (first second of a quarter hour, unit-seconds charged), in order, quarters without use left out."""
        query = select(Hour.resource, Hour.hour, *CHARGED).where(Hour.cluster == cluster, Hour.account == account)
        query = query.where(_hours(Hour.hour, start, end)).order_by(Hour.resource, Hour.hour)
        found: dict[str, list[tuple[int, int]]] = {}
        async with self._database.read() as tx:
            for resource, hour, *amounts in await tx.execute(query):
                for at, amount in zip(range(hour, hour + HOUR, QUARTER), amounts, strict=True):
                    if amount and (start is None or at >= start) and (end is None or at < end):
                        found.setdefault(resource, []).append((at, amount))
        return found

    async def usage(
        self,
        cluster: str,
        *,
        account: str | None = None,
        start: int | None = None,
        end: int | None = None,
        by: By = "account",
        user: str | None = None,
    ) -> list[UsageTotal]:
        """Rows of {account, resource, allocated, refunded, charged}, split further by user, month, day or hour (UTC).

        ``start`` and ``end`` lie on quarter hours.
        """
        async with self._database.read() as tx:
            return await usage_of(tx, cluster, account=account, start=start, end=end, by=by, user=user)

    async def totals(self, cluster: str) -> dict[str, dict[str, int]]:
        """account -> resource -> unit-seconds allocated, refunds included: what an independent sum over the jobs must give."""
        found: dict[str, dict[str, int]] = {}
        for row in await self.usage(cluster):
            found.setdefault(str(row["account"]), {})[str(row["resource"])] = int(row["allocated"])
        return found

    async def has_use(self, account: str, cluster: str | None = None) -> bool:
        """Whether anything was ever booked on the account."""
        used = select(Hour.hour).where(Hour.cluster == Rebuild.cluster, Hour.account == account).exists()
        query = select(Rebuild.cluster).where(used)
        query = query if cluster is None else query.where(Rebuild.cluster == cluster)
        async with self._database.read() as tx:
            return (await tx.execute(query.limit(1))).first() is not None


async def usage_of(
    tx: AsyncConnection,
    cluster: str,
    *,
    account: str | None = None,
    start: int | None = None,
    end: int | None = None,
    by: By = "account",
    user: str | None = None,
) -> list[UsageTotal]:
    """`Sums.usage` inside the caller's transaction."""
    sums = func.sum(_within(ALLOCATED, start, end)), func.sum(_within(REFUNDED, start, end))
    keys = [Bucket.account, Bucket.resource, *_extra(by)]
    query = select(*keys, *sums).where(Bucket.cluster == cluster, _hours(Bucket.hour, start, end))
    if account is not None:
        query = query.where(Bucket.account == account)
    if user is not None:
        query = query.where(Bucket.user == user)
    rows = [tuple(row) for row in await tx.execute(query.group_by(*keys).order_by(*keys))]
    return _folded(rows, by)


def _hours(hour: Column, start: int | None, end: int | None) -> ColumnElement[bool]:
    """Only hours that touch ``[start, end)``."""
    later = true() if start is None else hour > start - HOUR
    return later if end is None else later & (hour < end)


def _within(columns: Sequence[Column], start: int | None, end: int | None) -> ColumnElement[int]:
    """The sum of those quarters of a row that begin inside ``[start, end)``."""
    first, *rest = (_quarter(column, index * QUARTER, start, end) for index, column in enumerate(columns))
    for other in rest:
        first = first + other
    return first


def _quarter(column: Column, offset: int, start: int | None, end: int | None) -> ColumnElement[int]:
    bounds: list[ColumnElement[bool]] = []
    if start is not None:
        bounds.append(Bucket.hour + offset >= start)
    if end is not None:
        bounds.append(Bucket.hour + offset < end)
    if not bounds:
        return column + 0
    condition = bounds[0] if len(bounds) == 1 else bounds[0] & bounds[1]
    return case((condition, column), else_=0)


def _extra(by: By) -> list[ColumnElement[str] | ColumnElement[int]]:
    if by == "user":
        return [Bucket.__table__.c.user]
    if by == "hour":
        return [Bucket.__table__.c.hour]
    # One literal, written out: PostgreSQL would not know two parameters for the same expression.
    return [Bucket.hour - Bucket.hour % literal_column(str(DAY), Integer)] if by in ("day", "month") else []


def _folded(rows: Iterable[Sequence[object]], by: By) -> list[UsageTotal]:
    """Rows with names; days become months here, since calendars are no business of SQL."""
    found: dict[tuple[str, str, str], list[int]] = {}
    for account, resource, *extra, allocated, refunded in rows:
        key = (str(account), str(resource), _label(by, extra))
        cell = found.setdefault(key, [0, 0])
        cell[0] += int(str(allocated))
        cell[1] += int(str(refunded))
    return [_total(by, *key, *cell) for key, cell in found.items() if any(cell)]


def _label(by: By, extra: Sequence[object]) -> str:
    if not extra:
        return ""
    return str(extra[0]) if by == "user" else datetime.fromtimestamp(int(str(extra[0])), UTC).strftime(_FORMATS[by])


def _total(by: By, account: str, resource: str, label: str, allocated: int, refunded: int) -> UsageTotal:
    row: UsageTotal = {"account": account, "resource": resource}
    if label or by == "user":
        row[by] = label
    return row | {"allocated": allocated, "refunded": refunded, "charged": allocated - refunded}

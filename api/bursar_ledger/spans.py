"""Use between boundaries: what a balance is worked out from, summed where the rows are."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import orjson
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.units import HOUR, QUARTER
from bursar_ledger.database import Database
from bursar_ledger.tables import Head, Hour

FIRST: Final = -(2**62)
LAST: Final = 2**62
CHARGED: Final = (Hour.charged_0, Hour.charged_1, Hour.charged_2, Hour.charged_3)
_SEGMENTS: Final = {
    "sqlite": "(SELECT json_extract(value, '$[0]') AS at, json_extract(value, '$[1]') AS since,"
    " json_extract(value, '$[2]') AS until FROM json_each(:segments)) AS s",
    "postgresql": "(SELECT CAST(value ->> 0 AS bigint) AS at, CAST(value ->> 1 AS bigint) AS since,"
    " CAST(value ->> 2 AS bigint) AS until FROM json_array_elements(CAST(:segments AS json)) AS element) AS s",
}
_USE: Final = " usage_hours AS u WHERE u.cluster = :cluster AND u.account = :account AND u.hour >= s.since AND u.hour < s.until"
# PostgreSQL would join every row with every segment; one segment after the other, it reads each row once, by the index.
_SUMS: Final = {
    "sqlite": "SELECT s.at, u.resource, SUM(u.charged) FROM {segments} CROSS JOIN {use} GROUP BY s.at, u.resource",
    "postgresql": "SELECT s.at, t.resource, t.charged FROM {segments} CROSS JOIN LATERAL"
    " (SELECT u.resource, SUM(u.charged) AS charged FROM {use} GROUP BY u.resource) AS t",
}
_COLUMNS: Final = (
    "SELECT s.at, (SELECT json_array({columns}) FROM usage_hours AS u WHERE u.cluster = :cluster AND u.account = :account"
    " AND u.hour >= s.since AND u.hour < s.until) FROM {segments}"
)


@dataclass(frozen=True, slots=True)
class Segment:
    """Whole hours ``[since, until)`` of the segment that begins ``at`` a boundary (`FIRST`: before the first one)."""

    at: int
    since: int
    until: int


def segments(boundaries: Sequence[int]) -> tuple[list[Segment], list[int]]:
    """The segments' whole hours, and the hours that a boundary cuts (those go by quarters)."""
    edges = [FIRST, *sorted(set(boundaries)), LAST]
    found = [
        Segment(start, start if start == FIRST else -(-start // HOUR) * HOUR, end if end == LAST else end // HOUR * HOUR)
        for start, end in pairwise(edges)
    ]
    cut = sorted({at // HOUR * HOUR for at in edges[1:-1] if at % HOUR})
    return [segment for segment in found if segment.since < segment.until], cut


class Spans:
    """Use of one account, between boundaries."""

    _database: Database

    async def spans(self, cluster: str, account: str, boundaries: Sequence[int]) -> dict[str, list[tuple[int, int]]]:
        """resource -> (first second, unit-seconds charged) of each segment between boundaries, in order, zeros left out.

        Boundaries lie on quarter hours. What lies before the first boundary begins at the first quarter with use.
        """
        async with self._database.read() as tx:
            return await between(tx, cluster, account, boundaries)


async def between(
    tx: AsyncConnection, cluster: str, account: str, boundaries: Sequence[int]
) -> dict[str, list[tuple[int, int]]]:
    """`Spans.spans` inside the caller's transaction."""
    sums: defaultdict[tuple[str, int], int] = defaultdict(int)
    whole, cut = segments(boundaries)
    edges = [FIRST, *sorted(set(boundaries))]
    for at, resource, amount in await _whole_hours(tx, cluster, account, whole):
        sums[resource, at] += amount
    for resource, quarter, amount in await _quarters(tx, cluster, account, cut):
        sums[resource, edges[bisect_right(edges, quarter) - 1]] += amount
    found: dict[str, list[tuple[int, int]]] = {}
    for (resource, at), amount in sorted(sums.items()):
        if amount:
            first = await _first_quarter(tx, cluster, account, resource) if at == FIRST else at
            found.setdefault(resource, []).append((first, amount))
    return found


async def _whole_hours(tx: AsyncConnection, cluster: str, account: str, found: Iterable[Segment]) -> list[tuple[int, str, int]]:
    rows = orjson.dumps([(segment.at, segment.since, segment.until) for segment in found]).decode()
    asked: dict[str, object] = {"segments": rows, "cluster": cluster, "account": account}
    if tx.dialect.name == "sqlite":
        sums = await _by_columns(tx, asked, await _resources(tx, cluster))
        if sums is not None:
            return sums
    result = await tx.execute(text(_SUMS[tx.dialect.name].format(segments=_SEGMENTS[tx.dialect.name], use=_USE)), asked)
    return [(at, resource, int(amount)) for at, resource, amount in result]


async def _resources(tx: AsyncConnection, cluster: str) -> list[str]:
    """Those that the cluster is known to have."""
    settings = (await tx.execute(select(Head.settings).where(Head.cluster == cluster))).scalar_one_or_none()
    return [str(item["name"]) for item in orjson.loads(settings)["resources"]] if settings else []


async def _by_columns(
    tx: AsyncConnection, asked: Mapping[str, object], names: Sequence[str]
) -> list[tuple[int, str, int]] | None:
    """The same in a sixth of the time on SQLite, which sorts every row to group them: a column per resource, one pass.

    None where there is use of other resources too: no charge is below zero, so sums that are equal hide nothing.
    """
    columns = ["SUM(u.charged)"]
    columns += (f"SUM(CASE WHEN u.resource = :name_{number} THEN u.charged END)" for number in range(len(names)))
    statement = text(_COLUMNS.format(columns=", ".join(columns), segments=_SEGMENTS["sqlite"]))
    values = {f"name_{number}": name for number, name in enumerate(names)}
    found: list[tuple[int, str, int]] = []
    for at, row in await tx.execute(statement, {**asked, **values}):
        total, *amounts = orjson.loads(row)
        if (total or 0) != sum(amount or 0 for amount in amounts):
            return None
        found += ((at, name, amount) for name, amount in zip(names, amounts, strict=True) if amount)
    return found


async def _quarters(tx: AsyncConnection, cluster: str, account: str, hours: Sequence[int]) -> list[tuple[str, int, int]]:
    """(resource, first second of the quarter, charged) of these hours."""
    if not hours:
        return []
    query = select(Hour.resource, Hour.hour, *CHARGED).where(Hour.cluster == cluster, Hour.account == account)
    return [
        (resource, hour + index * QUARTER, amount)
        for resource, hour, *amounts in await tx.execute(query.where(Hour.hour.in_(hours)))
        for index, amount in enumerate(amounts)
        if amount
    ]


async def _first_quarter(tx: AsyncConnection, cluster: str, account: str, resource: str) -> int:
    """First second of the first quarter that is charged."""
    here = (Hour.cluster == cluster) & (Hour.account == account) & (Hour.resource == resource)
    query = select(Hour.hour, *CHARGED).where(here, Hour.charged > 0).order_by(Hour.hour).limit(1)
    hour, *amounts = (await tx.execute(query)).one()
    return int(hour) + next(index for index, amount in enumerate(amounts) if amount) * QUARTER

"""Many rows at once: COPY on PostgreSQL, one prepared statement on SQLite, and keys handed over as one JSON text.

Statement objects that are compiled for each page would cost more than the rows.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
import orjson
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey
from bursar_ledger.tables import Base, table

if TYPE_CHECKING:
    import psycopg

# Each key is looked up by itself, whatever PostgreSQL thinks of the sizes: OFFSET 0 keeps it from turning that into a join.
_SELECT: Final = {
    "sqlite": "SELECT {columns} FROM {table} WHERE cluster = :cluster AND (account, hour) IN"
    " (SELECT CAST(json_extract(value, '$[0]') AS text), CAST(json_extract(value, '$[1]') AS bigint) FROM json_each(:keys))",
    "postgresql": "SELECT t.* FROM json_array_elements(CAST(:keys AS json)) AS k CROSS JOIN LATERAL"
    " (SELECT {columns} FROM {table} WHERE cluster = :cluster AND account = k ->> 0 AND hour = CAST(k ->> 1 AS bigint)"
    " OFFSET 0) AS t",
}
_NAMES: Final = {"sqlite": "json_each(:names)", "postgresql": "json_array_elements_text(CAST(:names AS json))"}
_DELETE: Final = (
    "DELETE FROM {table} WHERE cluster = %s AND account = %s AND hour BETWEEN %s AND %s AND hour = ANY(CAST(%s AS bigint[]))"
)


async def insert(tx: AsyncConnection, model: type[Base], rows: Iterable[tuple[object, ...]]) -> None:
    """Insert rows that are not there; values in the order of the model's columns. They are asked for one by one."""
    target = table(model)
    names = ", ".join(f'"{column.name}"' for column in target.columns)
    driver = (await tx.get_raw_connection()).driver_connection
    if isinstance(driver, aiosqlite.Connection):
        marks = ", ".join("?" * len(target.columns))
        await driver.executemany(f"INSERT INTO {target.name} ({names}) VALUES ({marks})", rows)  # noqa: S608 - our own names
        return
    assert driver is not None  # noqa: S101 - this package opens no third driver
    await _copy(driver, f"COPY {target.name} ({names}) FROM STDIN", rows)


async def select(
    tx: AsyncConnection, model: type[Base], columns: str, cluster: str, keys: Iterable[SlotKey]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """These columns of every row of these slots."""
    statement = text(_SELECT[tx.dialect.name].format(columns=columns, table=table(model).name))
    return (await tx.execute(statement, {"cluster": cluster, "keys": _json(keys)})).all()


async def delete(tx: AsyncConnection, model: type[Base], cluster: str, keys: Iterable[SlotKey]) -> None:
    """Delete every row of these slots."""
    name = table(model).name
    if tx.dialect.name == "postgresql":
        hours: dict[str, list[int]] = {}
        for key in keys:
            hours.setdefault(key.account, []).append(key.hour)
        if hours:
            rows = [(cluster, account, min(found), max(found), found) for account, found in hours.items()]
            await tx.exec_driver_sql(_DELETE.format(table=name), rows)
        return
    found = _SELECT["sqlite"].format(columns="1", table=name).replace("SELECT 1", "DELETE", 1)
    await tx.execute(text(found), {"cluster": cluster, "keys": _json(keys)})


def over_names(statement: str) -> dict[str, TextClause]:
    """The statement by dialect, with ``{names}`` as rows of one column, ``value``: handed over as ``:names`` (`json_of`)."""
    return {dialect: text(statement.format(names=names)) for dialect, names in _NAMES.items()}


def json_of(names: Iterable[str]) -> str:
    """Names for one parameter."""
    return orjson.dumps(list(names)).decode()


def _json(keys: Iterable[SlotKey]) -> str:
    return orjson.dumps([tuple(key) for key in keys]).decode()


async def _copy(driver: "psycopg.AsyncConnection[Any]", statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    async with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            await copy.write_row(row)

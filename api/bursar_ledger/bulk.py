"""Many rows at once: COPY on PostgreSQL, one prepared statement on SQLite, and keys handed over as one JSON text.

Statement objects that are compiled for each page would cost more than the rows.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import orjson
import psycopg
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey
from bursar_ledger.tables import Base, table

KEYS: Final = {
    "sqlite": "(SELECT CAST(json_extract(value, '$[0]') AS text) AS account,"
    " CAST(json_extract(value, '$[1]') AS bigint) AS hour FROM json_each(:keys)) AS k",
    "postgresql": "(SELECT value ->> 0 AS account, CAST(value ->> 1 AS bigint) AS hour"
    " FROM json_array_elements(CAST(:keys AS json)) AS element) AS k",
}


async def insert(tx: AsyncConnection, model: type[Base], rows: Sequence[tuple[object, ...]]) -> None:
    """Insert rows that are not there; values in the order of the model's columns."""
    if not rows:
        return
    target = table(model)
    names = ", ".join(f'"{column.name}"' for column in target.columns)
    if tx.dialect.name == "postgresql":
        await _copy(tx, f"COPY {target.name} ({names}) FROM STDIN", rows)
        return
    marks = ", ".join("?" * len(target.columns))
    await tx.exec_driver_sql(f"INSERT INTO {target.name} ({names}) VALUES ({marks})", list(rows))  # noqa: S608 - our own names


async def delete(tx: AsyncConnection, model: type[Base], cluster: str, keys: Iterable[SlotKey]) -> None:
    """Delete every row of these slots."""
    statement = with_keys(tx, f"DELETE FROM {table(model).name} WHERE cluster = :cluster", "AND")  # noqa: S608 - our own names
    await tx.execute(statement, {"cluster": cluster, "keys": as_json(keys)})


def with_keys(tx: AsyncConnection, statement: str, word: str = "WHERE") -> TextClause:
    """A statement about the slots whose keys are bound as ``keys``."""
    return text(f"{statement} {word} (account, hour) IN (SELECT k.account, k.hour FROM {KEYS[tx.dialect.name]})")  # noqa: S608


def as_json(keys: Iterable[SlotKey]) -> str:
    """Keys as `with_keys` binds them."""
    return orjson.dumps([tuple(key) for key in keys]).decode()


async def _copy(tx: AsyncConnection, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    driver = (await tx.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)  # noqa: S101 - the only driver this package opens
    async with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
        for row in rows:
            await copy.write_row(row)

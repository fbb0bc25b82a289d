"""Loads of the ledger for benchmarks: pages of buckets, the same in a plain table of the driver, millions of rows by SQL."""

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg

from bursar_domain.units import HOUR
from bursar_domain.wire import SlotReport, UsageRow

INGESTED, PER_SLOT, PER_PAGE, ACCOUNTS = 100_000, 5, 800, 200
BASE = 400_000 * HOUR
USERS, RESOURCES = 5, ("cpu", "memory")
_FILL = {
    "usage_buckets": "SELECT 'big', a.name, h.at, u.name, r.name, 900, 1800, 900, 450, 0, 0, 0, 0"
    " FROM a CROSS JOIN h CROSS JOIN u CROSS JOIN r",
    "usage_hours": f"SELECT 'big', a.name, h.at, r.name, {USERS * 4050}, {USERS * 900}, {USERS * 1800}, {USERS * 900},"
    f" {USERS * 450} FROM a CROSS JOIN h CROSS JOIN r",
    "usage_slots": "SELECT 'big', a.name, h.at, 1, 1, 0 FROM a CROSS JOIN h",
}


PAGES = INGESTED // PER_SLOT // PER_PAGE


def pages() -> Iterator[list[SlotReport]]:
    """100,000 buckets as an agent sends them: five rows a slot, about 900 kB a page."""
    rows = tuple(UsageRow(user=f"user{n}", resource="cpu", allocated=(900 * n + 900, 1800, 900, n)) for n in range(PER_SLOT))
    for page in range(PAGES):
        numbers = range(page * PER_PAGE, (page + 1) * PER_PAGE)
        yield [
            SlotReport(account=f"account{n % ACCOUNTS}", hour=BASE + n // ACCOUNTS * HOUR, epoch=1, seq=1, rows=rows)
            for n in numbers
        ]


_COLUMNS = "cluster, account, hour, username, resource, a0, a1, a2, a3, r0, r1, r2, r3"
_PLAIN_TABLE = "CREATE TABLE plain (cluster TEXT, account TEXT, hour BIGINT, username TEXT, resource TEXT" + "".join(
    f", {kind}{n} BIGINT" for kind in "ar" for n in range(4)
)
_KEY = ", PRIMARY KEY (cluster, account, hour, username, resource))"


def _flat(page: Sequence[SlotReport]) -> list[tuple[str | int, ...]]:
    return [
        ("plain", slot.account, slot.hour, row.user, row.resource, *row.allocated, *row.refunded)
        for slot in page
        for row in slot.rows
    ]


def plain_sqlite(path: Path) -> float:
    """Buckets a second by `executemany`, a synced transaction a page; best of three files."""
    flat, times = [_flat(page) for page in pages()], []
    for number in range(3):
        database = sqlite3.connect(path.with_name(f"{number}{path.name}"), isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", f"{_PLAIN_TABLE}{_KEY} WITHOUT ROWID"):
            database.execute(statement)
        begun = time.perf_counter()
        for page in flat:
            database.execute("BEGIN IMMEDIATE")
            database.executemany(f"INSERT INTO plain VALUES ({', '.join('?' * 13)})", page)
            database.execute("COMMIT")
        times.append(time.perf_counter() - begun)
        database.close()
    return INGESTED / min(times)


async def plain_postgresql(url: str) -> float:
    """Buckets a second by COPY, a transaction a page; best of three tables."""
    flat, times = [_flat(page) for page in pages()], []
    async with await psycopg.AsyncConnection.connect(url) as connection:
        for _ in range(3):
            await connection.execute("DROP TABLE IF EXISTS plain")
            await connection.execute(f"{_PLAIN_TABLE}{_KEY}".encode())
            await connection.commit()
            begun = time.perf_counter()
            for page in flat:
                async with connection.cursor() as cursor, cursor.copy(f"COPY plain ({_COLUMNS}) FROM STDIN".encode()) as copy:
                    for row in page:
                        await copy.write_row(row)
                await connection.commit()
            times.append(time.perf_counter() - begun)
    return INGESTED / min(times)


Group = tuple[Sequence[str], int]
"""Accounts, and how many hours each of them has use in."""


def _lists(names: Sequence[str], hours: int) -> dict[str, list[tuple[str | int]]]:
    return {
        "a (name text)": [(name,) for name in names],
        "h (at bigint)": [(BASE + number * HOUR,) for number in range(hours)],
        "u (name text)": [(f"user{number}",) for number in range(USERS)],
        "r (name text)": [(name,) for name in RESOURCES],
    }


def fill_sqlite(path: Path, groups: Sequence[Group]) -> None:
    """Rows as `put_usage` would leave them, by SQL, in order of the key."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA synchronous=OFF")
    for names, hours in groups:
        for table, rows in _lists(names, hours).items():
            database.execute(f"CREATE TEMP TABLE {table}")
            database.executemany(f"INSERT INTO {table[0]} VALUES (?)", rows)
        database.execute("BEGIN IMMEDIATE")
        for table, statement in _FILL.items():
            database.execute(f"INSERT INTO {table} {statement}")
        database.execute("COMMIT")
        for name in "ahur":
            database.execute(f"DROP TABLE temp.{name}")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


async def fill_postgresql(url: str, groups: Sequence[Group]) -> None:
    """The same; the months' tables are there."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for names, hours in groups:
            for table, rows in _lists(names, hours).items():
                await connection.execute(f"CREATE TEMP TABLE {table}".encode())
                async with connection.cursor() as cursor:
                    await cursor.executemany(f"INSERT INTO {table[0]} VALUES (%s)".encode(), rows)
            for table, statement in _FILL.items():
                await connection.execute(f"INSERT INTO {table} {statement}".encode())
            await connection.execute(b"DROP TABLE a, h, u, r")
        await connection.execute(b"VACUUM ANALYZE")

"""The database: one file in WAL mode, many readers, one writer at a time across processes.

Every commit is synced (``synchronous=FULL``; in WAL mode one fsync): a generation that an agent has seen must never be given
out twice, and an agent forgets a report once it holds the receipt. Only heartbeats could do with less, and those are batched.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, Protocol, TypeVar

from sqlalchemy import event
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from bursar_ledger.errors import LedgerError, Unavailable
from bursar_ledger.tables import Base, table

BUSY_MILLISECONDS: Final = 15_000
CHUNK: Final = 1_000
_BEGIN: Final = "bursar_begin"
T = TypeVar("T")
Row = Mapping[str, object]


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def close(self) -> None: ...


class _Raw(Protocol):
    def cursor(self) -> _Cursor: ...


class Database:
    """Hands out connections inside a transaction: ``read()`` sees one snapshot, ``write()`` holds the write lock."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._writer = engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})
        self._turn = asyncio.Lock()
        self._closed = False

    @classmethod
    def open(cls, url: str) -> "Database":
        """Open ``sqlite:///path``; the file's folder must exist."""
        engine = create_async_engine(
            driver_url(url), connect_args={"isolation_level": None, "timeout": BUSY_MILLISECONDS / 1000}
        )
        event.listen(engine.sync_engine, "connect", _prepare)
        event.listen(engine.sync_engine, "begin", _begin)
        return cls(engine)

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot."""
        with self._errors():
            async with self._engine.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The write lock; committed at the end, rolled back on error. Writers of one process queue here, not in SQLite."""
        with self._errors():
            async with self._turn, self._writer.begin() as connection:
                yield connection

    async def close(self) -> None:
        """Close every connection; whoever comes later is refused and opens no new one."""
        self._closed = True
        await self._engine.dispose()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise Unavailable("the ledger is closed: this process is about to end")
        try:
            yield
        except OperationalError as error:
            raise Unavailable(f"the ledger's database does not answer ({error.orig}); try again") from error


def driver_url(url: str) -> str:
    """The URL with its asynchronous driver; LedgerError where the database is not supported."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"ledger URL {url!r} is none; write sqlite:///path/to/ledger.db") from error
    if parsed.get_backend_name() != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise LedgerError(
            f"ledger URL {parsed.render_as_string()!r}: use a file that every part can open, sqlite:///path/to/ledger.db"
        )
    folder = Path(parsed.database).absolute().parent
    if not folder.is_dir():
        raise LedgerError(f"the ledger's folder {folder} does not exist; create it or set another ledger URL")
    # The books are nobody else's to read; SQLite gives its side files the same mode.
    Path(parsed.database).touch(mode=0o600)
    return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False)


def _prepare(raw: _Raw, _: object) -> None:
    cursor = raw.cursor()
    for pragma in (
        f"busy_timeout={BUSY_MILLISECONDS}",
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        "cache_size=-16384",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get(_BEGIN, "BEGIN"))


async def upsert(tx: AsyncConnection, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert the rows, replacing those that are there."""
    if not rows:
        return
    target = table(model)
    keys = [column.name for column in target.primary_key]
    statement = insert(target)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), [dict(row) for row in rows])


async def add(tx: AsyncConnection, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows that are not there."""
    if rows:
        await tx.execute(insert(table(model)), [dict(row) for row in rows])


def chunks(items: Iterable[T]) -> Iterable[list[T]]:
    """Pieces small enough for the bound parameters of one statement."""
    found = list(items)
    return (found[at : at + CHUNK] for at in range(0, len(found), CHUNK))

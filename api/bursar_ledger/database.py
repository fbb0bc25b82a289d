"""The database: many readers, one writer at a time across processes, on SQLite and on PostgreSQL.

Every commit is synced: a generation that an agent has seen must never be given out twice, and an agent forgets a report once
it holds the receipt. Only heartbeats could do with less, and those are batched.
"""

import asyncio
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Final, TypeVar

from sqlalchemy import Insert as AnyInsert
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DataError, DBAPIError, InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from bursar_ledger import engines
from bursar_ledger.errors import BadReport, LedgerError, Unavailable
from bursar_ledger.pulse import Pulse
from bursar_ledger.tables import Base, table

CHUNK: Final = 1_000
INSUFFICIENT_PRIVILEGE: Final = "42501"
T = TypeVar("T")
Row = Mapping[str, object]
Insert = sqlite.Insert | postgresql.Insert
# InternalError: a server that only reads while another one takes over.
_AWAY: Final = (
    *(OperationalError, InterfaceError, InternalError, NoConnection),
    *(sqlite3.OperationalError, sqlite3.InterfaceError, sqlite3.InternalError),
)


class Database:
    """Hands out connections inside a transaction: ``read()`` sees one snapshot, ``write()`` holds the write lock."""

    def __init__(self, reader: AsyncEngine, writer: AsyncEngine) -> None:
        self._reader = reader
        self._writer = writer
        self._turn = asyncio.Lock()
        self._closed = False
        self._pulse = Pulse(str(writer.url.database)) if writer.dialect.name == "sqlite" else None
        self.guard: Callable[[], None] = _anybody
        """Raises where this process may not write any more; asked under the write lock and again before the commit."""

    @classmethod
    def open(cls, url: str, *, read_only: bool = False, cache_mebibytes: int = engines.CACHE_MEBIBYTES) -> "Database":
        """Open ``sqlite:///path``, whose folder must exist, or ``postgresql://user:password@host/database``."""
        return cls(*(engines.open_to_read(url) if read_only else engines.open_engines(url, cache_mebibytes)))

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A snapshot."""
        with self._errors():
            async with self._reader.begin() as connection:
                yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """The write lock; committed at the end, rolled back on error. Writers of one process queue here, not there."""
        with self._errors():
            async with self._turn, self._writer.begin() as connection:
                self.guard()
                yield connection
                self.guard()

    async def close(self) -> None:
        """Close every connection; whoever comes later is refused and opens no new one."""
        self._closed = True
        if self._pulse is not None:
            self._pulse.close()
        await self._writer.dispose()

    def moved(self) -> bool:
        """Whether anybody may have written since the last call; false only where it is certain that nobody has."""
        return self._closed or self._pulse is None or self._pulse.moved()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        if self._closed:
            raise Unavailable("the ledger is closed: this process is about to end")
        try:
            yield
        except _with_driver(_AWAY, "OperationalError", "InterfaceError") as error:
            raise Unavailable(
                f"the ledger's database {self._place} does not answer ({_first_line(error)}); try again"
            ) from error
        except _with_driver((DataError, sqlite3.DataError), "DataError") as error:
            raise BadReport(f"the ledger's database can't hold this ({_first_line(error)}); nothing was stored") from error
        except (DatabaseError, sqlite3.DatabaseError) as error:
            if getattr(_cause(error), "sqlstate", None) == INSUFFICIENT_PRIVILEGE:
                raise LedgerError(f"the account in the ledger's URL may not do this: {_first_line(error)}; grant it") from error
            if type(error) not in (DatabaseError, sqlite3.DatabaseError):
                raise
            raise LedgerError(
                f"{self._place} is no ledger ({_first_line(error)}); put a backup back, or another URL"
            ) from error

    @property
    def _place(self) -> str:
        return self._writer.url.set(drivername=self._writer.dialect.name).render_as_string()


def _with_driver(errors: tuple[type[Exception], ...], *names: str) -> tuple[type[Exception], ...]:
    """These and those of PostgreSQL's driver, which is imported for a ledger on PostgreSQL alone."""
    driver = sys.modules.get("psycopg")
    return errors if driver is None else (*errors, *(getattr(driver, name) for name in names))


def _anybody() -> None:
    """Every process may write."""


def _cause(error: Exception) -> BaseException:
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def _first_line(error: Exception) -> str:
    cause = _cause(error)
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def insert_into(tx: AsyncConnection, model: type[Base]) -> Insert:
    """An INSERT that can say what to do on a conflict."""
    target = table(model)
    return postgresql.insert(target) if tx.dialect.name == "postgresql" else sqlite.insert(target)


async def upsert(tx: AsyncConnection, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert the rows, replacing those that are there."""
    if not rows:
        return
    keys = [column.name for column in table(model).primary_key]
    statement = insert_into(tx, model)
    rest = {name: statement.excluded[name] for name in rows[0] if name not in keys}
    await tx.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest), [dict(row) for row in rows])


async def add(tx: AsyncConnection, model: type[Base], rows: Sequence[Row]) -> None:
    """Insert rows that are not there."""
    if rows:
        statement: AnyInsert = insert_into(tx, model)
        await tx.execute(statement, [dict(row) for row in rows])


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterable[list[T]]:
    """Pieces small enough for the bound parameters of one statement."""
    found = list(items)
    return (found[at : at + size] for at in range(0, len(found), size))

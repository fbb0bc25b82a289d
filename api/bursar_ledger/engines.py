"""Engines: how a SQLite file and a PostgreSQL server are opened so that both keep the same promises."""

import asyncio
import os
from functools import partial
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import quote

from sqlalchemy import URL, event
from sqlalchemy.engine import Connection, ExceptionContext, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from bursar_ledger.errors import LedgerError

BUSY_MILLISECONDS: Final = 15_000
# A report touches several hundred pages of the trees and the next one the same again: they are kept at hand and are not
# written back each time.
CACHE_MEBIBYTES: Final = 32
STATEMENT_MILLISECONDS: Final = 60_000
# A process that is stopped amid a transaction holds the writers' lock no longer than a Lease lasts.
IDLE_MILLISECONDS: Final = 10_000
CONNECT_SECONDS: Final = 10
POOL_SIZE: Final = 5
WRITERS_LOCK: Final = 0x62757273_6172  # "bursar": the advisory lock that whoever writes holds until it commits
EXAMPLES: Final = "sqlite:///path/to/ledger.db or postgresql://user:password@host/database"
_BEGIN: Final = "bursar_begin"


class _Cursor(Protocol):
    def execute(self, statement: str) -> object: ...
    def close(self) -> None: ...


class _Raw(Protocol):
    def cursor(self) -> _Cursor: ...


def open_engines(url: str, cache_mebibytes: int) -> tuple[AsyncEngine, AsyncEngine]:
    """(reading, writing) over one pool of connections; LedgerError where the URL can't be one of a ledger."""
    parsed = parse(url)
    return _sqlite(parsed, cache_mebibytes) if parsed.get_backend_name() == "sqlite" else _postgresql(parsed)


def open_to_read(url: str) -> tuple[AsyncEngine, AsyncEngine]:
    """The same for a ledger that is there and is not written: an account or a file that can only be read will do."""
    parsed = parse(url, must_exist=True)
    if parsed.get_backend_name() != "sqlite":
        reader, _ = _postgresql(parsed)
        return reader, reader
    engine = create_async_engine(_reading(parsed), connect_args={"isolation_level": None})
    event.listen(engine.sync_engine, "handle_error", _keep)
    event.listen(engine.sync_engine, "begin", _begin)
    reader = engine.execution_options(**{_BEGIN: "BEGIN"})
    return reader, reader


def _reading(url: URL) -> URL:
    """A file opened for reading.

    Where there are none of SQLite's side files and we can make none, it is read as it lies there, without a lock: who could
    write it would have left them.
    """
    path = Path(str(url.database)).absolute()
    lies_there = not os.access(path.parent, os.W_OK, effective_ids=True) and not Path(f"{path}-wal").exists()
    query = {"mode": "ro", "uri": "true", **({"immutable": "1"} if lies_there else {})}
    return url.set(database=f"file:{quote(str(path))}", query=query)


def parse(url: str, *, must_exist: bool = False) -> URL:
    """The URL with its asynchronous driver."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise LedgerError(f"ledger URL {url!r} is none; write {EXAMPLES}") from error
    backend = parsed.get_backend_name()
    if backend in ("postgresql", "postgres"):
        return _server(parsed)
    if backend != "sqlite" or not parsed.database or parsed.database == ":memory:":
        raise LedgerError(
            f"ledger URL {parsed.render_as_string()!r}: use a file or a server that every part can open, {EXAMPLES}"
        )
    return _existing(parsed, parsed.database) if must_exist else _file(parsed, parsed.database)


def _server(parsed: URL) -> URL:
    if not parsed.database:
        raise LedgerError(f"ledger URL {parsed.render_as_string()!r} names no database; write {EXAMPLES}")
    return parsed.set(drivername="postgresql+psycopg")


def _existing(parsed: URL, path: str) -> URL:
    if not Path(path).is_file():
        raise LedgerError(f"there is no file {Path(path).absolute()}; give the ledger's own URL")
    return parsed.set(drivername="sqlite+aiosqlite")


def _file(parsed: URL, path: str) -> URL:
    folder = Path(path).absolute().parent
    if not folder.is_dir():
        raise LedgerError(f"the ledger's folder {folder} does not exist; create it or set another ledger URL")
    # The books are nobody else's to read; SQLite gives its side files the same mode.
    try:
        Path(path).touch(mode=0o600)
    except OSError as error:
        raise LedgerError(f"the ledger's file {path} can't be written ({error.strerror}); mend its mode or the URL") from error
    return parsed.set(drivername="sqlite+aiosqlite")


def _sqlite(url: URL, cache_mebibytes: int) -> tuple[AsyncEngine, AsyncEngine]:
    """WAL: many readers, one writer at a time across processes, every commit synced. ``?timeout=`` is in seconds."""
    seconds = _option(url, "timeout") or str(BUSY_MILLISECONDS / 1000)
    engine = create_async_engine(url.set(query={}), connect_args={"isolation_level": None, "timeout": float(seconds)})
    event.listen(engine.sync_engine, "connect", partial(_prepare, cache_mebibytes))
    event.listen(engine.sync_engine, "handle_error", _keep)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine.execution_options(**{_BEGIN: "BEGIN"}), engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})


def _postgresql(url: URL) -> tuple[AsyncEngine, AsyncEngine]:
    """Readers see one snapshot; writers queue for one lock, as in SQLite, so that no two of them decide on the same state.

    ``?options=`` of the URL has the last word on time-outs.
    """
    limits = {
        "statement_timeout": STATEMENT_MILLISECONDS,
        "lock_timeout": BUSY_MILLISECONDS,
        "idle_in_transaction_session_timeout": IDLE_MILLISECONDS,
    }
    options = " ".join(f"-c {name}={value}" for name, value in {**limits, "jit": "off"}.items())
    engine = create_async_engine(
        url.difference_update_query(["options"]),
        pool_size=POOL_SIZE,
        pool_timeout=BUSY_MILLISECONDS / 1000,
        pool_pre_ping=True,
        connect_args={"options": f"{options} {_option(url, 'options')}".strip(), "connect_timeout": CONNECT_SECONDS},
    )
    event.listen(engine.sync_engine, "begin", _begin)
    # READ COMMITTED for writers: what they read must be newer than the lock they waited for.
    return (
        engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True),
        engine.execution_options(**{_BEGIN: f"SELECT pg_advisory_xact_lock({WRITERS_LOCK})"}),
    )


def _option(url: URL, name: str) -> str:
    value = url.query.get(name, "")
    return value if isinstance(value, str) else value[-1]


def _prepare(cache_mebibytes: int, raw: _Raw, _: object) -> None:
    cursor = raw.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "temp_store=MEMORY",
        f"cache_size=-{cache_mebibytes * 1024}",
        "wal_autocheckpoint=8000",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _keep(context: ExceptionContext) -> None:
    """A call that is given up rolls back in its connection's thread; a connection dropped instead may keep the write lock."""
    if isinstance(context.original_exception, asyncio.CancelledError):
        context.is_disconnect = False


def _begin(connection: Connection) -> None:
    statement = connection.get_execution_options().get(_BEGIN)
    if statement is not None:
        connection.exec_driver_sql(statement)

"""Fixtures: one throw-away PostgreSQL for the whole session; a test takes a database of its own."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from bursar_local.postgres import Postgres, PostgresUnavailable, can_run
from bursar_local.postgres.programs import obtain


async def need_postgres() -> None:
    """Skips the test, with the reason, where the machine can't run a throw-away PostgreSQL."""
    if reason := can_run():
        pytest.skip(f"no throw-away PostgreSQL: {reason}")
    try:
        await obtain()
    except PostgresUnavailable as error:
        pytest.skip(f"no throw-away PostgreSQL: {error}")


@contextlib.asynccontextmanager
async def own_database(server: Postgres) -> AsyncIterator[str]:
    """The URL of a fresh database, dropped at the end."""
    name = f"ledger_{uuid4().hex[:12]}"
    url = await server.create_database(name)
    try:
        yield url
    finally:
        await server.drop_database(name)


@contextlib.asynccontextmanager
async def own_server(folder: Path) -> AsyncIterator[Postgres]:
    """A server that nobody else uses, so that it may be stopped."""
    await need_postgres()
    running = await Postgres.start(folder)
    try:
        yield running
    finally:
        await running.stop()


@pytest.fixture(scope="session")
async def postgres(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Postgres]:
    """A running PostgreSQL (`.create_database`, `.url`); tests that stop a server start one of their own."""
    async with own_server(tmp_path_factory.mktemp("postgres")) as running:
        yield running

"""The throw-away PostgreSQL: serves on loopback with a password, keeps what it has over a stop, dies with its starter."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psycopg
import pytest

from bursar_local.postgres import Postgres, PostgresUnavailable, programs
from bursar_testing.postgres import need_postgres, own_server

PROGRAM = """
import asyncio, sys
from pathlib import Path
from bursar_local.postgres import Postgres

async def main():
    running = await Postgres.start(Path(sys.argv[1]))
    print(running.server.process.pid, running.data.parent, flush=True)
    await asyncio.sleep(100)

asyncio.run(main())
"""


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    """A server of the test's own."""
    async with own_server(tmp_path) as running:
        yield running


async def test_it_serves_whoever_has_the_password_and_keeps_what_it_has(server: Postgres) -> None:
    url = await server.create_database("books")
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("CREATE TABLE kept (at int)")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        await psycopg.AsyncConnection.connect(url.replace(server.password, "guessed"))
    await server.stop_server()
    with pytest.raises(psycopg.OperationalError, match="refused"):
        await psycopg.AsyncConnection.connect(url)
    await server.start_server()
    async with await psycopg.AsyncConnection.connect(url) as connection:
        await connection.execute("SELECT at FROM kept")


async def test_it_never_runs_as_root_and_nobody_else_reads_its_folder(server: Postgres) -> None:
    assert server.server is not None
    assert os.stat(f"/proc/{server.server.process.pid}").st_uid != 0
    assert stat.S_IMODE(server.data.parent.stat().st_mode) == 0o700


async def test_it_leaves_its_log_alone(server: Postgres) -> None:
    await server.stop()
    assert not server.data.parent.exists()
    assert [path.name for path in server.directory.iterdir()] == ["postgres.log"]


async def test_it_dies_with_whoever_started_it(tmp_path: Path) -> None:
    """Killed, so that nothing can be tidied up."""
    await need_postgres()
    starter = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        PROGRAM,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert starter.stdout is not None
    pid, folder = (await asyncio.wait_for(starter.stdout.readline(), 60)).decode().split()
    starter.send_signal(signal.SIGKILL)
    await starter.wait()
    for _ in range(200):
        if not Path(f"/proc/{pid}").exists():
            break
        await asyncio.sleep(0.05)
    assert not Path(f"/proc/{pid}").exists()
    # What a killed starter leaves goes with the next start.
    running = await Postgres.start(tmp_path / "next")
    await running.stop()
    assert not Path(folder).exists()


async def test_a_machine_without_the_programs_says_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(PostgresUnavailable, match="install util-linux"):
        await programs.obtain(tmp_path)

"""A database that is locked, full or away: a clear error, nothing half done, and the same call again counts once."""

import asyncio
import os
import re
import sqlite3
import subprocess
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event
from sqlalchemy.engine.interfaces import DBAPIConnection

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR
from bursar_domain.wire import UsageReport
from bursar_ledger import Ledger, LedgerError, Unavailable
from bursar_ledger.engines import WRITERS_LOCK
from bursar_local.ports import free_ports
from bursar_local.postgres import Postgres
from bursar_testing.postgres import own_database, own_server
from bursar_testing.wires import publish_accounts, slot, usage

NOW = 2_000_000_000
ROWS = {RowKey("alice", "cpu"): Amounts((1, 0, 0, 0))}


def report(number: int, slots: int = 1) -> UsageReport:
    """Slots that no other number has."""
    return usage(f"{number}", *(slot("a", (number * slots + each) * HOUR, (0, 1), ROWS) for each in range(slots)))


async def test_a_locked_file_is_an_error_and_the_call_may_be_repeated(tmp_path: Path) -> None:
    ledger = await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db?timeout=0.1")
    await publish_accounts(ledger, "c", "a")
    with closing(sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match=r"ledger.db does not answer \(database is locked\); try again"):
            await ledger.put_usage("c", report(1), NOW)
        assert await ledger.totals("c") == {}
        other.execute("ROLLBACK")
    for _ in range(2):
        assert (await ledger.put_usage("c", report(1), NOW)).accepted == 1
    assert await ledger.totals("c") == {"a": {"cpu": 1}}
    await ledger.close()


async def fits(ledger: Ledger, page: UsageReport) -> bool:
    """Whether there is room for a report."""
    try:
        await ledger.put_usage("c", page, NOW)
    except Unavailable as error:
        return not re.search("database or disk is full|No space left on device", str(error))
    return True


async def test_a_full_disk_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The report that found no room counts wholly, once there is some."""
    ledger = await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db")
    await publish_accounts(ledger, "c", "a")
    pages = [200]

    def limit(connection: DBAPIConnection, *_: object) -> None:
        connection.cursor().execute(f"PRAGMA max_page_count={pages[0]}")

    event.listen(ledger._database._writer.sync_engine, "checkout", limit)
    taken = 0
    while await fits(ledger, report(taken, 500)):
        taken += 1
    assert 0 < taken < 100
    assert await ledger.totals("c") == {"a": {"cpu": 500 * taken}}
    pages[0] = 1_000_000
    for number in range(taken + 1):
        await ledger.put_usage("c", report(number, 500), NOW)
    assert await ledger.totals("c") == {"a": {"cpu": 500 * (taken + 1)}}
    await ledger.close()


async def test_a_call_that_is_given_up_counts_wholly_or_not_at_all(own: Ledger) -> None:
    """A gateway's caller may hang up at any moment; the connection it leaves behind is as good as new."""
    await publish_accounts(own, "c", "a")
    given_up = 0
    for number in range(24):
        call = asyncio.create_task(own.put_usage("c", report(number, 400), NOW))
        await asyncio.sleep(0.0015 * number)
        given_up += call.cancel()
        await asyncio.wait([call])
        total = (await own.totals("c")).get("a", {"cpu": 0})["cpu"]
        assert total % 400 == 0
    assert given_up > 0
    for number in range(24):
        await own.put_usage("c", report(number, 400), NOW)
    assert await own.totals("c") == {"a": {"cpu": 24 * 400}}


async def test_a_file_that_is_no_ledger_is_named(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("something else " * 1_000)
    with pytest.raises(LedgerError, match=r"ledger.db is no ledger .*file is not a database"):
        await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Postgres]:
    """A server that the test may stop."""
    async with own_server(tmp_path) as running:
        yield running


async def test_a_server_that_goes_away_and_comes_back(server: Postgres) -> None:
    ledger = await Ledger.connect(await server.create_database("ledger"))
    await publish_accounts(ledger, "c", "a")
    await ledger.put_usage("c", report(0), NOW)
    await server.stop_server()
    with pytest.raises(Unavailable, match="does not answer") as caught:
        await ledger.put_usage("c", report(1), NOW)
    with pytest.raises(Unavailable, match="does not answer"):
        await ledger.totals("c")
    assert server.password not in str(caught.value)
    await server.start_server()
    for number in (0, 1):
        assert (await ledger.put_usage("c", report(number), NOW)).accepted == 1
    assert await ledger.totals("c") == {"a": {"cpu": 2}}
    await ledger.close()


async def test_what_is_sent_until_it_is_received_counts_once_whenever_the_server_stops(server: Postgres) -> None:
    """An agent repeats a report until it has the receipt; the server stops three times meanwhile, in the middle of things."""
    ledger = await Ledger.connect(await server.create_database("ledger"))
    await publish_accounts(ledger, "c", "a")
    failed = 0

    async def deliver(number: int) -> None:
        nonlocal failed
        while True:
            try:
                await ledger.put_usage("c", report(number, 20), NOW)
                return
            except Unavailable:
                failed += 1
                await asyncio.sleep(0.05)

    async def deliver_all() -> None:
        for number in range(60):
            await deliver(number)

    sending = asyncio.create_task(deliver_all())
    for _ in range(3):
        await asyncio.sleep(0.15)
        await server.stop_server()
        await asyncio.sleep(0.1)
        await server.start_server()
    await asyncio.wait_for(sending, 60)
    assert failed > 0
    assert await ledger.totals("c") == {"a": {"cpu": 60 * 20}}
    assert sum(amount for _, amount in (await ledger.quarters("c", "a"))["cpu"]) == 60 * 20
    await ledger.close()


def mount(*argv: str) -> None:
    """Skips the test, with the reason, where we may not mount."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no disk of our own: {done.stderr.strip()}")


@pytest.fixture
async def small_disk(server: Postgres) -> AsyncIterator[Path]:
    """A disk of 32 MiB that the server can use."""
    disk = server.data.parent / "disk"
    disk.mkdir()
    mount("mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(disk))
    try:
        os.chown(disk, server.data.stat().st_uid, server.data.stat().st_gid)
        yield disk
    finally:
        await server.stop_server()
        mount("umount", str(disk))


async def test_a_server_whose_disk_is_full_leaves_nothing_half_done(server: Postgres, small_disk: Path) -> None:
    url = server.url("ledger")
    async with await psycopg.AsyncConnection.connect(server.url("postgres"), autocommit=True) as admin:
        await admin.execute(f"CREATE TABLESPACE small LOCATION '{small_disk}'".encode())
        await admin.execute("CREATE DATABASE ledger TEMPLATE template0 TABLESPACE small")
    ledger = await Ledger.connect(url)
    await publish_accounts(ledger, "c", "a")
    filler = small_disk / "filler"
    filler.write_bytes(bytes(os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize - 2**20))
    taken = 0
    while await fits(ledger, report(taken, 500)):
        taken += 1
    assert 0 < taken < 1_000
    assert await ledger.totals("c") == {"a": {"cpu": 500 * taken}}
    filler.unlink()
    for number in range(taken + 1):
        await ledger.put_usage("c", report(number, 500), NOW)
    assert await ledger.totals("c") == {"a": {"cpu": 500 * (taken + 1)}}
    await ledger.close()


async def test_a_lock_that_is_held_is_waited_for_and_then_named(postgres: Postgres) -> None:
    async with own_database(postgres) as url:
        ledger = await Ledger.connect(f"{url}?options=-c%20lock_timeout%3D200")
        await publish_accounts(ledger, "c", "a")
        async with await psycopg.AsyncConnection.connect(url) as other:
            await other.execute(f"SELECT pg_advisory_lock({WRITERS_LOCK})")
            with pytest.raises(Unavailable, match="lock timeout"):
                await ledger.put_usage("c", report(1), NOW)
            assert await ledger.totals("c") == {}
        assert (await ledger.put_usage("c", report(1), NOW)).accepted == 1
        await ledger.close()


async def test_a_server_that_is_not_there(postgres: Postgres) -> None:
    port = free_ports(1)[0]
    with pytest.raises(Unavailable, match=rf"postgresql://bursar:\*\*\*@127.0.0.1:{port}/ledger does not answer"):
        await Ledger.connect(f"postgresql://bursar:secret@127.0.0.1:{port}/ledger")
    with pytest.raises(Unavailable, match="password authentication failed"):
        await Ledger.connect(postgres.url("postgres").replace(postgres.password, "secret"))
    with pytest.raises(Unavailable, match='database "nothing" does not exist'):
        await Ledger.connect(postgres.url("nothing"))


async def test_a_text_that_the_database_cannot_hold_is_refused_and_not_repeated(postgres: Postgres) -> None:
    """SQLite would take it; a report that comes again and again would help nobody."""
    async with own_database(postgres) as url:
        ledger = await Ledger.connect(url)
        await publish_accounts(ledger, "c", "a")
        bad = report(1).model_copy(update={"report_id": "nul\0"})
        with pytest.raises(LedgerError, match="can't hold this"):
            await ledger.put_usage("c", bad, NOW)
        assert (await ledger.put_usage("c", report(1), NOW)).accepted == 1
        await ledger.close()

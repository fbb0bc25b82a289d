"""Opening a ledger to read it: nothing is written, rights to read are enough, another version's schema is refused by name."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

import pytest
from sqlalchemy.engine import make_url

from bursar_domain.entries import Entry, EntryKind
from bursar_ledger import Ledger, LedgerError, schema
from bursar_ledger.database import Database

NOBODY = 65534


@contextmanager
def as_nobody() -> Iterator[None]:
    """Root may write everywhere: step down for a while. Everybody else is somebody else already."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


async def fill(url: str) -> None:
    """Three entries."""
    ledger = await Ledger.connect(url)
    made = [Entry(f"k{n}", EntryKind.ADJUSTMENT, "c", "p", 0, "dana", "why", "u", amounts={"cpu": n}) for n in range(3)]
    await ledger.append(made, 0)
    await ledger.close()


async def checked(url: str) -> tuple[int, int]:
    """Rows that were looked at, problems."""
    ledger = await Ledger.read_only(url)
    try:
        report = await ledger.verify()
    finally:
        await ledger.close()
    return report.rows, len(report.problems)


async def test_an_account_that_may_only_read(url: str, backend: str) -> None:
    await fill(url)
    if backend == "sqlite":
        pytest.skip("files are in the tests below")
    name = f"auditor_{uuid4().hex[:8]}"
    owner = Database.open(url)
    async with owner.write() as tx:
        await tx.exec_driver_sql(f"CREATE ROLE {name} LOGIN PASSWORD 'p'")
    auditor = make_url(url).set(username=name, password="p").render_as_string(hide_password=False)
    with pytest.raises(LedgerError, match="may not do this: permission denied"):
        await Ledger.read_only(auditor)
    async with owner.write() as tx:
        await tx.exec_driver_sql(f"GRANT SELECT ON alembic_version, entries, chain_heads TO {name}")
    assert await checked(auditor) == (3, 0)
    async with owner.write() as tx:
        await tx.exec_driver_sql(f"DROP OWNED BY {name}")
        await tx.exec_driver_sql(f"DROP ROLE {name}")
    await owner.close()


@pytest.mark.parametrize("is_open", [False, True], ids=["at rest", "while it is written"])
async def test_a_file_that_can_only_be_read(is_open: bool) -> None:
    """In a folder in which nobody else may write; with ``is_open`` the newest rows are in the side file alone."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a ledger#%.db"
        url = f"sqlite:///{path}"
        await fill(url)
        writer = await Ledger.connect(url)
        if is_open:
            await writer.append([Entry("more", EntryKind.ADJUSTMENT, "c", "p", 0, "dana", "why", "u", amounts={"cpu": 1})], 0)
        else:
            await writer.close()
        for item in Path(folder).iterdir():
            item.chmod(0o444)
        Path(folder).chmod(0o555)
        before = {item.name: item.read_bytes() for item in Path(folder).iterdir() if not item.name.endswith("-shm")}
        with as_nobody():
            assert not os.access(path, os.W_OK, effective_ids=True)
            assert await checked(url) == (4 if is_open else 3, 0)
        assert {item.name: item.read_bytes() for item in Path(folder).iterdir() if not item.name.endswith("-shm")} == before
        Path(folder).chmod(0o755)
        await writer.close()


async def test_an_older_schema_is_not_migrated(url: str) -> None:
    await fill(url)
    database = Database.open(url)
    async with database.write() as tx:
        await tx.run_sync(schema.downgrade, "0001")
    with pytest.raises(LedgerError, match=r"schema is 0001 and this version reads .*open the ledger once"):
        await Ledger.read_only(url)
    async with database.read() as tx:
        assert (await tx.exec_driver_sql("SELECT version_num FROM alembic_version")).scalars().all() == ["0001"]
    await database.close()


async def test_a_newer_schema_and_no_ledger_at_all(url: str, backend: str) -> None:
    if backend == "sqlite":
        Path(str(make_url(url).database)).touch()
    with pytest.raises(LedgerError, match="is no ledger"):
        await Ledger.read_only(url)
    await fill(url)
    database = Database.open(url)
    async with database.write() as tx:
        await tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await database.close()
    with pytest.raises(LedgerError, match="9999 is newer than this version"):
        await Ledger.read_only(url)


async def test_nothing_can_be_written(url: str) -> None:
    await fill(url)
    ledger = await Ledger.read_only(url)
    with pytest.raises(LedgerError, match=r"read-?only"):
        await ledger.append([Entry("k", EntryKind.ADJUSTMENT, "c", "p", 0, "dana", "why")], 0)
    await ledger.close()
    assert await checked(url) == (3, 0)

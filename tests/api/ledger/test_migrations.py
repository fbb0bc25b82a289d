"""Schema: up and down, the same as the models, shipped with the package."""

import re
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import inspect
from sqlalchemy.engine import Connection

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR
from bursar_ledger import Ledger, LedgerError, Unavailable, schema
from bursar_ledger.database import Database
from bursar_ledger.tables import Base
from bursar_testing.wires import hello, publish_accounts, slot, usage

MONTH = re.compile(r"_\d{4}_\d{2}$")


def partitions(names: set[str]) -> set[str]:
    """Tables of single months."""
    return {name for name in names if MONTH.search(name)}


def tables_of(connection: Connection) -> set[str]:
    """Every table but the months of another one."""
    names = set(inspect(connection).get_table_names())
    return names - partitions(names)


async def test_up_makes_what_the_models_say_and_down_leaves_nothing(url: str) -> None:
    database = Database.open(url)

    def up(connection: Connection) -> None:
        schema.migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert tables_of(connection) == set(Base.metadata.tables) | {"alembic_version"}

    def down(connection: Connection) -> None:
        schema.downgrade(connection, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]

    for step in (up, down, up):
        async with database.write() as tx:
            await tx.run_sync(step)
    await database.close()


async def test_what_was_published_and_used_outlives_the_way_to_the_first_schema_and_back(own: Ledger) -> None:
    """The months' partitions too."""
    await publish_accounts(own, "c", "a")
    hours = [0, 31 * 86_400, 1_700_000_000 // HOUR * HOUR]
    slots = [slot("a", hour, (0, 1), {RowKey("alice", "cpu"): Amounts((7, 0, 0, 0))}) for hour in hours]
    await own.put_usage("c", usage("1", *slots, watermark=9), 2_000_000_000)
    async with own._database.write() as tx:
        await tx.run_sync(schema.downgrade, "0001")
    await own.migrate()
    assert await own.totals("c") == {"a": {"cpu": 21}}
    assert await own.quarters("c", "a") == {"cpu": [(hour, 7) for hour in hours]}
    assert (await own.watermark("c"), (await own.desired_generations())) == (9, {"c": 1})
    async with own._database.write() as tx:
        await tx.run_sync(schema.downgrade, "base")
        assert await tx.run_sync(lambda connection: inspect(connection).get_table_names()) == ["alembic_version"]


async def test_connecting_again_keeps_everything(url: str) -> None:
    for number in range(2):
        ledger = await Ledger.connect(url)
        assert len(await ledger.agents()) == number
        await ledger.record_hello("c", hello(), 1)
        await ledger.close()


async def test_a_newer_schema_is_left_alone(url: str) -> None:
    ledger = await Ledger.connect(url)
    async with ledger._database.write() as tx:
        await tx.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    await ledger.close()
    with pytest.raises(LedgerError, match="install the newer version"):
        await Ledger.connect(url)


async def test_the_file_is_in_wal_mode_and_every_commit_is_synced(tmp_path: Path) -> None:
    ledger = await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db")
    async with ledger._database.write() as tx:
        found = [
            (await tx.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    await ledger.close()
    assert found == ["wal", 2, 1]


async def test_a_closed_ledger_opens_no_new_connection(url: str) -> None:
    """A forgotten task would else keep a thread, and with it the process, alive."""
    ledger = await Ledger.connect(url)
    await ledger.close()
    with pytest.raises(Unavailable, match="closed"):
        await ledger.change_number()
    with pytest.raises(Unavailable, match="closed"):
        await ledger.touch("c", "s", 1)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("ledger.db", "is none; write sqlite:///"),
        ("sqlite://", "use a file"),
        ("sqlite:///:memory:", "use a file"),
        ("mysql://host/ledger", "use a file"),
        ("postgresql://host", "names no database"),
        ("sqlite:////nonexistent/folder/ledger.db", "does not exist"),
    ],
)
async def test_a_url_that_cannot_work_is_named(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        await Ledger.connect(url)

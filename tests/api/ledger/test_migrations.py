"""Schema: up and down, the same as the models, shipped with the package."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, inspect

from bursar_ledger import Ledger, LedgerError, Unavailable, schema
from bursar_ledger.tables import Base
from bursar_testing.wires import hello


def test_up_makes_what_the_models_say_and_down_leaves_nothing(tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/ledger.db")
    with engine.begin() as connection:
        schema.migrate(connection)
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert set(inspect(connection).get_table_names()) == set(Base.metadata.tables) | {"alembic_version"}
    with engine.begin() as connection:
        schema.downgrade(connection, "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    with engine.begin() as connection:
        schema.migrate(connection)
        assert set(inspect(connection).get_table_names()) == set(Base.metadata.tables) | {"alembic_version"}
    engine.dispose()


async def test_connecting_again_keeps_everything(tmp_path: Path) -> None:
    for number in range(2):
        ledger = await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db")
        assert len(await ledger.agents()) == number
        await ledger.record_hello("c", hello(), 1)
        await ledger.close()


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
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


async def test_a_closed_ledger_opens_no_new_connection(tmp_path: Path) -> None:
    """A forgotten task would else keep a thread, and with it the process, alive."""
    ledger = await Ledger.connect(f"sqlite:///{tmp_path}/ledger.db")
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
        ("sqlite:////nonexistent/folder/ledger.db", "does not exist"),
    ],
)
async def test_a_url_that_cannot_work_is_named(url: str, message: str) -> None:
    with pytest.raises(LedgerError, match=message):
        await Ledger.connect(url)

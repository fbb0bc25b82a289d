"""Brings a database to the schema of this version, or back: Alembic over an open connection, in one transaction.

Who may only read checks instead that it is there.
"""

from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.engine import Connection

from bursar_ledger.errors import LedgerError

HEAD: Final = "head"
CONNECTION: Final = "connection"


def configuration(connection: Connection) -> Config:
    """Alembic's settings: the scripts that lie beside this module, on this connection."""
    config = Config()
    config.set_main_option("script_location", str(files("bursar_ledger") / "migrations"))
    config.attributes[CONNECTION] = connection
    return config


def migrate(connection: Connection, revision: str = HEAD) -> None:
    """Upgrade to ``revision``; nothing happens where it is reached."""
    try:
        command.upgrade(configuration(connection), revision)
    except CommandError as error:
        raise LedgerError(f"the ledger's schema is not one this version knows ({error}); install the newer version") from error


def check(connection: Connection) -> None:
    """LedgerError unless the database has this version's schema; nothing is written."""
    scripts = ScriptDirectory.from_config(configuration(connection))
    found, newest = MigrationContext.configure(connection).get_current_revision(), scripts.get_current_head()
    if found == newest:
        return
    if found is None:
        raise LedgerError("this database is no ledger: it says nothing of a schema; give the ledger's own URL")
    if found in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerError(
            f"the ledger's schema is {found} and this version reads {newest}: let operator or gateway of this version open the"
            " ledger once, or take the version that wrote it"
        )
    raise LedgerError(
        f"the ledger's schema {found} is newer than this version, which reads {newest}; install the newer version"
    )


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to ``revision`` (``base``: no tables)."""
    command.downgrade(configuration(connection), revision)

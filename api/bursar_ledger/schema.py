"""Brings a database to the schema of this version, or back: Alembic over an open connection, in one transaction."""

from importlib.resources import files
from typing import Final

from alembic import command
from alembic.config import Config
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


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to ``revision`` (``base``: no tables)."""
    command.downgrade(configuration(connection), revision)

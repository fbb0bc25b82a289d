"""Brings a database to the schema of this version, or back: Alembic over an open connection, in one transaction.

Who may only read checks instead that it is there. Alembic takes long to import: only who needs it does.
"""

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from sqlalchemy import inspect, text
from sqlalchemy.engine import Connection

from bursar_ledger.errors import LedgerError

if TYPE_CHECKING:
    from alembic.config import Config

HEAD: Final = "head"
CONNECTION: Final = "connection"
_SCRIPT: Final = re.compile(r"r(\d{4})_\w+\.py")


def newest() -> str:
    """The revision that this version knows last, by the names of the scripts."""
    names = (script.name for script in (files("bursar_ledger") / "migrations" / "versions").iterdir())
    return max(found[1] for name in names if (found := _SCRIPT.fullmatch(name)))


def current(connection: Connection) -> str | None:
    """The database's revision; None where it says none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()


def configuration(connection: Connection) -> "Config":
    """Alembic's settings: the scripts that lie beside this module, on this connection."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("bursar_ledger") / "migrations"))
    config.attributes[CONNECTION] = connection
    return config


def migrate(connection: Connection, revision: str = HEAD) -> None:
    """Upgrade to ``revision``; nothing happens where it is reached."""
    if revision == HEAD and current(connection) == newest():
        return
    from alembic import command
    from alembic.util import CommandError

    try:
        command.upgrade(configuration(connection), revision)
    except CommandError as error:
        raise LedgerError(f"the ledger's schema is not one this version knows ({error}); install the newer version") from error


def check(connection: Connection) -> None:
    """LedgerError unless the database has this version's schema; nothing is written."""
    found = current(connection)
    if found == newest():
        return
    if found is None:
        raise LedgerError("this database is no ledger: it says nothing of a schema; give the ledger's own URL")
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(configuration(connection))
    if found in {script.revision for script in scripts.walk_revisions()}:
        raise LedgerError(
            f"the ledger's schema is {found} and this version reads {newest()}: let operator or gateway of this version open"
            " the ledger once, or take the version that wrote it"
        )
    raise LedgerError(
        f"the ledger's schema {found} is newer than this version, which reads {newest()}; install the newer version"
    )


def downgrade(connection: Connection, revision: str) -> None:
    """Go back to ``revision`` (``base``: no tables)."""
    from alembic import command

    command.downgrade(configuration(connection), revision)

"""The ledger: one object over one database, put together from its parts."""

from collections.abc import Callable
from contextlib import suppress

from bursar_ledger import schema
from bursar_ledger.accounts import Accounts
from bursar_ledger.agents import Agents
from bursar_ledger.changes import Changes
from bursar_ledger.database import Database
from bursar_ledger.desired import Desired
from bursar_ledger.engines import CACHE_MEBIBYTES
from bursar_ledger.enrolments import Enrolments
from bursar_ledger.entries import Entries
from bursar_ledger.errors import LedgerError
from bursar_ledger.firings import Firings
from bursar_ledger.grants import Grants
from bursar_ledger.releases import Releases
from bursar_ledger.roll import Roll
from bursar_ledger.sessions import Sessions
from bursar_ledger.spans import Spans
from bursar_ledger.statements import Statements
from bursar_ledger.sums import Sums
from bursar_ledger.usage import Usage


class Ledger(
    Desired,
    Grants,
    Enrolments,
    Sessions,
    Agents,
    Releases,
    Usage,
    Roll,
    Sums,
    Spans,
    Accounts,
    Entries,
    Statements,
    Firings,
    Changes,
):
    """Published desired state, agents, usage and the change feed. Several processes may hold one over the same database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    async def connect(cls, url: str, *, cache_mebibytes: int = CACHE_MEBIBYTES) -> "Ledger":
        """Open ``sqlite:///path`` or ``postgresql://user:password@host/database``.

        It is brought to this version's schema: whichever part comes first does it. ``cache_mebibytes`` is what each
        connection to a file may keep of it.
        """
        ledger = cls(Database.open(url, cache_mebibytes=cache_mebibytes))
        try:
            await ledger.migrate()
        except BaseException:
            await ledger.close()
            raise
        return ledger

    @classmethod
    async def read_only(cls, url: str) -> "Ledger":
        """Open a ledger that is there for reading alone: nothing is written, no rights to write are needed, no schema changes.

        LedgerError where its schema is older or newer than this version's.
        """
        ledger = cls(Database.open(url, read_only=True))
        try:
            async with ledger._database.read() as tx:
                await tx.run_sync(schema.check)
        except BaseException:
            await ledger.close()
            raise
        return ledger

    def guard(self, check: Callable[[], None]) -> None:
        """From now on nothing is written through this object once ``check`` raises, nor is what was begun committed."""
        self._database.guard = check

    async def migrate(self) -> None:
        """Bring the schema up to date; processes that do so at once wait for each other.

        Where it is, nothing is locked: whoever waits to lead can open a ledger that the leader is writing.
        """
        with suppress(LedgerError):
            async with self._database.read() as tx:
                await tx.run_sync(schema.check)
                return
        async with self._database.write() as tx:
            await tx.run_sync(schema.migrate)

    async def close(self) -> None:
        """Close every connection."""
        await self._database.close()

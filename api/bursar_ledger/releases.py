"""Acknowledgements that came by hand: an agent's signed statement stands in for its report, and is kept for ever."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select

from bursar_domain.release import SignedStatement
from bursar_ledger import agents, changes
from bursar_ledger.database import Database, insert_into
from bursar_ledger.errors import BadReport
from bursar_ledger.tables import StatedRelease

KEY: Final = ("uid", "revision")


class Releases:
    """Taking and reading them. Whether one counts is the caller's to judge."""

    _database: Database

    async def take_statement(self, signed: SignedStatement, now: int) -> None:
        """Keep the statement and take it as the acknowledgement of its revision; again changes nothing.

        BadReport where nothing was ever published of the allocation for that cluster: there is nothing to acknowledge.
        """
        said = signed.statement
        kept = {
            "uid": said.uid,
            "revision": said.revision,
            "cluster": said.cluster,
            "taken_at": now,
            "document": signed.canonical().decode(),
        }
        async with self._database.write() as tx:
            owners = await agents.owners(tx, said.cluster, [said.uid])
            if said.uid not in owners:
                raise BadReport(f"nothing was published of {said.uid} for cluster {said.cluster}")
            await tx.execute(insert_into(tx, StatedRelease).values(kept).on_conflict_do_nothing(index_elements=KEY))
            read_back = {"cluster": said.cluster, "uid": said.uid, "revision": said.revision, "at": float(said.issued_at)}
            await agents.acknowledge(tx, [read_back])
            await changes.record(tx, said.cluster, "status", [None, owners[said.uid]])

    async def release_statements(self) -> Sequence[SignedStatement]:
        """Every one that was taken, oldest first."""
        query = select(StatedRelease.document).order_by(StatedRelease.taken_at, StatedRelease.uid, StatedRelease.revision)
        async with self._database.read() as tx:
            return [SignedStatement.model_validate_json(text) for text in (await tx.execute(query)).scalars()]

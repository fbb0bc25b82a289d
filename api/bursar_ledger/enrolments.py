"""Enrolments: the gateway writes down what an agent asks, the operator decides."""

import secrets
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.enrolment import EnrolRequest
from bursar_ledger import changes
from bursar_ledger.database import Database, add
from bursar_ledger.errors import LedgerError, TooManyPending
from bursar_ledger.tables import Enrolment as Row

EnrolmentState = Literal["Pending", "Accepted", "Refused"]
PENDING_PER_CLUSTER: Final = 16
PENDING_IN_ALL: Final = 512
KEEP_SECONDS: Final = 7 * 86_400
PENDING_SECONDS: Final = 3_600  # as long as a token holds


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One request and what became of it."""

    id: str
    request: EnrolRequest
    requested_at: int
    state: EnrolmentState
    message: str


class Enrolments:
    """Requests of agents to be let in."""

    _database: Database

    async def request_enrolment(self, request: EnrolRequest, now: int) -> str:
        """Write the request down and return its id; the same request again is the same id while it is not refused.

        TooManyPending where the cluster or the ledger has too many undecided ones.
        """
        async with self._database.write() as tx:
            await _prune(tx, now)
            known = await _same(tx, request)
            if known is not None:
                return known
            await _limit(tx, request.cluster)
            identity = secrets.token_urlsafe(24)
            row = {"id": identity, **request.model_dump(), "requested_at": now, "state": "Pending", "message": ""}
            await add(tx, Row, [row])
            await changes.record(tx, request.cluster, "enrolment", [None])
        return identity

    async def pending_enrolments(self) -> list[Enrolment]:
        """What waits for the operator, oldest first."""
        query = select(Row.__table__).where(Row.state == "Pending").order_by(Row.requested_at, Row.id)
        async with self._database.read() as tx:
            return [_enrolment(*row) for row in await tx.execute(query)]

    async def decide_enrolment(self, id: str, accepted: bool, message: str = "") -> None:  # noqa: A002 - the interface's name
        """Write the decision down, once: a decided enrolment keeps its state."""
        state = "Accepted" if accepted else "Refused"
        async with self._database.write() as tx:
            done = await tx.execute(
                update(Row)
                .where(Row.id == id, Row.state == "Pending")
                .values(state=state, message=message)
                .returning(Row.cluster)
            )
            cluster = done.scalar_one_or_none()
            if cluster is not None:
                await changes.record(tx, cluster, "enrolment", [None])
            elif await _find(tx, id) is None:
                raise LedgerError(f"enrolment {id} is not in the ledger; read the pending ones again")

    async def enrolment(self, id: str) -> Enrolment | None:  # noqa: A002 - the interface's name
        """One request, if there is one of that id."""
        async with self._database.read() as tx:
            return await _find(tx, id)


async def _find(tx: AsyncConnection, identity: str) -> Enrolment | None:
    row = (await tx.execute(select(Row.__table__).where(Row.id == identity))).first()
    return None if row is None else _enrolment(*row)


def _enrolment(
    identity: str, cluster: str, key: str, mac: str, requested_at: int, state: EnrolmentState, message: str
) -> Enrolment:
    request = EnrolRequest(cluster=cluster, public_key=key, mac=mac)
    return Enrolment(identity, request, requested_at, state, message)


async def _same(tx: AsyncConnection, request: EnrolRequest) -> str | None:
    query = select(Row.id).where(
        Row.cluster == request.cluster,
        Row.public_key == request.public_key,
        Row.mac == request.mac,
        Row.state != "Refused",
    )
    return (await tx.execute(query)).scalars().first()


async def _limit(tx: AsyncConnection, cluster: str) -> None:
    pending = select(func.count()).select_from(Row).where(Row.state == "Pending")
    total = (await tx.execute(pending)).scalar_one()
    own = (await tx.execute(pending.where(Row.cluster == cluster))).scalar_one()
    if own >= PENDING_PER_CLUSTER or total >= PENDING_IN_ALL:
        raise TooManyPending(f"cluster {cluster} has {own} undecided enrolments, all clusters {total}; wait for the operator")


async def _prune(tx: AsyncConnection, now: int) -> None:
    old = (Row.state != "Pending") & (Row.requested_at < now - KEEP_SECONDS)
    await tx.execute(delete(Row).where(old | ((Row.state == "Pending") & (Row.requested_at < now - PENDING_SECONDS))))

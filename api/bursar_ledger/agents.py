"""What agents report: status of the cluster, state of each account, revisions read back."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.wire import AccountState, Brake, Hello, Miss, Receipt, StatusReport
from bursar_ledger import changes, reports, sessions, slot_rows
from bursar_ledger.database import Database, Row, chunks, insert_into, upsert
from bursar_ledger.slots import SKEW_SECONDS
from bursar_ledger.tables import Acknowledgement, Agent, Grant, State, Status, Watermark


@dataclass(frozen=True, slots=True)
class AgentRecord:
    """One cluster's agent. Times are epoch seconds; ``scheduler_time`` and ``watermark`` are on the scheduler's clock.

    Before the first status report generation, scheduler_time and enforced_at are 0 and the digest is empty; ``misses`` are
    those of hello then.
    """

    hello: Hello
    last_seen: int
    session: str
    skew_seconds: int
    generation: int
    digest: str
    watermark: int | None
    brake: Brake | None
    misses: tuple[Miss, ...]
    scheduler_time: int
    enforced_at: int


@dataclass(frozen=True, slots=True)
class ReadBack:
    """Revision of an allocation that the scheduler has, and the agent's wall clock when it read it back."""

    revision: int
    at: float


class Agents:
    """Status of agents."""

    _database: Database

    async def record_status(self, cluster: str, report: StatusReport, now: int) -> Receipt:
        """Take a status report in: accounts replace, revisions only grow; ``dropped`` counts foreign allocations.

        A scheduler's time that is to come is taken for ours, unless it is a simulator's: windows would close long before.
        """
        async with self._database.write() as tx:
            await sessions.fence(tx, cluster, report.session, now)
            known = await reports.receipt_of(tx, cluster, "status", report.report_id, now)
            if known is not None:
                return known
            latest = None if await slot_rows.is_simulated(tx, cluster) else now + SKEW_SECONDS
            await _store_status(tx, cluster, report, latest)
            await _store_states(tx, cluster, report)
            known_uids = await owners(tx, cluster, report.acknowledgements)
            await _store_acknowledgements(tx, cluster, report, known_uids)
            touched = {state.account for state in report.accounts} | set(known_uids.values())
            await changes.record(tx, cluster, "status", [None, *touched])
            dropped = len(report.acknowledgements) - len(known_uids)
            receipt = Receipt(clock=now, accepted=len(report.accounts) + len(known_uids), dropped=dropped)
            await reports.remember(tx, cluster, "status", report.report_id, receipt)
        return receipt

    async def agents(self) -> dict[str, AgentRecord]:
        """Every cluster whose agent ever said hello."""
        query = (
            select(Agent.__table__, Status.__table__, Watermark.watermark)
            .select_from(Agent)
            .outerjoin(Status, Status.cluster == Agent.cluster)
            .outerjoin(Watermark, Watermark.cluster == Agent.cluster)
        )
        async with self._database.read() as tx:
            return {row[0]: _record(*row) for row in await tx.execute(query)}

    async def acknowledgements(self, cluster: str | None = None) -> dict[str, int]:
        """uid -> revision read back from its own cluster's scheduler."""
        return {uid: read_back.revision for uid, read_back in (await self.read_backs(cluster)).items()}

    async def read_backs(self, cluster: str | None = None) -> dict[str, ReadBack]:
        """The same with the time of the read-back (0 where the agent did not say)."""
        row = Acknowledgement
        query = select(row.uid, row.revision, row.at).join(Grant, (Grant.uid == row.uid) & (Grant.cluster == row.cluster))
        async with self._database.read() as tx:
            rows = await tx.execute(query if cluster is None else query.where(row.cluster == cluster))
            return {found.uid: ReadBack(found.revision, found.at) for found in rows}

    async def account_states(self, cluster: str) -> dict[str, AccountState]:
        """account -> what its agent saw last."""
        query = select(State.account, State.state).where(State.cluster == cluster)
        async with self._database.read() as tx:
            return {account: AccountState.model_validate_json(text) for account, text in await tx.execute(query)}


def _record(
    cluster: str,
    session: str,
    last_seen: int,
    skew_seconds: int,
    hello: str,
    _: str | None,
    generation: int | None,
    digest: str | None,
    scheduler_time: int | None,
    enforced_at: int | None,
    brake: str | None,
    misses: str | None,
    watermark: int | None,
) -> AgentRecord:
    said = Hello.model_validate_json(hello)
    return AgentRecord(
        hello=said,
        last_seen=last_seen,
        session=session,
        skew_seconds=skew_seconds,
        generation=generation or 0,
        digest=digest or "",
        watermark=watermark,
        brake=None if brake is None else Brake.model_validate_json(brake),
        misses=said.misses if misses is None else tuple(Miss.model_validate(miss) for miss in orjson.loads(misses)),
        scheduler_time=scheduler_time or 0,
        enforced_at=enforced_at or 0,
    )


async def _store_status(tx: AsyncConnection, cluster: str, report: StatusReport, latest: int | None) -> None:
    misses = [miss.model_dump(by_alias=True) for miss in report.misses]
    row = {
        "cluster": cluster,
        "generation": report.generation,
        "digest": report.digest,
        "scheduler_time": report.scheduler_time if latest is None else min(report.scheduler_time, latest),
        "enforced_at": report.enforced_at,
        "brake": None if report.brake is None else report.brake.canonical().decode(),
        "misses": orjson.dumps(misses).decode(),
    }
    await upsert(tx, Status, [row])


async def _store_states(tx: AsyncConnection, cluster: str, report: StatusReport) -> None:
    if report.full:
        await tx.execute(delete(State).where(State.cluster == cluster))
    latest = {state.account: state for state in report.accounts}
    rows = [{"cluster": cluster, "account": name, "state": state.canonical().decode()} for name, state in latest.items()]
    await upsert(tx, State, rows)


async def owners(tx: AsyncConnection, cluster: str, uids: Iterable[str]) -> dict[str, str]:
    """uid -> account of those that were published for this cluster: an agent speaks for no other."""
    found: dict[str, str] = {}
    for some in chunks(uids):
        query = select(Grant.uid, Grant.account).where(Grant.cluster == cluster, Grant.uid.in_(some))
        found |= {row.uid: row.account for row in await tx.execute(query)}
    return found


async def _store_acknowledgements(tx: AsyncConnection, cluster: str, report: StatusReport, uids: Iterable[str]) -> None:
    rows = [
        {
            "cluster": cluster,
            "uid": uid,
            "revision": report.acknowledgements[uid],
            "at": report.revision_times.get(uid, 0.0),
        }
        for uid in uids
    ]
    if rows:
        await acknowledge(tx, rows)


async def acknowledge(tx: AsyncConnection, rows: Sequence[Row]) -> None:
    """Take in revisions that were read back (cluster, uid, revision, at); they only grow."""
    statement = insert_into(tx, Acknowledgement)
    new = statement.excluded
    higher = statement.on_conflict_do_update(
        index_elements=["cluster", "uid"],
        set_={"revision": new.revision, "at": new.at},
        where=new.revision > Acknowledgement.revision,
    )
    await tx.execute(higher, rows)

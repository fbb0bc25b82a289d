"""Agents' sessions: who holds a cluster, what it said first, when it was seen last."""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.wire import Hello, HelloReply
from bursar_ledger import changes
from bursar_ledger.database import Database, upsert
from bursar_ledger.errors import Fenced
from bursar_ledger.tables import Agent

TAKEOVER_SECONDS: Final = 12  # silence after which another session may take the cluster; live agents are seen every 5 s
RELEASE_SECONDS: Final = 1  # the same once the holder's connection broke


class Sessions:
    """One session holds a cluster at a time; of two agents with one key the one that says hello later is fenced."""

    _database: Database

    async def record_hello(self, cluster: str, hello: Hello, now: int) -> HelloReply:
        """Take the session in, unless another one is at work."""
        async with self._database.write() as tx:
            held = await _holder(tx, cluster)
            if held is not None and held[0] != hello.session and now - held[1] < TAKEOVER_SECONDS:
                return HelloReply(clock=now, accepted=False, reason=_refusal(held[0], now - held[1]))
            row = {
                "cluster": cluster,
                "session": hello.session,
                "last_seen": now,
                "skew_seconds": hello.clock - now,
                "hello": hello.canonical().decode(),
            }
            await upsert(tx, Agent, [row])
            await changes.record(tx, cluster, "hello", [None])
        return HelloReply(clock=now, accepted=True)

    async def session(self, cluster: str) -> str | None:
        """The session that holds the cluster; None before the first hello."""
        async with self._database.read() as tx:
            held = await _holder(tx, cluster)
        return None if held is None else held[0]

    async def touch(self, cluster: str, session: str, now: int) -> None:
        """A sign of life of the session that holds the cluster; others leave no trace."""
        await self.touch_all({(cluster, session): now})

    async def touch_all(self, seen: Mapping[tuple[str, str], int]) -> None:
        """Signs of life of many, in one transaction; time never goes back."""
        async with self._database.write() as tx:
            for (cluster, session), now in seen.items():
                held = (Agent.cluster == cluster) & (Agent.session == session) & (Agent.last_seen < now)
                await tx.execute(update(Agent).where(held).values(last_seen=now))

    async def release(self, cluster: str, session: str, now: int) -> None:
        """The session's connection broke: unless it is seen again, another may take the cluster in a second."""
        before = now - TAKEOVER_SECONDS + RELEASE_SECONDS
        async with self._database.write() as tx:
            held = (Agent.cluster == cluster) & (Agent.session == session) & (Agent.last_seen > before)
            await tx.execute(update(Agent).where(held).values(last_seen=before))


async def fence(tx: AsyncConnection, cluster: str, session: str, now: int) -> None:
    """Note the sign of life; raise Fenced where another session holds the cluster."""
    held = await _holder(tx, cluster)
    if held is not None and held[0] != session:
        raise Fenced(cluster, session, held[0])
    if held is not None and held[1] < now:
        await tx.execute(update(Agent).where(Agent.cluster == cluster).values(last_seen=now))


async def _holder(tx: AsyncConnection, cluster: str) -> tuple[str, int] | None:
    row = (await tx.execute(select(Agent.session, Agent.last_seen).where(Agent.cluster == cluster))).first()
    return None if row is None else (row[0], row[1])


def _refusal(holder: str, silent: int) -> str:
    return (
        f"session {holder} with the same key was seen {silent} s ago; stop the other agent,"
        f" or try again when it has been silent for {TAKEOVER_SECONDS} s"
    )

"""Clients that race for hours at the pool writer itself: allocations in memory, pools on a real API server."""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from bursar_operator.applicants import Key
from bursar_operator.domain.grant import Kind, Operation
from bursar_operator.domain.poolstatus import Listed
from bursar_operator.domain.rows import GrantState, Row
from bursar_operator.pools import Pools

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
ONE: Mapping[str, int] = {"cpu": 1}


@dataclass
class Racers:
    """What the pool writer asks about allocations. Each decides as soon as every pool of its path has its operation."""

    pools: "Pools" = field(init=False)
    rows: dict[str, Row] = field(default_factory=dict)
    granted: dict[str, asyncio.Future[None]] = field(default_factory=dict)
    version: int = 0

    def add(self, uid: str, pool: str, state: GrantState | None = None) -> Row:
        """One more allocation."""
        self.version += 1
        found = Row(
            uid=uid,
            namespace="racers",
            name=uid,
            version=self.version,
            generation=1,
            created="",
            deleting=False,
            finalizer=True,
            cluster="bench",
            pool_ref=pool,
            start=START,
            end=END,
            grace_days=0,
            asked=ONE,
            state=state or GrantState(),
        )
        self.rows[uid] = found
        return found

    async def grant(self, uid: str, pool: str) -> None:
        """Ask for one hour and wait until the pools hold it and the allocation has it."""
        found = self.add(uid, pool)
        future = self.granted[uid] = asyncio.get_running_loop().create_future()
        self.pools.request(found, pool, self.operations(uid), time.time())
        await future

    # what the pool writer asks

    def row(self, uid: str) -> Row | None:
        return self.rows.get(uid)

    def leaf(self, row: Row) -> str | None:
        return row.pool_ref

    def operations(self, uid: str) -> tuple[Operation, ...]:
        return (Operation(Kind.RAISE, self.rows[uid].state.charged, ONE),)

    def held(self, namespace: str, cluster: str, pools: Collection[str]) -> Mapping[str, int]:
        return {}

    def look(self, key: Key) -> None:
        """Commit, where the operation is open on the whole path: what the grant core writes into the allocation's status."""
        uid = key[1]
        found = self.rows[uid]
        path = self.pools.path(found.pool_ref or "")
        view = self.pools.view(uid, path)
        if not view.known or set(view.intents) != set(path) or uid not in self.granted:
            return
        number = view.intents[path[0]].id
        state = replace(
            found.state, granted=ONE, charged=ONE, revision=1, sequence=number, charge_sequence=number, pool=path[-1]
        )
        self.version += 1
        self.rows[uid] = replace(found, state=state, version=self.version)
        self.pools.decided(found)
        self.granted.pop(uid).set_result(None)

    def help_hindered(self) -> None:
        """Nothing hinders them."""

    async def quorum(self) -> Listed:
        listed = Listed()
        for found in self.rows.values():
            listed.add(found, settled=True)
        return listed

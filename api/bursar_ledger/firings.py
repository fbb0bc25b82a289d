"""Thresholds: what fired, once in a window and direction, and which rules are in force, so that a restart forgets nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import orjson
from sqlalchemy import select

from bursar_domain.entries import canonical
from bursar_ledger.database import Database, insert_into, upsert
from bursar_ledger.tables import Firing, RulesInForce

Direction = Literal["up", "down"]
KEY: Final = ("uid", "window", "rule", "direction")
Fired = tuple[str, int, str, str]
"""Allocation, start of the window, what was crossed, direction."""


@dataclass(frozen=True, slots=True)
class InForce:
    """Keys in force of an allocation in a window, since a second of the cluster's clock."""

    uid: str
    window: int
    keys: Collection[str]
    since: int


class Firings:
    """Reading and writing them."""

    _database: Database

    async def fire(self, uid: str, window: int, rule: str, direction: Direction, at: int, figure: int) -> bool:
        """Remember that a rule was crossed; True the first time in this window and direction."""
        row = {"uid": uid, "window": window, "rule": rule, "direction": direction, "at": at, "figure": figure}
        async with self._database.write() as tx:
            statement = insert_into(tx, Firing).values(row).on_conflict_do_nothing(index_elements=KEY)
            return (await tx.execute(statement.returning(Firing.at))).first() is not None

    async def fired(self, uids: Collection[str]) -> set[Fired]:
        """What is remembered of these allocations."""
        query = select(Firing.uid, Firing.window, Firing.rule, Firing.direction).where(Firing.uid.in_(uids))
        async with self._database.read() as tx:
            return {(uid, window, rule, direction) for uid, window, rule, direction in await tx.execute(query)}

    async def set_rules(self, states: Sequence[InForce]) -> None:
        """Replace the rules in force of each allocation, all in one write."""
        rows = [{"uid": s.uid, "window": s.window, "keys": canonical(sorted(s.keys)), "since": s.since} for s in states]
        if rows:
            async with self._database.write() as tx:
                await upsert(tx, RulesInForce, rows)

    async def rules(self) -> dict[str, tuple[int, frozenset[str]]]:
        """uid -> (start of the window, keys of the rules in force)."""
        async with self._database.read() as tx:
            rows = (await tx.execute(select(RulesInForce.uid, RulesInForce.window, RulesInForce.keys))).all()
        return {uid: (window, frozenset(orjson.loads(keys))) for uid, window, keys in rows}

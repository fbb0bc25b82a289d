"""Thresholds: what fired, once in a window and direction, and which rules are in force, so that a restart forgets nothing."""

from collections.abc import Collection
from typing import Final, Literal

import orjson
from sqlalchemy import select

from bursar_domain.entries import canonical
from bursar_ledger.database import Database, insert_into, upsert
from bursar_ledger.tables import Firing, RulesInForce

Direction = Literal["up", "down"]
KEY: Final = ("uid", "window", "rule", "direction")


class Firings:
    """Reading and writing them."""

    _database: Database

    async def fire(self, uid: str, window: int, rule: str, direction: Direction, at: int, figure: int) -> bool:
        """Remember that a rule was crossed; True the first time in this window and direction."""
        row = {"uid": uid, "window": window, "rule": rule, "direction": direction, "at": at, "figure": figure}
        async with self._database.write() as tx:
            statement = insert_into(tx, Firing).values(row).on_conflict_do_nothing(index_elements=KEY)
            return (await tx.execute(statement.returning(Firing.at))).first() is not None

    async def set_rules(self, uid: str, window: int, keys: Collection[str], since: int) -> None:
        """Replace the rules in force of an allocation."""
        row = {"uid": uid, "window": window, "keys": canonical(sorted(keys)), "since": since}
        async with self._database.write() as tx:
            await upsert(tx, RulesInForce, [row])

    async def rules(self) -> dict[str, tuple[int, frozenset[str]]]:
        """uid -> (start of the window, keys of the rules in force)."""
        async with self._database.read() as tx:
            rows = (await tx.execute(select(RulesInForce.uid, RulesInForce.window, RulesInForce.keys))).all()
        return {uid: (window, frozenset(orjson.loads(keys))) for uid, window, keys in rows}

"""Allocations that are gone: many of them share the rounds in which their tombstones are published."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from bursar_kube.client import Kube
from bursar_operator.departures import Departures
from bursar_operator.domain.grant import TOMBSTONE
from bursar_operator.ledgerview import LedgerView
from bursar_operator.pools import Pools

COUNT = 640
MOST_ROUNDS = 20


class Rounds:
    """As far as departures ask them, a ledger that publishes in rounds, and pools that hold nothing."""

    def __init__(self) -> None:
        self.revisions = {f"u{number}": 1 for number in range(COUNT)}
        self.waiting: dict[str, asyncio.Future[None]] = {}
        self.asked: list[str] = []

    def intents_of_all(self) -> tuple[()]:
        return ()

    def holds(self, uid: str) -> bool:
        return False

    def uids(self, cluster: str) -> tuple[str, ...]:
        return tuple(self.revisions)

    def revision(self, uid: str) -> tuple[int, Mapping[str, int]]:
        self.asked.append(uid)
        return self.revisions[uid], {}

    def gone(self, uid: str) -> None:
        return None

    async def tombstone(self, uid: str) -> None:
        self.waiting[uid] = asyncio.get_running_loop().create_future()
        await self.waiting[uid]

    def publish(self) -> None:
        """One round: what waits now is published."""
        for uid, future in self.waiting.items():
            self.revisions[uid] = TOMBSTONE
            future.set_result(None)
        self.waiting = {}


async def test_many_share_a_round_of_publication() -> None:
    rounds: Any = Rounds()
    departures = Departures(cast(Kube, None), cast(LedgerView, rounds), cast(Pools, rounds), lambda key: None)
    departures.review(set(), ["alpha"])
    task = asyncio.create_task(departures.run())
    for _ in range(MOST_ROUNDS):
        for _ in range(10):
            await asyncio.sleep(0)
        rounds.publish()
    task.cancel()
    assert set(rounds.revisions.values()) == {TOMBSTONE}


async def test_a_review_asks_for_what_was_published_of_nothing_that_is_there() -> None:
    rounds: Any = Rounds()
    rounds.revisions["u2"] = TOMBSTONE
    departures = Departures(cast(Kube, None), cast(LedgerView, rounds), cast(Pools, rounds), lambda key: None)
    departures.review(rounds.revisions.keys() - {"u1", "u2"}, ["alpha"])
    assert sorted(rounds.asked) == ["u1", "u2"]
    assert list(departures._queue._waiting) == ["u1"]

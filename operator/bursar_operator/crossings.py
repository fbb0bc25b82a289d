"""What happened to allocations, told as Events of Kubernetes: each once, whatever crashes, and never many at a time.

The ledger remembers what is in force with what of it is still to be told (`happenings.UNTOLD`), then the Event is made under a
name of its own, then the ledger remembers that it was told. A crash in between tells again, under the same name.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from bursar_domain.units import Scales
from bursar_kube.client import Kube
from bursar_kube.errors import AlreadyExists, Forbidden, Invalid, KubeError, NotFound
from bursar_kube.resources import EVENTS
from bursar_ledger.entries import Booked
from bursar_ledger.errors import BadReport, LedgerError
from bursar_ledger.firings import Fired, InForce
from bursar_ledger.ledger import Ledger
from bursar_operator.domain import happenings
from bursar_operator.domain.happenings import Change, Happening, Scene, State
from bursar_operator.metrics import Metrics

Obj = dict[str, Any]
T = TypeVar("T")
RETRY_SECONDS: Final = 5.0
ATTEMPTS: Final = 5
PAUSE_SECONDS: Final = 0.02  # between two Events, so that a roll-over of thousands leaves the API server to others
MOST_WAITING: Final = 100_000
MOST_AT_ONCE: Final = 200
LOG = structlog.get_logger("bursar.operator")


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is to be told of one allocation, and what is in force of it then (None: that did not change)."""

    uid: str
    told: Sequence[Happening]
    state: State | None = None
    at: int = 0

    @property
    def changes(self) -> set[Change]:
        """What is to be told, by its names."""
        return {(item.what, item.direction) for item in self.told}


class Crossings:
    """Hears of what happens at once, tells of it by and by: nothing that decides ever waits for an Event."""

    def __init__(
        self,
        kube: Kube,
        ledger: Ledger,
        metrics: Metrics,
        now: Callable[[], datetime],
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._metrics = metrics
        self._now = now
        self._retry_seconds = retry_seconds
        self._states: dict[str, State] = {}
        self._gates: dict[str, frozenset[str]] = {}
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue(MOST_WAITING)

    async def load(self) -> None:
        """Read what was told before."""
        self._states = {uid: happenings.told(*found) for uid, found in (await self._ledger.rules()).items()}

    def hear(self, scene: Scene, state: State, *, recurs: bool, is_read_back: bool) -> None:
        """What is in force of an allocation now. One with windows is remembered before anything is, for its roll-over."""
        uid = scene.allocation["metadata"]["uid"]
        before = self._states.get(uid)
        state = state if is_read_back else happenings.keeping_step(state, before)
        if before == state or (before is None and not state.keys and not recurs):
            return
        self._states[uid] = state
        told = [happenings.of_change(scene, state.window, change) for change in happenings.changes(before, state)]
        self._put(Waiting(uid, told, state, scene.at))

    def hear_entries(self, allocation: Obj, booked: Iterable[Booked], scales: Scales) -> None:
        """Entries were booked for an allocation."""
        found = (happenings.of_entry(allocation, item.number, item.entry, scales) for item in booked)
        told = [item for item in found if item is not None]
        if told:
            self._put(Waiting(told[0].uid, told))

    def hear_gates(self, allocation: Obj, at: int) -> None:
        """The allocation as it is now: gates that were not open before are told of."""
        gates, uid = frozenset(allocation["spec"].get("openedGates") or ()), allocation["metadata"]["uid"]
        fresh = gates - self._gates.get(uid, frozenset())
        if fresh:
            self._gates[uid] = gates
            self._put(Waiting(uid, [happenings.of_gate(allocation, gate, at) for gate in sorted(fresh)]))

    def forget(self, uid: str) -> None:
        """The allocation is gone."""
        self._states.pop(uid, None)
        self._gates.pop(uid, None)

    def _put(self, waiting: Waiting) -> None:
        try:
            self._waiting.put_nowait(waiting)
        except asyncio.QueueFull:
            LOG.error("too much happened at once; some of it is not told", happenings=[item.what for item in waiting.told])

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            turn = [await self._waiting.get()]
            while len(turn) < MOST_AT_ONCE and not self._waiting.empty():
                turn.append(self._waiting.get_nowait())
            await self._insist(partial(self._remember, [(item, item.changes) for item in turn]))
            known = await self._insist(partial(self._ledger.fired, {item.uid for item in turn if item.told})) or set()
            left = [(item, item.changes - {await self._told(happening, known) for happening in item.told}) for item in turn]
            await self._insist(partial(self._remember, [(item, untold) for item, untold in left if item.told]))

    async def _remember(self, turn: Sequence[tuple[Waiting, set[Change]]]) -> None:
        """What is in force, with what is still to be told of it; the last state of each allocation."""
        left: dict[str, set[Change]] = {}
        for item, untold in turn:
            left.setdefault(item.uid, set()).update(untold)
        rows = {
            item.uid: InForce(item.uid, item.state.window, happenings.marked(item.state.keys, left[item.uid]), item.at)
            for item, _ in turn
            if item.state is not None
        }
        await self._ledger.set_rules(list(rows.values()))

    async def _told(self, happening: Happening, known: set[Fired]) -> Change | None:
        """Which one was told; None where it could not be. ``known``: what was told before."""
        change = happening.what, happening.direction
        identity = happening.uid, happening.window, *change
        if identity in known:
            return change
        found = await self._insist(partial(self._tell, happening, change))
        if found is not None:
            known.add(identity)
        return found

    async def _tell(self, told: Happening, change: Change) -> Change | None:
        """Make the Event; where its namespace is gone there is nobody to tell."""
        try:
            await self._kube.create(EVENTS, happenings.event(told, self._now()))
        except (AlreadyExists, NotFound):
            LOG.debug("an event is there already, or its namespace is gone", allocation=told.allocation["metadata"]["name"])
        except Forbidden as error:  # a namespace on its way out takes nothing more
            LOG.warning("an event was refused", error=str(error))
            return None
        await self._ledger.fire(told.uid, told.window, *change, told.at, told.figure)
        await asyncio.sleep(PAUSE_SECONDS)
        return change

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """Try while the API server or the ledger is away. What can't be told for another reason waits for the next start."""
        number = 1
        while True:
            try:
                return await attempt()
            except Exception as error:
                self._metrics.failures.labels("crossings").inc()
                LOG.warning("something that happened could not be told", error=str(error), attempt=number)
                if _is_hopeless(error, number):
                    return None
                await asyncio.sleep(self._retry_seconds)
                number += 1


def _is_hopeless(error: Exception, attempts: int) -> bool:
    """Whether to go on to the next: this one is refused for what it is, or nobody knows why."""
    if isinstance(error, (KubeError, LedgerError)):
        return isinstance(error, (Invalid, BadReport))
    return attempts >= ATTEMPTS

"""Thresholds that were crossed: remembered in the ledger, told once in a window and direction as Events of Kubernetes."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import structlog

from bursar_crds.instants import format_instant
from bursar_crds.names import API_VERSION
from bursar_crds.reasons import Reason
from bursar_domain.ladder import Action, Rule, Standing
from bursar_domain.units import Scales
from bursar_kube.client import Kube
from bursar_kube.resources import EVENTS
from bursar_ledger.firings import Direction
from bursar_ledger.ledger import Ledger
from bursar_operator.domain import periods
from bursar_operator.domain.balances import View
from bursar_operator.metrics import Metrics

Obj = dict[str, Any]
T = TypeVar("T")
RETRY_SECONDS: Final = 5.0
ATTEMPTS: Final = 5
MOST_WAITING: Final = 10_000
LOUD: Final = frozenset({Action.THROTTLE, Action.SOFT_LAND, Action.HOLD, Action.BLOCK})
LOG = structlog.get_logger("bursar.operator")


@dataclass(frozen=True, slots=True)
class Crossing:
    """The rules in force of one allocation changed in a window."""

    allocation: Obj
    window: int
    at: int
    before: frozenset[str]
    now: frozenset[str]
    rules: tuple[Rule, ...]
    standings: dict[str, Standing]
    scales: Scales

    def changes(self) -> list[tuple[Rule, Direction]]:
        """Rules that came into force or left it."""
        changed = [rule for rule in self.rules if (rule.key in self.before) != (rule.key in self.now)]
        return [(rule, "up" if rule.key in self.now else "down") for rule in changed]

    def percent(self, rule: Rule) -> int:
        """The highest figure of the rule's basis, in whole percent of its room."""
        figures = [(item.figure(rule.basis) or 0, item.room) for item in self.standings.values()]
        return max((figure * 100 // room for figure, room in figures if room > 0), default=100)


class Crossings:
    """Hears of crossings at once, tells of them by and by: nothing that decides ever waits for an Event."""

    def __init__(self, kube: Kube, ledger: Ledger, metrics: Metrics, now: Callable[[], datetime]) -> None:
        self._kube = kube
        self._ledger = ledger
        self._metrics = metrics
        self._now = now
        self._waiting: asyncio.Queue[Crossing] = asyncio.Queue(MOST_WAITING)

    def hear(self, allocation: Obj, view: View, before: tuple[int, frozenset[str]], now: frozenset[str]) -> None:
        """Rules in force of an allocation moved; ``before`` counts only where it is of the same window."""
        window = view.window_start
        known = before[1] if before[0] == window else frozenset()
        rules = periods.thresholds_of(allocation)
        crossing = Crossing(allocation, window, view.now, known, now, rules, view.standings(), view.scales)
        try:
            self._waiting.put_nowait(crossing)
        except asyncio.QueueFull:
            LOG.error("too many thresholds were crossed at once; one is not told", allocation=allocation["metadata"]["name"])

    async def run(self) -> None:
        """Tell for ever."""
        while True:
            crossing = await self._waiting.get()
            told = await self._insist(partial(self._remember, crossing)) or ()
            for body in told:
                await self._insist(partial(self._kube.create, EVENTS, body))

    async def _insist(self, attempt: Callable[[], Awaitable[T]]) -> T | None:
        """Try a few times; what can't be told is logged and let go."""
        for number in range(1, ATTEMPTS + 1):
            try:
                return await attempt()
            except Exception as error:
                self._metrics.failures.labels("crossings").inc()
                LOG.warning("a crossed threshold could not be told", error=str(error), attempt=number)
                await asyncio.sleep(RETRY_SECONDS)
        return None

    async def _remember(self, crossing: Crossing) -> list[Obj]:
        """Events of what is crossed for the first time in this window and direction."""
        uid, window, at = crossing.allocation["metadata"]["uid"], crossing.window, crossing.at
        first = [
            event(crossing, rule, direction, self._now())
            for rule, direction in crossing.changes()
            if await self._ledger.fire(uid, window, rule.key, direction, at, crossing.percent(rule))
        ]
        await self._ledger.set_rules(uid, window, crossing.now, at)
        return first


def event(crossing: Crossing, rule: Rule, direction: Direction, now: datetime) -> Obj:
    """The Event: a warning where jobs feel it."""
    metadata = crossing.allocation["metadata"]
    is_up = direction == "up"
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{metadata['name'][:40].rstrip('.-')}-", "namespace": metadata["namespace"]},
        "eventTime": now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": "Allocation",
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "action": str(rule.action),
        "reason": str(Reason.THRESHOLD_CROSSED if is_up else Reason.THRESHOLD_CLEARED),
        "note": sentence(crossing, rule, is_up=is_up)[:1024],
        "type": "Warning" if is_up and rule.action in LOUD else "Normal",
        "reportingController": "bursar.dev/operator",
        "reportingInstance": "bursar-operator",
    }


def sentence(crossing: Crossing, rule: Rule, *, is_up: bool) -> str:
    """What happened, in plain words."""
    basis = {
        "Used": "used",
        "Committed": "used or promised to running jobs",
        "Projected": "used by the window's end at the present rate",
    }
    begin = format_instant(datetime.fromtimestamp(crossing.window, UTC))
    scales = crossing.scales
    amounts = ", ".join(
        f"{scales.hours_used(name, figure):,} of {max(0, scales.hours_used(name, item.room)):,} {name} hours"
        for name, item in sorted(crossing.standings.items())
        if (figure := item.figure(rule.basis)) is not None
    )
    said = f"{crossing.percent(rule)} % {basis[rule.basis]} ({amounts}; window of {begin})"
    if is_up:
        return f"{said}: {rule.action} from {rule.percent} %."
    return f"{said}: {rule.action} is over."

"""The race: clients at random, trouble all the while, then calm, then rest; and what the checker says of all of it."""

import asyncio
import resource
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_ledger.publication import TOMBSTONE
from bursar_testing.racing.allocator import Allocator
from bursar_testing.racing.clients import Client
from bursar_testing.racing.recording import judged
from bursar_testing.racing.stage import Stage, opened
from bursar_testing.racing.tally import Tally
from bursar_testing.racing.trouble import CHANCES, SHORT_SCRIPT, Trouble

Obj = dict[str, Any]
CLIENTS: Final = 32
CALM_SHARE: Final = 0.1
"""Of the operations, made after the trouble: there decisions have to be prompt."""
LEAST_SHARE: Final = 10
"""At least one write of a grant comes of so many operations, or nothing was at stake."""
REST_SECONDS: Final = 60.0
UNDECIDED: Final = frozenset({"Waiting", "EpochPending"})


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how hard. Without a script trouble goes on as long as the clients do."""

    operations: int
    seed: int = 1
    script: Sequence[str] | None = SHORT_SCRIPT
    pause_seconds: float = 0.45
    decide_seconds: float = 5.0
    keep: Path | None = None
    """Where the history and the logs are kept; None: nowhere, unless something is found."""


@dataclass(slots=True)
class Outcome:
    """What was done and what was found."""

    operations: int = 0
    verdict: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @property
    def violations(self) -> int:
        """The checker's, and what only clients can see."""
        return int(self.verdict["violations"]) + len(self.wrong)

    @property
    def lost(self) -> int:
        """Requests without an answer."""
        return int(self.verdict["lost"])

    @property
    def stuck(self) -> int:
        """What is left over."""
        return int(self.verdict["stuck"])

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return self.violations + self.lost + self.stuck == 0

    def in_words(self) -> str:
        """For people: what happened, and each finding."""
        found = [f"{item['kind']} {item['rule']} at {item['revision']}: {item['words']}" for item in self.verdict["findings"]]
        return "\n".join([*self.told, *self.wrong, *found])


async def race(plan: Plan) -> Outcome:
    """Run it in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="bursar-race-") as name:
        folder = plan.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        outcome, tally, clock = Outcome(), Tally(0), _Clock()
        async with opened(folder, plan.seed) as stage:
            clock.lap("start")
            clients = [Client(number, stage.clients, plan.seed, tally, plan.pause_seconds) for number in range(CLIENTS)]
            await _troubled(stage, plan, clients, tally, outcome)
            clock.lap("trouble")
            calm = await _calm(stage, plan, clients, tally)
            clock.lap("calm")
            await _rest(stage)
            for client in clients:
                await client.check_kept()
            await stage.recording.stop()
            clock.lap("rest")
        outcome.operations, outcome.wrong = tally.operations, tally.wrong
        accepted = folder / "accepted.txt"
        accepted.write_text("\n".join(sorted(tally.accepted)))
        arguments = (f"--decide-seconds={plan.decide_seconds}", f"--accepted={accepted}")
        outcome.verdict = await judged(folder / "history.jsonl", [calm], *arguments)
        clock.lap("verdict")
        if outcome.verdict["grants"] * LEAST_SHARE < tally.operations:
            outcome.wrong.append(f"{outcome.verdict['grants']} writes of grants are too few to prove anything")
        outcome.told += [tally.in_words(), clock.in_words()]
    return outcome


class _Clock:
    """How long each part took."""

    def __init__(self) -> None:
        self._laps: list[str] = []
        self._at = time.monotonic()
        self._worked = _processor_seconds()

    def lap(self, name: str) -> None:
        """The part that ends now."""
        now = time.monotonic()
        self._laps.append(f"{name} {now - self._at:.0f} s")
        self._at = now

    def in_words(self) -> str:
        """For people."""
        return ", ".join([*self._laps, f"{_processor_seconds() - self._worked:.0f} s of processors"])


def _processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))


async def _troubled(stage: Stage, plan: Plan, clients: Sequence[Client], tally: Tally, outcome: Outcome) -> None:
    """All but the last operations, while things go wrong; a script is followed to its end."""
    trouble = Trouble(stage.kube, stage.operators, stage.webhooks, stage.proxy, plan.seed, lambda: tally.left > 0)
    stage.proxy.faults.chances.update(CHANCES)
    stage.proxy.active = True
    tally.left += int(plan.operations * (1 - CALM_SHARE))
    work = [asyncio.create_task(client.run(), name="client") for client in clients]
    allocator = Allocator(stage.clients, plan.seed)
    resizing = asyncio.create_task(allocator.run(), name="allocator")
    going_wrong = asyncio.create_task(trouble.go_on() if plan.script is None else trouble.follow(plan.script))
    await asyncio.gather(*work)
    if plan.script is None:
        going_wrong.cancel()
    resizing.cancel()
    for task in (going_wrong, resizing):
        with suppress(asyncio.CancelledError):
            await task
    stage.proxy.active = False
    await Allocator(stage.kube, plan.seed).restore()
    outcome.told.append(f"trouble: {trouble.done}, faults: {stage.proxy.counted()}, restarts: {stage.operators.restarts}")


async def _calm(stage: Stage, plan: Plan, clients: Sequence[Client], tally: Tally) -> tuple[float, float]:
    """The last operations, with everything in order; the span of time in which it was."""
    stage.agent.using = False
    await stage.operators.led()
    await stage.webhooks.served()
    await _rest(stage)
    began = time.time()
    tally.left = plan.operations - tally.operations
    await asyncio.gather(*(client.run() for client in clients))
    await asyncio.sleep(plan.decide_seconds)
    return began, time.time()


async def _rest(stage: Stage) -> None:
    """Wait until nobody waits for anything; what never comes to rest is the checker's to tell."""
    deadline = time.monotonic() + REST_SECONDS
    while time.monotonic() < deadline:
        with suppress(KubeError):
            pools, allocations = await stage.kube.list(QUOTAPOOLS), await stage.kube.list(ALLOCATIONS)
            published = await stage.ledger.grant_revisions()
            if all(map(_is_closed, pools)) and all(map(_is_settled, allocations)) and _is_told(allocations, published):
                return
        await asyncio.sleep(0.2)


def _is_told(allocations: Sequence[Obj], published: Mapping[str, tuple[int, object]]) -> bool:
    """Whether the ledger has the newest grant of all that there are, and a grave for all that are gone."""
    revisions = {obj["metadata"]["uid"]: (obj.get("status") or {}).get("grantRevision") or 0 for obj in allocations}
    known = all(published.get(uid, (0, {}))[0] == revision for uid, revision in revisions.items())
    return known and all(uid in revisions or revision >= TOMBSTONE for uid, (revision, _) in published.items())


def _is_closed(pool: Obj) -> bool:
    return not (pool.get("status") or {}).get("intents")


def _is_settled(obj: Obj) -> bool:
    status = obj.get("status") or {}
    if "deletionTimestamp" in obj["metadata"] or status.get("observedGeneration") != obj["metadata"]["generation"]:
        return False
    granted = {item["name"]: item["hours"] for item in status.get("granted") or () if item["hours"]}
    charged = {item["name"]: item["hours"] for item in status.get("charged") or () if item["hours"]}
    if granted != charged:
        return False
    verdicts = {item["type"]: item for item in status.get("conditions") or ()}
    verdict = verdicts.get("Granted") or {"status": "False", "reason": "Waiting"}
    return verdict["status"] == "True" or verdict["reason"] not in UNDECIDED

"""A leader that dies beside its k-th write, and whether what follows comes to the same end as if nobody had died."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bursar_kube.client import Kube
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS
from bursar_operator.allocation import RECOUNT_SECONDS
from bursar_operator.domain.grant import TOMBSTONE
from bursar_operator.domain.rows import row_of
from bursar_testing.frailkube import Life, MortalKube
from bursar_testing.grantledger import MortalLedger
from bursar_testing.grantterm import BOUND_SECONDS, Site, eventually

Obj = dict[str, Any]
State = dict[str, object]
Step = Callable[[Site], Awaitable[None]]

QUIET_SECONDS = 0.25
PASSING = frozenset({"epoch", "sequence", "grantSequence", "chargeSequence", "grantRevision", "agent", "bursar"})
"""Fields of a status that count or remember what happened; they may differ where the end is the same."""
MORE_WRITES = 3
"""A leader may need some writes more than the one before: batches fall differently."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`prepare` ends at rest under one leader; then `act` happens, and whoever leads answers to it.

    With `takes_over` the first leader dies after its first answer to `act`, and the deaths are those of a second leader,
    which finds the operations that the first one left open.
    """

    name: str
    prepare: Step
    act: Step
    takes_over: bool = False
    recount_seconds: float = RECOUNT_SECONDS
    is_long: bool = False
    """Too long for every run of the tests."""


@dataclass
class Story:
    """What one scenario came to: deaths, and each difference from the end that nobody disturbed."""

    scenario: str
    writes: int = 0
    deaths: int = 0
    complete: bool = False
    """Whether a leader outlived the last number that was tried: there was no write after it."""
    wrong: list[str] = field(default_factory=list)
    stuck: int = 0
    """How many of them never came to rest."""


async def state(site: Site) -> State:
    """Everything that is left in the end, without times and counters, by name."""
    found: State = {"ledger": _ledger(site)}
    for obj in await site.kube.list(ALLOCATIONS, site.namespace):
        metadata = obj["metadata"]
        found[f"allocation {metadata['name']}"] = plain(obj) | {
            "finalizers": metadata.get("finalizers", []),
            "deleting": "deletionTimestamp" in metadata,
            "published": _is_published(site, obj),
        }
    for obj in await site.kube.list(QUOTAPOOLS):
        if obj["metadata"]["name"] in site.pools:
            found[f"pool {obj['metadata']['name']}"] = plain(obj)
    return found


def _ledger(site: Site) -> list[object]:
    """Per name: what agents are told, in any order, for a name may have been used more than once."""
    told = []
    for uid, (revision, granted) in site.ledger.published.items():
        told.append((site.ledger.name(uid), "tombstone" if revision >= TOMBSTONE else sorted(granted.items())))
    return sorted(told, key=str)


def _is_published(site: Site, obj: Obj) -> bool:
    row = row_of(obj)
    told = site.ledger.published.get(row.uid, (0, {}))
    return told == (row.state.revision, dict(row.state.granted)) if row.state.revision else told[0] == 0


def plain(obj: Obj) -> Obj:
    """The status without times and counters."""
    status = obj.get("status") or {}
    plain = {name: value for name, value in status.items() if name not in PASSING and value != []}
    plain["conditions"] = {item["type"]: (item["status"], item["reason"]) for item in status.get("conditions", ())}
    return plain


class Stage:
    """Plays scenarios on one site, one after the other."""

    def __init__(self, site: Site, kube: MortalKube) -> None:
        self._site = site
        self._kube = kube

    @classmethod
    @asynccontextmanager
    async def opened(cls, kubeconfig: Path) -> "AsyncIterator[Stage]":
        """On a site of its own."""
        async with AsyncExitStack() as ending:
            kube = await Kube.connect(str(kubeconfig))
            ending.push_async_callback(kube.close)
            mortal = await MortalKube.connect(str(kubeconfig))
            ending.push_async_callback(mortal.close)
            assert isinstance(mortal, MortalKube)
            site = await Site.make(kube)
            ending.push_async_callback(site.clear)
            yield cls(site, mortal)

    async def play(self, scenario: Scenario, *, thorough: bool = False) -> Story:
        """Undisturbed once, then with a death after each write, and before the first: that meets every state between.

        Where it is `thorough`, a death before each of the others as well: what it leaves differs in the books at most.
        """
        story = Story(scenario.name)
        async with self._run(scenario, life := Life()) as go:
            began = life.writes
            await go
            await self._quiet(life)
            end = await state(self._site)
            story.writes = life.writes - began
        last = story.writes + MORE_WRITES
        for lands, until in ((False, last if thorough else 1), (True, last)):
            for lives in range(1, until + 1):
                if not await self._die(scenario, lives, lands, end, story):
                    story.complete = True
                    break
        return story

    async def _die(self, scenario: Scenario, lives: int, lands: bool, end: State, story: Story) -> bool:
        """Let the leader die beside one write and another one follow; whether it came to that."""
        where = f"{scenario.name}, {'after' if lands else 'before'} write {lives}"
        async with self._run(scenario, life := Life(lands=lands)) as go:
            life.lives = lives
            dying = asyncio.create_task(life.dead.wait())
            resting = asyncio.create_task(self._reaches(end, go))
            await asyncio.wait({dying, resting}, return_when=asyncio.FIRST_COMPLETED)
            resting.cancel()
            dying.cancel()
            if life.dead.is_set():
                story.deaths += 1
                if scenario.takes_over:
                    go.cancel()
                await self._site.terms[-1].stop()
                await self._site.lead(recount_seconds=scenario.recount_seconds)
            try:
                await eventually(lambda: self._difference(end, go), {}, where)
                await eventually(self._site.unbalanced, [], where)
            except AssertionError as error:
                story.wrong.append(str(error))
        return life.dead.is_set()

    @asynccontextmanager
    async def _run(self, scenario: Scenario, life: Life) -> "AsyncIterator[asyncio.Task[None]]":
        """What is to happen under a leader whose life this is, begun after the preparations."""
        site = self._site
        go: asyncio.Task[None] | None = None
        try:
            if scenario.takes_over:
                await self._leave_open(scenario)
                go = asyncio.create_task(self._lead(scenario, life))
            else:
                await self._lead(scenario, life)
                await scenario.prepare(site)
                await self._quiet(life)
                go = asyncio.create_task(_started(scenario.act, site))
            yield go
        finally:
            if go is not None:
                go.cancel()
                await asyncio.wait({go})
            await self._clear()

    async def _leave_open(self, scenario: Scenario) -> None:
        """Have a first leader die right after it has opened operations."""
        await self._lead(scenario, life := Life())
        await scenario.prepare(self._site)
        await self._quiet(life)
        life.lives = 1
        await scenario.act(self._site)
        async with asyncio.timeout(BOUND_SECONDS):
            await life.dead.wait()
        await self._site.terms[-1].stop()

    async def _clear(self) -> None:
        for term in self._site.terms:
            await term.stop()
        self._site.terms.clear()
        await self._site.empty()

    async def _lead(self, scenario: Scenario, life: Life) -> None:
        self._kube.life = life
        ledger = MortalLedger(self._site.ledger, life)
        epoch, recount = await self._site.next_epoch(), scenario.recount_seconds
        await self._site.lead_as(epoch, kube=self._kube, ledger=ledger, recount_seconds=recount)

    async def _quiet(self, life: Life) -> None:
        """Wait until nothing is open and no write came for a moment."""
        before = -1
        async with asyncio.timeout(BOUND_SECONDS):
            while before != life.writes or await self._site.unbalanced():
                before = life.writes
                await asyncio.sleep(QUIET_SECONDS)

    async def _difference(self, end: State, go: "asyncio.Task[None]") -> State:
        if not go.done():
            return {"act": "is not over"}
        if not go.cancelled():
            go.result()
        now = await state(self._site)
        return {name: (now.get(name), end.get(name)) for name in now.keys() | end.keys() if now.get(name) != end.get(name)}

    async def _reaches(self, end: State, go: "asyncio.Task[None]") -> None:
        while await self._difference(end, go):  # noqa: ASYNC110 - another process answers
            await asyncio.sleep(0.05)


async def _started(act: Step, site: Site) -> None:
    await act(site)

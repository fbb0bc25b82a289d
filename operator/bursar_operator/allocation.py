"""The grant core: allocations go informer → keyed queue → gather → decide → apply, and the pool writer opens and closes."""

import asyncio
import gc
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from bursar_crds.names import FINALIZER
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, NotFound
from bursar_kube.informer import EventType
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import ALLOCATIONS
from bursar_operator.copies import Copies, Key
from bursar_operator.departures import Departures
from bursar_operator.domain import grant, hours, standing
from bursar_operator.domain.rows import GrantState, Obj, Row
from bursar_operator.domain.standing import FIGURES_SECONDS, Standing, Verdict
from bursar_operator.gather import Gather, Gathered, wanted
from bursar_operator.informers import Informers
from bursar_operator.ledgerview import LedgerView
from bursar_operator.pools import Pools
from bursar_operator.writes import certain

WORKERS: Final = 16
RECOUNT_SECONDS: Final = 600.0
SWEEP_BATCH: Final = 50
SWEEP_PAUSE: Final = 0.1
# How long a request waits for its turn before its status says so: a grant takes one write, not two.
SILENT_SECONDS: Final = 60.0
# The sweep comes by before anything that is farther away.
FARTHEST_SECONDS: Final = 3_600.0
PASSES: Final = 5
_LOG = structlog.get_logger("bursar.grants")


class Grants:
    """The leader's grant core for one term. `done` ends when it does: with `Fenced` when a later term has begun."""

    def __init__(
        self,
        kube: Kube,
        ledger: LedgerView,
        informers: Informers,
        *,
        epoch: int,
        published: Callable[[str, str], None],
        clock: Callable[[], float],
        recount_seconds: float = RECOUNT_SECONDS,
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.writes = 0
        self.overdue: Callable[[Obj], Verdict | None] = _in_time
        self._kube = kube
        self._ledger = ledger
        self._informers = informers
        self._published = published
        self._clock = clock
        self._recount_seconds = recount_seconds
        self._queue: WorkQueue[Key] = WorkQueue("allocations")
        self._copies = Copies(kube, informers, self._queue.add, self._on_departed)
        self._gather = Gather(self._copies, ledger, informers, clock, self._queue.add)
        self._pools = self._gather.pools = Pools(kube, informers, self._gather, epoch=epoch, clock=clock)
        self._departures = Departures(kube, ledger, self._pools, self._queue.add)
        self._since: dict[str, tuple[hours.Hours, float]] = {}
        self._figures_written: dict[str, float] = {}
        self._withheld: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._claimed = False
        self._stopping = False

    async def claim(self) -> None:
        """Write this term into every pool there is: from then on no earlier leader grants. `Fenced` where a later one did."""
        await self._pools.start()
        self._claimed = True

    async def start(self) -> None:
        """Claim every pool unless that was done, read every allocation, take up open operations, then serve."""
        if not self._claimed:
            await self.claim()
        self._pools.correct(await self._copies.start())
        gc.freeze()  # what was read stays; looking at it again and again took longer than reading it
        for informer in (self._informers.pools, self._informers.clusters, self._informers.projects):
            informer.subscribe(self._on_surroundings)
        for intent in self._pools.intents_of_all():
            self._queue.add(intent.key)
        clusters = [obj["metadata"]["name"] for obj in self._informers.clusters.items()]
        self._departures.review(set(self._copies.uids()), clusters)
        self._run("pools", self._pools.run())
        self._run("allocations", self._queue.run(WORKERS, self._reconcile))
        self._run("departures", self._departures.run())
        self._run("sweep", self._sweep())

    async def stop(self) -> None:
        """Write nothing more. A write that is under way is taken up by the next leader, as after a crash."""
        self._stopping = True
        self._pools.stop()
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, Exception):
                await task
        if not self.done.done():
            self.done.set_result(None)

    def touch(self, namespace: str, name: str) -> None:
        """Something that the allocation depends on changed: look at it again."""
        self._queue.add((namespace, name))

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name=f"grants {name}")
        task.add_done_callback(self._ended)
        self._tasks.append(task)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is None or self._stopping or self.done.done():
            return
        self._stopping = True
        self._pools.stop()
        self.done.set_exception(error)
        for other in self._tasks:
            other.cancel()

    # events

    def _on_departed(self, obj: Obj) -> None:
        uid, namespace = obj["metadata"]["uid"], obj["metadata"]["namespace"]
        self._pools.departed(uid)
        self._since.pop(uid, None)
        self._figures_written.pop(uid, None)
        self._withheld.discard(uid)
        self._queue.forget((namespace, obj["metadata"]["name"]))
        self._departures.add(obj)

    def _on_surroundings(self, event: EventType, old: Obj | None, new: Obj | None) -> None:
        """A pool, cluster or project changed: those that something other than room hinders may be helped now."""
        if old is None or new is None or _wider(old) != _wider(new):
            self._gather.help_hindered()

    async def _sweep(self) -> None:
        """Look at everything, slowly enough to let changes pass, then count the pools: at start, where somebody may have
        edited them while nobody led, and again every recount."""
        while True:
            keys = self._copies.keys()
            for first in range(0, len(keys), SWEEP_BATCH):
                for key in keys[first : first + SWEEP_BATCH]:
                    self._queue.add(key)
                await asyncio.sleep(SWEEP_PAUSE)
            self._pools.recount()
            await asyncio.sleep(self._recount_seconds)

    # one allocation

    async def _reconcile(self, key: Key) -> float | None:
        for _ in range(PASSES):
            obj = self._copies.get(key)
            row = None if obj is None else self._copies.row(obj["metadata"]["uid"])
            if obj is None or row is None:
                self._gather.hindered.discard(key)
                return None
            gathered = self._gather.of(row)
            if not await self._apply(obj, gathered):
                return self._next_look(gathered)
        return 0.0

    async def _apply(self, obj: Obj, gathered: Gathered) -> bool:
        """The next write of the allocation, or what others are to do for it; whether it has to be looked at again."""
        row, facts = gathered.row, gathered.facts
        state = grant.settle(facts)
        if not row.deleting and not row.finalizer:
            return await self._write_finalizers(obj, [*obj["metadata"].get("finalizers", ()), FINALIZER])
        if grant.finished(facts, state) and state == row.state:
            return await self._write_finalizers(obj, [name for name in obj["metadata"]["finalizers"] if name != FINALIZER])
        self._note_wait(obj, gathered, state)
        if state != row.state or not self._silent(gathered):
            before = obj.get("status") or {}
            after = standing.status(self._standing(obj, gathered, state), before)
            if self._worth_writing(gathered, state, before, after):
                stored = await self._write_status(obj, after, row)
                return not (stored and self._completes(gathered, state))
            self._note_withheld(row.uid, before, after)
        self._ask(gathered)
        return False

    def _completes(self, gathered: Gathered, state: GrantState) -> bool:
        """Whether nothing but to publish is left to do after this state was written, so that a second look is for nothing."""
        row, asked = gathered.row, gathered.row.asked
        hindered = row.deleting or gathered.problem is not None or not gathered.view.counted
        if hindered or not (state.granted == state.charged == gathered.facts.want == asked):
            return False
        self._publish(gathered, state)
        self._gather.hindered.discard(row.key)
        return True

    def _note_withheld(self, uid: str, before: Obj, after: Obj) -> None:
        """Remember whether it has something to say that is not worth a write of its own."""
        if after != before:
            self._withheld.add(uid)
        else:
            self._withheld.discard(uid)

    def _publish(self, gathered: Gathered, state: GrantState) -> None:
        if grant.unpublished(gathered.facts, state) and gathered.account is not None:
            self._published(gathered.row.cluster, gathered.account)

    def _ask(self, gathered: Gathered) -> None:
        """What others are to do: open an operation, publish the grant."""
        row = gathered.row
        operations = wanted(gathered)
        if operations:
            self._pools.request(row, gathered.facts.path[-1], operations, self._waits_since(row))
        elif not gathered.facts.intents:
            self._pools.withdraw(row.uid)
        self._publish(gathered, row.state)
        if gathered.problem is not None or not gathered.view.counted:
            self._gather.hindered.add(row.key)
        else:
            self._gather.hindered.discard(row.key)

    def _note_wait(self, obj: Obj, gathered: Gathered, state: GrantState) -> None:
        """Remember since when it waits for what it asks for; what is settled waits no longer."""
        row = gathered.row
        settled = hours.at_least(state.granted, gathered.facts.want) and hours.same(state.granted, state.charged)
        known = self._since.get(row.uid)
        if settled:
            self._since.pop(row.uid, None)
        elif known is None or known[0] != row.asked:
            self._since[row.uid] = row.asked, self._clock() if known else standing.waits_since(obj, self._clock())

    def _waits_since(self, row: Row) -> float:
        known = self._since.get(row.uid)
        return known[1] if known else self._clock()

    def _standing(self, obj: Obj, gathered: Gathered, state: GrantState) -> Standing:
        row = gathered.row
        return Standing(
            facts=gathered.facts,
            state=state,
            now=gathered.now,
            cluster=row.cluster,
            observed=gathered.observed,
            enforced_at=self._ledger.enforced_at(row.uid),
            problem=gathered.problem,
            causes=gathered.view.causes,
            place=gathered.view.place,
            counted=gathered.view.counted,
            figures=self._ledger.figures(row.uid),
            account=gathered.account,
            is_over=gathered.is_over,
            overdue=self.overdue(obj) if row.deleting else None,
        )

    def _worth_writing(self, gathered: Gathered, state: GrantState, before: Obj, after: Obj) -> bool:
        if state != gathered.row.state:
            return True
        late = self._clock() - self._figures_written.get(gathered.row.uid, 0.0) >= FIGURES_SECONDS
        if standing.urgent(before, after):
            return late or not gathered.row.deleting or standing.hangs(after)
        return late and standing.moved(before, after)

    def _silent(self, gathered: Gathered) -> bool:
        """Whether a grant is about to be decided, so that saying that it waits would be a write for nothing."""
        if gathered.problem is not None or gathered.view.causes:
            return False
        facts, state = gathered.facts, gathered.row.state
        undecided = any(intent.id > state.sequence for intent in facts.intents.values())
        waits = undecided or bool(grant.operations(facts, state))
        return waits and self._clock() - self._waits_since(gathered.row) < SILENT_SECONDS

    def _next_look(self, gathered: Gathered) -> float | None:
        """Seconds until time alone may change something."""
        row, now = gathered.row, gathered.now
        ends = row.end + timedelta(days=row.grace_days)
        waits = [_seconds(at, now) for at in (row.start, row.end, ends) if at > now]
        if row.uid in self._since:
            waits.append(SILENT_SECONDS)
        written = self._figures_written.get(row.uid)
        if row.uid in self._withheld and written is not None and self._clock() - written < FIGURES_SECONDS:
            waits.append(FIGURES_SECONDS - (self._clock() - written))
        soonest = min(waits, default=None)
        return None if soonest is None or soonest > max(FARTHEST_SECONDS, 2 * self._recount_seconds) else soonest

    # writes

    async def _write_status(self, obj: Obj, status: Obj, row: Row) -> bool:
        """Whether it is stored; False after a conflict."""
        stored = await self._certain(lambda: self._kube.swap_status(ALLOCATIONS, {**obj, "status": status}), obj)
        if stored is None:
            return False
        self._figures_written[row.uid] = self._clock()
        self._withheld.discard(row.uid)
        self._pools.decided(row)
        return True

    async def _write_finalizers(self, obj: Obj, finalizers: list[str]) -> bool:
        changed = {**obj, "metadata": {**obj["metadata"], "finalizers": finalizers}}
        await self._certain(lambda: self._kube.replace(ALLOCATIONS, changed), obj)
        return True

    async def _certain(self, write: Callable[[], Coroutine[Any, Any, Obj]], obj: Obj) -> Obj | None:
        """Write until the answer is known; after a conflict the object is read again."""
        self.writes += 1
        try:
            return await self._copies.written((obj["metadata"]["namespace"], obj["metadata"]["name"]), certain(write))
        except (Conflict, NotFound):
            await self._read_again(obj)
            return None

    async def _read_again(self, obj: Obj) -> None:
        metadata = obj["metadata"]
        key = metadata["namespace"], metadata["name"]
        try:
            self._copies.saw(await self._kube.get(ALLOCATIONS, key[1], key[0]))
        except NotFound:
            self._copies.forget(key)
            await asyncio.sleep(0.1)  # the informer tells of the deletion


def _in_time(_: Obj) -> None:
    """No deletion hangs."""


def _seconds(at: datetime, now: datetime) -> float:
    return (at - now).total_seconds() + 0.5


def _wider(obj: Obj) -> tuple[object, ...]:
    """What of a pool, cluster or project may hinder an allocation: its spec, and whether a project is settled."""
    status = obj.get("status") or {}
    return obj["metadata"].get("generation"), status.get("account"), status.get("namespace"), "granted" in status

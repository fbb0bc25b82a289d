"""The one writer of pools: claims, and one loop per tree that writes batches by compare-and-swap.

A tree (a root pool and those below it) has one loop, which goes down level by level, the pools of one level side by side, so
that no decision rests on a pool of the tree that is being written: what the root opens is open at the leaf in the same round.
Everything that waits is in memory and is worked out anew after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

import structlog

from bursar_domain.room import Problem, path_of
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, KubeError, NotFound
from bursar_kube.informer import EventType
from bursar_kube.resources import QUOTAPOOLS
from bursar_operator.applicants import Allocations
from bursar_operator.domain import batch, hours, poolstatus
from bursar_operator.domain.batch import Batch, Gone, Request, Tree
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj, Row, version
from bursar_operator.informers import Informers
from bursar_operator.poolcopies import Fenced as Fenced
from bursar_operator.poolcopies import View
from bursar_operator.poolevents import PoolEvents
from bursar_operator.poolrequests import PoolRequests
from bursar_operator.waitlist import Waiting
from bursar_operator.writes import certain

CLOSE_SECONDS: Final = 0.03  # a close rides in the next batch, or goes alone after so long
DRAIN_SECONDS: Final = 5.0  # how long a recount keeps new operations waiting
FAIL_SECONDS: Final = 1.0
_LOG = structlog.get_logger("bursar.pools")


class Pools(PoolRequests):
    """See the module. `start` claims; `run` works until cancelled and raises `Fenced`."""

    def __init__(
        self, kube: Kube, informers: Informers, allocations: Allocations, *, epoch: int, clock: Callable[[], float]
    ) -> None:
        self.events = PoolEvents(kube, clock)
        super().__init__(kube, epoch, self.events.edited, allocations, clock)
        self.gone: dict[str, Hours] = {}
        self._torn: dict[str, Gone] = {}
        self._informer = informers.pools
        self._opening: set[str] = set()
        self._closing: set[str] = set()
        self._stuck: dict[str, int] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._recount_since: dict[str, float] = {}
        self._group: asyncio.TaskGroup | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.writes = 0

    def holds(self, uid: str) -> bool:
        """Whether any pool has an open operation of this allocation, or is about to."""
        return uid in self._intents or uid in self._opening

    def view(self, uid: str, path: Sequence[str]) -> View:
        """Intents, knowledge and refusals of one allocation."""
        intents = dict(self._intents.get(uid, {}))
        books = [self._usable(name) for name in path]
        waiting = self._waiting(uid)
        stuck_at = self._stuck.get(uid)
        return View(
            intents=intents,
            known=all(books) and uid not in self._opening and not self._unsure.intersection(intents),
            counted=all(book is not None and book.granted is not None for book in books),
            stuck=any(intent.id == stuck_at for intent in intents.values()),
            causes=waiting.causes if waiting else (),
            place=self._lists_of[uid].place(uid, self._clock()) if waiting else None,
        )

    def decided(self, row: Row) -> None:
        """The allocation has decided an operation, so that pools may close it."""
        self._stuck.pop(row.uid, None)
        for root in {self._root_of(name) for name in self._intents.get(row.uid, ())}:
            if root not in self._timers:
                self._timers[root] = asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._due, root)

    def _due(self, root: str) -> None:
        self._timers.pop(root, None)
        self._wake(root)

    def keeps(self, gone: Gone) -> bool:
        """Whether every pool that holds hours of a gone allocation has an operation of it open; where not, one is opened.

        While it is open no recount takes the hours away, so that the used ones can be told from the rest in the end. One
        that is being closed at this moment, for the allocation had decided it, does not count.
        """
        path = () if hours.is_zero(gone.charged) else self.path(gone.pool)
        held = self._intents.get(gone.uid, {})
        if not path or (gone.uid not in self._closing and held.keys() >= set(path)):
            self._torn.pop(gone.uid, None)
            return True
        self._torn[gone.uid] = gone
        self._wake(path[0])
        return False

    def proven_gone(self, uid: str, used: Hours) -> None:
        """The allocation is gone and the scheduler knows: its intents may be closed."""
        self.gone[uid] = used
        for name in self._intents.get(uid, ()):
            self._wake(self._root_of(name))

    def recount(self) -> None:
        """Have every tree count its totals anew."""
        now = self._clock()
        for root in {self._root_of(name) for name in self._books}:
            self._recount_since.setdefault(root, now)
            self._wake(root)

    # life

    async def start(self) -> None:
        """Write this term into every pool there is; the allocations have to be read after that."""
        for obj in await self._kube.list(QUOTAPOOLS):
            self._adopt(obj)
        gate = asyncio.Semaphore(16)

        async def claim(name: str) -> None:
            async with gate:
                await self._claim(name)

        await asyncio.gather(*(claim(name) for name in list(self._books)))
        self._listed.update(self._books)
        self._informer.subscribe(self._on_event)
        for obj in self._informer.items():
            self._on_event("ADDED", None, obj)

    def correct(self, by_leaf: Mapping[str, Hours]) -> None:
        """Before anything is granted: put right the totals that were lowered by hand while nobody led."""
        charged = poolstatus.up(by_leaf, self.path)
        for name, book in list(self._books.items()):
            right = poolstatus.at_least(book, charged.get(name, {}), self._allocations.row)
            if right is not book and book.epoch == self.epoch:
                self._keep(name, book, right, self._objects[name])
                self._stale.add(name)
                self.events.recounted(self._objects[name], book.granted or {}, right.granted or {})

    async def run(self) -> None:
        """Work on every tree until cancelled or fenced."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for name in list(self._books):
                    self._wake(self._root_of(name))
                await asyncio.wait({self.fenced})
                for task in self._tasks:
                    task.cancel()
        finally:
            self._group = None
        self.fenced.result()

    def stop(self) -> None:
        """Write nothing more."""
        if not self.fenced.done():
            self.fenced.set_result(None)

    def _on_event(self, event: EventType, old: Obj | None, new: Obj | None) -> None:
        if self.fenced.done():
            return
        if new is None:
            name = (old or {})["metadata"]["name"]
            if name in self._objects and old is not None and version(old) >= version(self._objects[name]):
                self._drop(name)
            return
        held = self._books.get(new["metadata"]["name"])
        if held is None or version(new) > held.version:
            try:
                self._adopt(new)
            except Fenced:
                return
            self._rehang()
            self._wake(self._root_of(new["metadata"]["name"]))

    # trees

    def _wake(self, root: str) -> None:
        event = self._wakes.get(root)
        if event is None and self._group is not None:
            event = self._wakes[root] = asyncio.Event()
            self._tasks.append(self._group.create_task(self._follow(root), name=f"pool tree {root}"))
        if event is not None:
            event.set()

    async def _follow(self, root: str) -> None:
        wake = self._wakes[root]
        while True:
            await wake.wait()
            await self._save_up(root)
            wake.clear()
            try:
                if await self._round(root):
                    wake.set()
            except Fenced:
                return
            except KubeError as error:
                _LOG.warning("a round of a pool tree failed", root=root, error=str(error))
                await asyncio.sleep(max(error.retry_after or 0.0, FAIL_SECONDS))
                wake.set()

    async def _round(self, root: str) -> bool:
        """One pass over a tree, from the root down; whether there may be more to do."""
        await self._prepare(root)
        counting = root in self._recount_since
        if counting and await self._count_if_quiet(root):
            counting = False
        tree = self._tree(root)
        requests = [] if counting else self._requests(tree)
        wrote = False
        for level in tree.shape.levels:
            tree = self._tree(root)
            busy = self._busy(tree, [name for name in level if name in tree.names])
            wrote |= any(await asyncio.gather(*(self._write(name, tree, requests) for name in busy)))
        more = not counting and bool(self._lists.get(root) and self._lists[root].untried())
        if more and not wrote:
            # Full of open operations: their closes make room, and they need the loop to themselves.
            await asyncio.sleep(CLOSE_SECONDS)
        return wrote or more or counting

    def _busy(self, tree: Tree, level: Collection[str]) -> list[str]:
        """The pools of a level that something is open in, is to be opened in, or whose status is not as it should be."""
        wanted = {tree.root} | self._stale
        for item in self._torn.values():
            wanted.update(tree.path(item.pool))
        above = {tree.path(name)[-2] for name in level if name != tree.root}
        for uid in {uid for name in above if name in tree.books for uid in tree.books[name].intents}:
            row = self._allocations.row(uid)
            wanted.update(tree.path(self._leaf(row) or "") if row else ())
        return [name for name in level if name in wanted or (name in tree.books and tree.books[name].intents)]

    async def _prepare(self, root: str) -> None:
        """Claim what is new; read the allocations after a claim, then count what was never counted."""
        names = [name for name in self._tree(root).names if name in self._books]
        for name in self._unsure.intersection(names):
            await self._refresh(name)  # its write ended with an error that leaves open whether an earlier try had landed
        names = [name for name in names if name in self._books]
        fresh = [name for name in names if self._books[name].epoch != self.epoch or name not in self._listed]
        for name in fresh:
            await self._claim(name)
        uncounted = [name for name in names if name in self._books and self._books[name].granted is None]
        quiet = [name for name in uncounted if not self._books[name].intents]
        if fresh or quiet:
            await self._count(quiet)
            self._listed.update(name for name in fresh if name in self._books)
            self._allocations.help_hindered()

    async def _claim(self, name: str) -> None:
        """Write this term into a pool, whatever else happens to it meanwhile."""
        while (book := self._books.get(name)) is not None and book.epoch != self.epoch:
            await self._put(name, poolstatus.claimed(book, self.epoch))

    async def _count_if_quiet(self, root: str) -> bool:
        names = [name for name in self._tree(root).names if name in self._books]
        late = self._clock() - self._recount_since[root] > DRAIN_SECONDS
        quiet = [name for name in names if not self._books[name].intents]
        if len(quiet) < len(names) and not late:
            await asyncio.sleep(CLOSE_SECONDS)
            return False
        await self._count(quiet)
        self._recount_since.pop(root, None)
        return True

    async def _count(self, names: Sequence[str]) -> None:
        """Write totals from a quorum list that is read after the copies that the writes rest on; leaves first."""
        copies = {name: self._books[name] for name in names}
        listed = await self._allocations.quorum()
        charged = poolstatus.up(listed.charged, self.path)
        for name in sorted(names, key=lambda item: -len(self.path(item))):
            book, obj = copies[name], self._objects.get(name)
            if obj is None or self._books.get(name) is not book:
                continue
            below = [item.granted or {} for item in self._books.values() if item.pool.parent == name]
            settled = book.pool.cluster not in listed.unsettled
            counted = poolstatus.recounted(book, charged.get(name, {}), below, may_lower=settled)
            if await self._put(name, counted) and book.granted is not None and counted is not book:
                self.events.recounted(obj, book.granted, counted.granted or {})

    async def _write(self, name: str, tree: Tree, requests: Sequence[Request]) -> bool:
        book = self._books.get(name)
        made = batch.write(
            name,
            tree,
            requests,
            self._allocations.row,
            self._leaf,
            self.gone,
            self._clock(),
            tuple(self._torn.values()),
            partial(self._held, tree),
            self._space(tree) if name == tree.root else 0,
        )
        if made is None or book is None:
            return False
        self._opening.update(made.opened)
        self._closing.update(made.closed)
        tried = {uid: waiting for uid in made.refused if (waiting := self._waiting(uid)) is not None}
        try:
            landed = await self._put(name, made.book)
        finally:
            self._opening.difference_update(made.opened)
            self._closing.difference_update(made.closed)
        if landed:
            self._stale.discard(name)
        held = self._books.get(name)
        # A write whose answer got lost may have landed: then its repetition met a conflict with itself.
        if landed or (held is not None and poolstatus.same(held, made.book)):
            self._tell(name, tree, made, tried)
        return not landed or bool(made.opened or made.closed)

    def _tell(self, name: str, tree: Tree, made: Batch, tried: Mapping[str, Waiting]) -> None:
        """Have those looked at for whom something changed; `tried`: requests as they were when they were refused."""
        if name == tree.root:
            for uid in made.opened:
                self.withdraw(uid)
        for uid, causes in made.refused.items():
            waiting, row = self._waiting(uid), self._allocations.row(uid)
            if name != tree.root:
                above = tree.above(name)
                if row is not None and above is not None:
                    self._stuck[uid] = above.intents[uid].id
                    self._allocations.look(row.key)
            elif waiting is not None and waiting is tried.get(uid) and self._lists_of[uid].refuse(waiting, causes):
                self._allocations.look(waiting.key)
        for uid in made.closed:
            if not self.holds(uid):
                self.gone.pop(uid, None)
                self._leaves.pop(uid, None)
        for uid in (*made.opened, *made.closed):
            row = self._allocations.row(uid)
            if row is not None and (uid not in made.closed or not row.settled):
                self._allocations.look(row.key)

    async def _put(self, name: str, book: Book) -> bool:
        """Write the book where it differs from what is stored; False after a conflict, with the copy read again."""
        obj = self._objects.get(name)
        if obj is None or self._books[name].version != book.version:
            return False
        if self.fenced.done():
            raise Fenced(f"this process leads no more; pool {name} is not written.")
        now = datetime.fromtimestamp(self._clock(), UTC)
        status = poolstatus.status(book, self._problem(book), obj.get("status") or {}, now)
        if status == obj.get("status"):
            self._keep(name, self._books[name], book, obj)  # it may be there by somebody else's hand
            return True
        write: Callable[[], Awaitable[Obj]] = lambda: self._kube.swap_status(QUOTAPOOLS, {**obj, "status": status})  # noqa: E731
        self._pending[name] = book
        try:
            self.writes += 1
            stored = await certain(write, lambda: self._unsure.add(name))
            self._landed(stored, book)
            self._unsure.discard(name)
            return True
        except (Conflict, NotFound):
            await self._refresh(name)
            return False
        finally:
            if name not in self._unsure:  # what is not known to have landed may still be met
                self._pending.pop(name, None)

    def _problem(self, book: Book) -> Problem | None:
        found = path_of({**self.pools, book.name: book.pool}, book.pool)
        return found if isinstance(found, Problem) else None

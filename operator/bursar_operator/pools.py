"""The one writer of pools: claims, and one loop per tree that writes batches by compare-and-swap.

A tree (a root pool and those below it) has one loop: first the leaves, side by side, then the root, so that no decision rests
on a pool of the tree that is being written. Everything that waits is in memory and is worked out anew after a restart.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from bursar_domain.room import Problem, path_of
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, KubeError, NotFound
from bursar_kube.informer import EventType
from bursar_kube.resources import QUOTAPOOLS
from bursar_operator.applicants import Allocations, Waiting
from bursar_operator.domain import batch, hours, poolstatus
from bursar_operator.domain.batch import Batch, Gone, Request, Tree
from bursar_operator.domain.grant import Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj, Row, version
from bursar_operator.informers import Informers
from bursar_operator.poolcopies import Fenced as Fenced
from bursar_operator.poolcopies import PoolCopies, View
from bursar_operator.writes import certain

CLOSE_SECONDS: Final = 0.03  # a close rides in the next batch, or goes alone after so long
DRAIN_SECONDS: Final = 5.0  # how long a recount keeps new operations waiting
OPEN_TARGET: Final = 128  # operations open in a tree at one time: more make its writes dear and wait all the same
FAIL_SECONDS: Final = 1.0
_LOG = structlog.get_logger("bursar.pools")


class Pools(PoolCopies):
    """See the module. `start` claims; `run` works until cancelled and raises `Fenced`."""

    def __init__(
        self, kube: Kube, informers: Informers, allocations: Allocations, *, epoch: int, clock: Callable[[], float]
    ) -> None:
        super().__init__(kube, epoch)
        self.gone: dict[str, Hours] = {}
        self._torn: dict[str, Gone] = {}
        self._informer = informers.pools
        self._allocations = allocations
        self._clock = clock
        self._waiting: dict[str, Waiting] = {}
        self._withdrawn = 0
        self._opening: set[str] = set()
        self._closing: set[str] = set()
        self._stuck: dict[str, int] = {}
        self._wakes: dict[str, asyncio.Event] = {}
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
        waiting = self._waiting.get(uid)
        stuck_at = self._stuck.get(uid)
        return View(
            intents=intents,
            known=all(books) and uid not in self._opening and not self._unsure.intersection(intents),
            counted=all(book is not None and book.granted is not None for book in books),
            stuck=any(intent.id == stuck_at for intent in intents.values()),
            causes=waiting.causes if waiting else (),
        )

    def request(self, row: Row, operations: tuple[Operation, ...], since: float) -> None:
        """Let the allocation wait for its operation; it is opened as soon as it fits."""
        waiting = self._waiting.get(row.uid)
        if waiting is None or waiting.operations != operations:
            causes = waiting.causes if waiting else ()
            self._waiting[row.uid] = Waiting(row.key, since, operations, causes=causes)
            self._wake_of(row)

    def withdraw(self, uid: str) -> None:
        """The allocation waits no longer."""
        waiting = self._waiting.pop(uid, None)
        if waiting is not None and self._is_senior(waiting):
            self._withdrawn += 1

    def _is_senior(self, waiting: Waiting) -> bool:
        return self._clock() - waiting.since >= batch.PATIENCE_SECONDS

    def decided(self, row: Row) -> None:
        """The allocation has decided an operation, so that pools may close it."""
        self._stuck.pop(row.uid, None)
        for name in self._intents.get(row.uid, ()):
            asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._wake, self._root_of(name))

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
            self._wake(self._root_of(new["metadata"]["name"]))

    # trees

    def _wake_of(self, row: Row) -> None:
        leaf = self._allocations.leaf(row)
        if leaf is not None:
            self._wake(self._root_of(leaf))

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
        """One pass over a tree; whether there may be more to do."""
        await self._prepare(root)
        counting = root in self._recount_since
        if counting and await self._count_if_quiet(root):
            counting = False
        tree = self._tree(root)
        leaves = sorted(tree.names - {root})
        wrote = any(await asyncio.gather(*(self._write(name, tree, ()) for name in leaves)))
        more = False
        if root in tree.names:
            tree = self._tree(root)
            requests, more = ([], False) if counting else self._requests(tree)
            wrote |= await self._write(root, tree, requests)
        if more and not wrote:
            # Full of open operations: their closes make room, and they need the loop to themselves.
            await asyncio.sleep(CLOSE_SECONDS)
        return wrote or more or counting

    async def _prepare(self, root: str) -> None:
        """Claim what is new or was edited; read the allocations after a claim, then count what was never counted."""
        names = [name for name in self._books if self._root_of(name) == root]
        fresh = [name for name in names if self._books[name].epoch != self.epoch or name not in self._listed]
        for name in fresh:
            await self._claim(name)
        uncounted = [name for name in names if name in self._books and self._books[name].granted is None]
        quiet = [name for name in uncounted if not self._books[name].intents]
        if fresh or quiet:
            await self._count(root, quiet, may_lower=True)
            self._listed.update(name for name in fresh if name in self._books)
            self._allocations.help_hindered()

    async def _claim(self, name: str) -> None:
        """Write this term into a pool, whatever else happens to it meanwhile."""
        while (book := self._books.get(name)) is not None and book.epoch != self.epoch:
            await self._put(name, poolstatus.claimed(book, self.epoch))

    async def _count_if_quiet(self, root: str) -> bool:
        names = [name for name in self._books if self._root_of(name) == root]
        late = self._clock() - self._recount_since[root] > DRAIN_SECONDS
        quiet = [name for name in names if not self._books[name].intents]
        if len(quiet) < len(names) and not late:
            await asyncio.sleep(CLOSE_SECONDS)
            return False
        clusters = {self._books[name].pool.cluster for name in quiet}
        await self._count(root, quiet, may_lower=all(self._allocations.settled(cluster) for cluster in clusters))
        self._recount_since.pop(root, None)
        return True

    async def _count(self, root: str, names: Sequence[str], *, may_lower: bool) -> None:
        """Write totals from a quorum list that is read after the copies that the writes rest on; leaves first."""
        copies = {name: self._books[name] for name in names}
        rows = await self._allocations.quorum()
        paths = {leaf: self.path(leaf) for leaf in self._books}
        for name in sorted(names, key=lambda item: item == root):
            book = copies[name]
            if self._books.get(name) is not book:
                continue
            below = [item.granted or {} for item in self._books.values() if item.pool.parent == name]
            charged = poolstatus.charged_to(name, rows, paths)
            counted = poolstatus.recounted(book, charged, below, may_lower=may_lower)
            if book.granted is not None and counted is not book:
                _LOG.warning(
                    "a recount changed a total", pool=name, before=dict(book.granted), after=dict(counted.granted or {})
                )
            await self._put(name, counted)

    def _requests(self, tree: Tree) -> tuple[list[Request], bool]:
        """Who wants something opened in this tree and was not refused in this very state; whether there are more."""
        fresh: list[Request] = []
        seniors: list[Request] = []
        space = OPEN_TARGET - self._undecided(tree)
        if space <= 0:  # each decision wakes the tree again
            return [], False
        for uid, waiting in list(self._waiting.items()):
            row = self._allocations.row(uid)
            leaf = None if row is None else self._allocations.leaf(row)
            if row is None or leaf is None or leaf not in tree.names:
                continue
            if waiting.seen is not None and waiting.seen == self._fingerprint(row, tree.path(leaf)):
                if self._is_senior(waiting):
                    seniors.append(Request(row, waiting.operations, waiting.since))
                continue
            if len(fresh) >= space:
                return fresh + seniors, True
            operations = self._allocations.operations(uid)
            if operations:
                waiting.operations = operations
                fresh.append(Request(row, operations, waiting.since))
            else:
                self.withdraw(uid)
                self._allocations.look(waiting.key)
        return (fresh + seniors, False) if fresh else ([], False)

    def _undecided(self, tree: Tree) -> int:
        root = tree.books.get(tree.root)
        rows = ((intent, self._allocations.row(uid)) for uid, intent in (root.intents if root else {}).items())
        return sum(row is not None and row.state.sequence < intent.id for intent, row in rows)

    def _fingerprint(self, row: Row, path: Sequence[str]) -> object:
        totals = tuple((dict(book.pool.limit), dict(book.granted or {})) for name in path if (book := self._books.get(name)))
        return row.generation, self._withdrawn, row.state.charged, totals

    async def _write(self, name: str, tree: Tree, requests: Sequence[Request]) -> bool:
        row_of, leaf_of, torn = self._allocations.row, self._allocations.leaf, tuple(self._torn.values())
        made = batch.write(name, tree, requests, row_of, leaf_of, self.gone, self._clock(), torn)
        if made is None or name not in self._books:
            return False
        self._opening.update(made.opened)
        self._closing.update(made.closed)
        try:
            landed = await self._put(name, made.book)
        finally:
            self._opening.difference_update(made.opened)
            self._closing.difference_update(made.closed)
        if landed:
            self._tell(name, tree, made)
        return not landed or bool(made.opened or made.closed)

    def _tell(self, name: str, tree: Tree, made: Batch) -> None:
        """Have those looked at for whom something changed."""
        for uid in made.opened:
            self.withdraw(uid)
        for uid, causes in made.refused.items():
            waiting = self._waiting.get(uid)
            row = self._allocations.row(uid)
            if name == tree.root and waiting is not None and row is not None:
                leaf = self._allocations.leaf(row)
                waiting.seen = self._fingerprint(row, tree.path(leaf or name))
                if waiting.causes != causes:
                    waiting.causes = causes
                    self._allocations.look(waiting.key)
            elif row is not None and name != tree.root:
                self._stuck[uid] = tree.books[tree.root].intents[uid].id
                self._allocations.look(row.key)
        for uid in made.closed:
            if not self.holds(uid):
                self.gone.pop(uid, None)
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
            return True
        write: Callable[[], Awaitable[Obj]] = lambda: self._kube.replace_status(QUOTAPOOLS, {**obj, "status": status})  # noqa: E731
        try:
            self.writes += 1
            stored = await certain(write, lambda: self._unsure.add(name))
        except (Conflict, NotFound):
            await self._refresh(name)
            return False
        self._adopt(stored)
        self._unsure.discard(name)
        return True

    def _problem(self, book: Book) -> Problem | None:
        found = path_of({**self.pools, book.name: book.pool}, book.pool)
        return found if isinstance(found, Problem) else None

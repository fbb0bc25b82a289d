"""Those that wait for pools: each waits in the list of the tree that its pool hangs in."""

import asyncio
from collections.abc import Callable
from typing import Final

from bursar_kube.client import Kube
from bursar_operator.applicants import Allocations
from bursar_operator.domain.batch import Request, Tree
from bursar_operator.domain.grant import Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj, Row
from bursar_operator.poolcopies import PoolCopies
from bursar_operator.waitlist import Waiting, Waitlist

OPEN_TARGET: Final = 128  # operations open in a tree at one time: more make its writes dear and wait all the same
SAVING_PAUSES: Final = 12  # how long at most a round waits for the many that are open to be decided
SAVING_SECONDS: Final = 0.02
MOST_SENIORS: Final = 64  # of those that hours are kept for; the first ones use up what can be kept
MOST_TRIED: Final = 1024  # requests that one round looks at


class PoolRequests(PoolCopies):
    """The waiting lists, and what a round over a tree takes from them."""

    def __init__(
        self,
        kube: Kube,
        epoch: int,
        edited: Callable[[Obj, Book], None],
        allocations: Allocations,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(kube, epoch, edited)
        self._allocations = allocations
        self._clock = clock
        self._lists: dict[str, Waitlist] = {}
        self._lists_of: dict[str, Waitlist] = {}
        self._leaves: dict[str, str] = {}
        self._is_reshaped = False

    def request(self, row: Row, leaf: str, operations: tuple[Operation, ...], since: float) -> None:
        """Let the allocation wait for its operation on the pools up from `leaf`; it is opened as soon as it fits."""
        root = self._root_of(leaf)
        waitlist = self._lists.setdefault(root, Waitlist())
        before = self._lists_of.get(row.uid)
        if before is not None and before is not waitlist:
            self.withdraw(row.uid)
        self._lists_of[row.uid], self._leaves[row.uid] = waitlist, leaf
        if waitlist.put(Waiting(row.uid, row.key, leaf, row.version, since, operations)):
            self._wake(root)

    def departed(self, uid: str) -> None:
        """The allocation is gone."""
        self.withdraw(uid)
        self._leaves.pop(uid, None)

    def withdraw(self, uid: str) -> None:
        """The allocation waits no longer."""
        waitlist = self._lists_of.pop(uid, None)
        if waitlist is not None:
            waitlist.drop(uid, self._clock())

    def _waiting(self, uid: str) -> Waiting | None:
        waitlist = self._lists_of.get(uid)
        return None if waitlist is None else waitlist.get(uid)

    def _more_room(self, name: str) -> None:
        if self._lists and (waitlist := self._lists.get(self._root_of(name))) is not None:
            waitlist.more_room()

    def _leaf(self, row: Row) -> str | None:
        """The pool that it draws on, as it was when it came to wait."""
        return row.leaf or self._leaves.get(row.uid) or self._allocations.leaf(row)

    def _reshape(self) -> None:
        super()._reshape()
        self._is_reshaped = True

    def _drop(self, name: str) -> None:
        super()._drop(name)
        self._rehang()
        for child in [pool.name for pool in self.pools.values() if pool.parent == name]:
            self._wake(self._root_of(child))  # it hangs below nothing now, and says so

    def _rehang(self) -> None:
        """A pool came or went: those that wait, wait in the tree that their pool hangs in now."""
        if not self._is_reshaped:
            return
        self._is_reshaped = False
        for waitlist in list(self._lists.values()):
            for waiting in waitlist:
                root = self._root_of(waiting.leaf)
                if self._lists.get(root) is not waitlist:
                    waitlist.drop(waiting.uid, self._clock())
                    moved = self._lists_of[waiting.uid] = self._lists.setdefault(root, Waitlist())
                    moved.put(waiting)

    def _requests(self, tree: Tree) -> list[Request]:
        """Who wants something opened in this tree and was not refused with the room as it is, and whom hours are kept for."""
        waitlist = self._lists.get(tree.root)
        if waitlist is None or self._space(tree) <= 0:  # each decision wakes the tree again
            return []
        fresh = [request for waiting in waitlist.untried()[:MOST_TRIED] if (request := self._request_of(waiting)) is not None]
        if not fresh:
            return []
        seniors = [
            Request(row, waiting.operations, waiting.since)
            for waiting in waitlist.seniors(self._clock())[:MOST_SENIORS]
            if (row := self._allocations.row(waiting.uid)) is not None
        ]
        return fresh + seniors

    def _request_of(self, waiting: Waiting) -> Request | None:
        row = self._allocations.row(waiting.uid)
        if row is not None and row.version != waiting.version:
            waiting.operations, waiting.version = self._allocations.operations(waiting.uid), row.version
        if row is None or not waiting.operations:
            self.withdraw(waiting.uid)
            self._allocations.look(waiting.key)
            return None
        return Request(row, waiting.operations, waiting.since)

    def _space(self, tree: Tree) -> int:
        """How many operations more may be open in the tree."""
        return OPEN_TARGET - self._undecided(tree.books.get(tree.root))

    def _undecided(self, root: Book | None) -> int:
        rows = ((intent, self._allocations.row(uid)) for uid, intent in (root.intents if root else {}).items())
        return sum(row is not None and row.state.sequence < intent.id for intent, row in rows)

    async def _save_up(self, root: str) -> None:
        """While those that may write have more than enough to decide, what is decided waits for one write instead of many."""
        for _ in range(SAVING_PAUSES):
            if self._undecided(self._books.get(root)) <= OPEN_TARGET // 2:
                return
            await asyncio.sleep(SAVING_SECONDS)

    def _held(self, tree: Tree, pool: str, namespace: str) -> Hours:
        return self._allocations.held(namespace, tree.books[pool].pool.cluster, {pool, *tree.shape.below[pool]})

    def _wake(self, root: str) -> None:
        """Have a round made over a tree."""

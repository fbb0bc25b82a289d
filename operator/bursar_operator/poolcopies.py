"""Copies of pools that a leader may rest decisions on, and what they say of one allocation."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from bursar_domain.room import Cause, Pool, Problem, path_of
from bursar_kube.client import Kube
from bursar_kube.errors import NotFound
from bursar_kube.resources import QUOTAPOOLS
from bursar_operator.domain import poolstatus
from bursar_operator.domain.batch import Tree
from bursar_operator.domain.rows import Book, Intent, Obj, book_of, version
from bursar_operator.domain.shape import Shape, trees
from bursar_operator.waitlist import Place


class Fenced(Exception):
    """A leader of a later term has claimed a pool: this process must end and may write nothing more."""


@dataclass(frozen=True, slots=True)
class View:
    """What the pools say of one allocation."""

    intents: Mapping[str, Intent] = field(default_factory=dict)
    known: bool = True
    counted: bool = True
    stuck: bool = False
    causes: tuple[Cause, ...] = ()
    place: Place | None = None


class PoolCopies:
    """What this term knows of the pools. A copy may be used once it carries this term and the allocations were read after.

    After its claim nobody but this leader writes a pool's status. What differs from the leader's own book was edited by hand:
    the object is taken in, the book stays, and the next write puts the status right.
    """

    def __init__(self, kube: Kube, epoch: int, edited: Callable[[Obj, Book], None]) -> None:
        self.epoch = epoch
        self.fenced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pools: dict[str, Pool] = {}
        """Every pool, for choosing a path."""
        self._kube = kube
        self._edited = edited
        self._objects: dict[str, Obj] = {}
        self._books: dict[str, Book] = {}
        self._pending: dict[str, Book] = {}
        self._unsure: set[str] = set()
        self._listed: set[str] = set()
        self._stale: set[str] = set()
        self._intents: dict[str, dict[str, Intent]] = {}
        self._shapes: dict[str, Shape] | None = None
        self._roots: dict[str, str] = {}

    def path(self, leaf: str) -> tuple[str, ...]:
        """From root to leaf; empty where the pools are not there or do not fit each other."""
        pool = self.pools.get(leaf)
        found = path_of(self.pools, pool) if pool is not None else ()
        return () if isinstance(found, Problem) else tuple(item.name for item in found)

    def intents_of_all(self) -> Iterable[Intent]:
        """Every open operation."""
        return (intent for held in self._intents.values() for intent in held.values())

    def _root_of(self, name: str) -> str:
        self._shaped()
        return self._roots.get(name, name)

    def _shaped(self) -> dict[str, Shape]:
        """The trees; worked out anew after a pool came or went."""
        if self._shapes is None:
            self._shapes = {shape.root: shape for shape in trees({name: pool.parent for name, pool in self.pools.items()})}
            self._roots = {name: shape.root for shape in self._shapes.values() for name in shape.paths}
        return self._shapes

    def _tree(self, root: str) -> Tree:
        shape = self._shaped().get(root) or Shape.of(root, {})
        return Tree(shape, {name: book for name in shape.paths if (book := self._usable(name)) is not None})

    def _adopt(self, obj: Obj) -> Book:
        """Take in a copy unless a newer one is held."""
        name = obj["metadata"]["name"]
        held = self._books.get(name)
        if held is not None and held.version >= version(obj):
            return held
        obj["metadata"].pop("managedFields", None)
        book = book_of(obj)
        if book.epoch is not None and book.epoch > self.epoch:
            raise self._fence(
                Fenced(f"pool {name} was claimed in term {book.epoch}, this process leads in term {self.epoch}; it ends.")
            )
        if held is not None and self._is_edited(obj, book, held):
            book = poolstatus.restored(book, held)
            self._stale.add(name)
            self._edited(obj, book)
        self._keep(name, held, book, obj)
        return book

    def _landed(self, stored: Obj, book: Book) -> None:
        """Take in what this leader wrote, unless the watch was faster or the pool is gone."""
        held = self._books.get(book.name)
        if held is not None and held.version < version(stored):
            stored["metadata"].pop("managedFields", None)
            self._keep(book.name, held, replace(book, version=version(stored)), stored)

    def _is_edited(self, obj: Obj, book: Book, held: Book) -> bool:
        if held.epoch != self.epoch or obj["metadata"]["uid"] != self._objects[held.name]["metadata"]["uid"]:
            return False
        pending = self._pending.get(held.name)
        return not poolstatus.same(book, held) and (pending is None or not poolstatus.same(book, pending))

    def _keep(self, name: str, held: Book | None, book: Book, obj: Obj) -> None:
        self._reindex(name, held, book)
        if held is None or held.pool.parent != book.pool.parent:
            self._reshape()
        if held is None or held.generation != book.generation:
            self._stale.add(name)
        self._objects[name], self._books[name], self.pools[name] = obj, book, book.pool
        if held is None or _has_more_room(held.pool, book.pool):
            self._more_room(name)

    def _more_room(self, name: str) -> None:
        """What was refused in the tree of this pool may fit now."""

    def _fence(self, error: Fenced) -> Fenced:
        if not self.fenced.done():
            self.fenced.set_exception(error)
        return error

    def _drop(self, name: str) -> None:
        self._reindex(name, self._books.pop(name, None), None)
        self._objects.pop(name, None)
        self.pools.pop(name, None)
        for names in (self._listed, self._unsure, self._stale):
            names.discard(name)
        self._reshape()

    def _reshape(self) -> None:
        """A pool came or went, so that trees and what hinders other pools may be different."""
        self._shapes = None
        self._stale.update(self.pools)

    def _reindex(self, name: str, before: Book | None, after: Book | None) -> None:
        old, new = before.intents if before else {}, after.intents if after else {}
        for uid in old:
            if uid not in new:
                held = self._intents.get(uid, {})
                held.pop(name, None)
                if not held:
                    self._intents.pop(uid, None)
        for uid, intent in new.items():
            self._intents.setdefault(uid, {})[name] = intent

    def _usable(self, name: str) -> Book | None:
        book = self._books.get(name)
        if book is None or name in self._unsure or name not in self._listed or book.epoch != self.epoch:
            return None
        return book

    async def _refresh(self, name: str) -> None:
        try:
            obj = await self._kube.get(QUOTAPOOLS, name)
        except NotFound:
            self._drop(name)
        else:
            self._adopt(obj)
        self._unsure.discard(name)
        self._pending.pop(name, None)


def _has_more_room(before: Pool, after: Pool) -> bool:
    names = {*before.limit, *after.limit}
    wider = (before.caps, before.projects, before.start, before.end) != (after.caps, after.projects, after.start, after.end)
    return wider or any(after.left(name) > before.left(name) for name in names)

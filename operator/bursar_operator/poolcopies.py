"""Copies of pools in one term: the newest that was read or written, which of them may be used, and who has intents in them."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from bursar_domain.room import Cause, Pool, Problem, path_of
from bursar_kube.client import Kube
from bursar_kube.errors import NotFound
from bursar_kube.resources import QUOTAPOOLS
from bursar_operator.domain.batch import Tree
from bursar_operator.domain.rows import Book, Intent, Obj, book_of, version


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


class PoolCopies:
    """What this term knows of the pools. A copy may be used once it carries this term and the allocations were read after."""

    def __init__(self, kube: Kube, epoch: int) -> None:
        self.epoch = epoch
        self.fenced: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.pools: dict[str, Pool] = {}
        """Every pool, for choosing a path."""
        self._kube = kube
        self._objects: dict[str, Obj] = {}
        self._books: dict[str, Book] = {}
        self._unsure: set[str] = set()
        self._listed: set[str] = set()
        self._intents: dict[str, dict[str, Intent]] = {}

    def path(self, leaf: str) -> tuple[str, ...]:
        """From root to leaf; empty where the pools are not there or do not fit each other."""
        pool = self.pools.get(leaf)
        found = path_of(self.pools, pool) if pool is not None else ()
        return () if isinstance(found, Problem) else tuple(item.name for item in found)

    def intents_of_all(self) -> Iterable[Intent]:
        """Every open operation."""
        return (intent for held in self._intents.values() for intent in held.values())

    def _root_of(self, name: str) -> str:
        book = self._books.get(name)
        return name if book is None or book.pool.parent is None else book.pool.parent

    def _tree(self, root: str) -> Tree:
        names = frozenset(name for name in self._books if self._root_of(name) == root)
        return Tree(root, {name: book for name in names if (book := self._usable(name)) is not None}, names)

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
        self._reindex(name, held, book)
        self._objects[name], self._books[name], self.pools[name] = obj, book, book.pool
        return book

    def _fence(self, error: Fenced) -> Fenced:
        if not self.fenced.done():
            self.fenced.set_exception(error)
        return error

    def _drop(self, name: str) -> None:
        self._reindex(name, self._books.pop(name, None), None)
        self._objects.pop(name, None)
        self.pools.pop(name, None)
        self._listed.discard(name)
        self._unsure.discard(name)

    def _reindex(self, name: str, before: Book | None, after: Book | None) -> None:
        for uid in before.intents if before else ():
            held = self._intents.get(uid, {})
            held.pop(name, None)
            if not held:
                self._intents.pop(uid, None)
        for uid, intent in (after.intents if after else {}).items():
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

"""The pool's side of the grant protocol: one write closes what is decided and opens what fits, first come first served.

A tree is a root pool and the pools below it. Opens go root first, closes leaf first; each write rests on the copy whose
resourceVersion it carries, so a copy that is old costs a conflict and nothing else.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bursar_crds.quotapool import MAX_INTENTS
from bursar_domain.room import Cause, Pool, room
from bursar_operator.domain import hours
from bursar_operator.domain.grant import Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import EDITED, Book, Intent, Row

# After so many seconds a request that waits keeps smaller, later ones from what it waits for.
PATIENCE_SECONDS = 600.0

RowOf = Callable[[str], Row | None]
"""The row of a uid as this leader knows it; None where the object is not there."""
LeafOf = Callable[[Row], str | None]
"""The pool that an allocation draws on."""


@dataclass(frozen=True, slots=True)
class Request:
    """An allocation that wants to open one of its operations, the first that fits. ``since``: when it came to wait."""

    row: Row
    operations: tuple[Operation, ...]
    since: float

    @property
    def order(self) -> tuple[float, str, int]:
        """First come first served: by arrival, then by creation, then by version."""
        return self.since, self.row.created, self.row.version


@dataclass(frozen=True, slots=True)
class Tree:
    """The books of one root pool and of those below it. A book that is missing is not known now: no use is made of it."""

    root: str
    books: Mapping[str, Book]
    names: frozenset[str]
    """Every pool of the tree, known or not."""

    def path(self, leaf: str) -> tuple[str, ...]:
        """From root to leaf."""
        return (self.root,) if leaf == self.root else (self.root, leaf)

    def on(self, path: Iterable[str]) -> list[Book] | None:
        """The books of a path; None while one of them is not known or not counted."""
        books = [book for name in path if (book := self.books.get(name)) is not None and book.granted is not None]
        return books if len(books) == len(tuple(path)) else None


@dataclass(frozen=True, slots=True)
class Batch:
    """What one write of one pool does."""

    book: Book
    opened: tuple[str, ...] = ()
    closed: tuple[str, ...] = ()
    refused: Mapping[str, tuple[Cause, ...]] = field(default_factory=dict)
    """Allocations that do not fit, and why; at a leaf they have to be voided."""


@dataclass(frozen=True, slots=True)
class Gone:
    """An allocation whose object was torn away while its pools held hours: ``pool`` is the leaf, ``charged`` the hours."""

    uid: str
    namespace: str
    name: str
    pool: str = ""
    charged: Hours = field(default_factory=dict)


def close(book: Book, tree: Tree, row_of: RowOf, gone: Mapping[str, Hours]) -> Batch:
    """Drop the intents that their allocation has decided, once no pool below holds them.

    ``gone``: allocations that are proven gone and acknowledged, with the hours they used.
    """
    granted, spent, closed = dict(book.granted or {}), book.spent, []
    for intent in book.intents.values():
        if book.name == tree.root and _held_below(intent, tree):
            continue
        change = _change(intent, row_of(intent.uid), gone)
        if change is not None:
            granted, spent = hours.plus(granted, change[0]), hours.plus(spent, change[1])
            closed.append(intent.uid)
    if not closed:
        return Batch(book)
    kept = {uid: intent for uid, intent in book.intents.items() if uid not in closed}
    after = book if book.granted is None else book.with_granted(granted)
    return Batch(replace(after, spent=spent, intents=kept), closed=tuple(closed))


def _held_below(intent: Intent, tree: Tree) -> bool:
    below = tree.names - {tree.root}
    return any(name not in tree.books or intent.uid in tree.books[name].intents for name in below)


def _change(intent: Intent, row: Row | None, gone: Mapping[str, Hours]) -> tuple[dict[str, int], Hours] | None:
    """What closing adds to granted and to spent; None while it may not be closed."""
    if row is None:
        if intent.uid not in gone:
            return None
        used = hours.positive(hours.lower(intent.hold, gone[intent.uid]))
        return hours.minus(used, intent.hold), used
    state = row.state
    if state.sequence < intent.id:
        return None
    if state.charge_sequence == EDITED:
        return {}, {}
    if state.charge_sequence == intent.id:
        return hours.minus(hours.plus(intent.to, intent.spend), intent.hold), intent.spend
    return hours.minus(intent.from_, intent.hold), {}


def open_root(book: Book, tree: Tree, requests: Sequence[Request], row_of: RowOf, leaf_of: LeafOf, now: float) -> Batch:
    """Open what fits in every pool on its path, in order of arrival."""
    desk = _Desk(book, tree, row_of, leaf_of, now)
    for request in sorted(requests, key=lambda item: item.order):
        desk.serve(request)
    return desk.batch()


class _Desk:
    """Working state of `open_root`: the totals as they will be, and what is kept for requests that wait too long."""

    def __init__(self, book: Book, tree: Tree, row_of: RowOf, leaf_of: LeafOf, now: float) -> None:
        self._book = book
        self._tree = replace(tree, books={**tree.books, book.name: book})
        self._leaf_of = leaf_of
        self._now = now
        self._granted: dict[str, dict[str, int]] = {name: dict(item.granted or {}) for name, item in self._tree.books.items()}
        self._kept: dict[str, dict[str, int]] = {}
        self._counts = {name: len(item.intents) for name, item in self._tree.books.items()}
        self._intents = dict(book.intents)
        self._sequence = book.sequence
        self._opened: list[str] = []
        self._refused: dict[str, tuple[Cause, ...]] = {}
        self._foresee(row_of)

    def batch(self) -> Batch:
        if not self._opened:
            return Batch(self._book, refused=self._refused)
        book = replace(self._book.with_granted(self._granted[self._book.name]), intents=self._intents, sequence=self._sequence)
        return Batch(book, opened=tuple(self._opened), refused=self._refused)

    def serve(self, request: Request) -> None:
        leaf = self._leaf_of(request.row)
        path = () if leaf is None else self._tree.path(leaf)
        books = self._tree.on(path)
        uid = request.row.uid
        if not path or books is None or any(uid in book.intents for book in books) or uid in self._intents:
            return
        if any(self._counts[name] >= MAX_INTENTS for name in path):
            return
        for operation in request.operations:
            causes = self._causes(books, operation)
            if not causes:
                self._open(request.row, path, operation)
                return
            self._refused.setdefault(uid, tuple(causes))
        if request.operations and self._now - request.since >= PATIENCE_SECONDS:
            self._keep(books, request.operations[0])

    def _open(self, row: Row, path: tuple[str, ...], operation: Operation) -> None:
        # Above the allocation's own sequence too: a pool that was made anew begins to count at 0.
        self._sequence = max(self._sequence, row.state.sequence) + 1
        intent = Intent(row.uid, row.namespace, row.name, self._sequence, operation.from_, operation.to, operation.spend)
        self._intents[row.uid] = intent
        self._refused.pop(row.uid, None)
        self._opened.append(row.uid)
        for name in path:
            self._counts[name] += 1
            self._granted[name] = hours.plus(self._granted[name], intent.more)

    def _causes(self, books: Sequence[Book], operation: Operation) -> list[Cause]:
        causes = room([self._pool(book, {}) for book in books], operation.to, operation.from_)
        if causes or not self._kept:
            return causes
        behind = room([self._pool(book, self._kept.get(book.name, {})) for book in books], operation.to, operation.from_)
        return [replace(cause, message=_behind(cause)) for cause in behind]

    def _pool(self, book: Book, kept: Hours) -> Pool:
        return replace(book.pool, granted=hours.plus(self._granted[book.name], kept))

    def _keep(self, books: Sequence[Book], operation: Operation) -> None:
        """Keep what there is for a request that has waited long, unless no release could ever make it fit."""
        more = hours.positive(hours.minus(operation.to, operation.from_))
        if all(book.pool.limit.get(name, 0) >= operation.to.get(name, 0) for book in books for name in more):
            for book in books:
                self._kept[book.name] = hours.plus(self._kept.get(book.name, {}), more)

    def _foresee(self, row_of: RowOf) -> None:
        """Count what the root has opened already and the leaf has yet to."""
        for uid, intent in self._book.intents.items():
            row = row_of(uid)
            leaf = None if row is None or row.state.sequence >= intent.id else self._leaf_of(row)
            if (
                leaf is not None
                and leaf in self._granted
                and leaf != self._book.name
                and uid not in self._tree.books[leaf].intents
            ):
                self._granted[leaf] = hours.plus(self._granted[leaf], intent.more)
                self._counts[leaf] += 1


def _behind(cause: Cause) -> str:
    return (
        f"pool {cause.pool} keeps its last {cause.resource} hours for an earlier request that waits for them; "
        "wait, ask for less, or ask for a larger pool."
    )


def open_leaf(book: Book, tree: Tree, row_of: RowOf, leaf_of: LeafOf) -> Batch:
    """Open what the root has opened for this pool; what does not fit is refused and has to be voided."""
    parent = tree.books.get(tree.root)
    if parent is None or book.granted is None:
        return Batch(book)
    opened: list[str] = []
    refused: dict[str, tuple[Cause, ...]] = {}
    for intent in sorted(parent.intents.values(), key=lambda item: item.id):
        row = row_of(intent.uid)
        if row is None or intent.uid in book.intents or row.state.sequence >= intent.id or leaf_of(row) != book.name:
            continue
        causes = room([book.pool], intent.to, intent.from_)
        if causes or len(book.intents) >= MAX_INTENTS:
            refused[intent.uid] = tuple(causes)
            continue
        book = book.with_granted(hours.plus(book.granted or {}, intent.more))
        book = replace(book, intents={**book.intents, intent.uid: intent})
        opened.append(intent.uid)
    return Batch(book, opened=tuple(opened), refused=refused)


def open_torn(book: Book, tree: Tree, torn: Iterable[Gone]) -> Batch:
    """Open the deletion of what was torn away, root first: it changes no total before it is closed."""
    opened: list[str] = []
    for item in torn:
        if item.pool not in tree.names or book.name not in tree.path(item.pool) or item.uid in book.intents:
            continue
        above = None if book.name == tree.root else tree.books.get(tree.root)
        known = None if above is None else above.intents.get(item.uid)
        if len(book.intents) >= MAX_INTENTS or (book.name != tree.root and known is None):
            continue
        number = book.sequence + 1 if known is None else known.id
        intent = Intent(item.uid, item.namespace, item.name, number, item.charged, {}, {})
        sequence = number if known is None else book.sequence
        book = replace(book, intents={**book.intents, item.uid: intent}, sequence=sequence)
        opened.append(item.uid)
    return Batch(book, opened=tuple(opened))


def write(
    name: str,
    tree: Tree,
    requests: Sequence[Request],
    row_of: RowOf,
    leaf_of: LeafOf,
    gone: Mapping[str, Hours],
    now: float,
    torn: Sequence[Gone] = (),
) -> Batch | None:
    """The next write of this pool: closes, then opens; None while its book is not known."""
    book = tree.books.get(name)
    if book is None:
        return None
    closing = close(book, tree, row_of, gone)
    if book.granted is None:
        return closing
    after = replace(tree, books={**tree.books, name: closing.book})
    if name == tree.root:
        opening = open_root(closing.book, after, requests, row_of, leaf_of, now)
    else:
        opening = open_leaf(closing.book, after, row_of, leaf_of)
    departing = open_torn(opening.book, after, torn)
    return replace(opening, book=departing.book, opened=opening.opened + departing.opened, closed=closing.closed)

"""The pool's side of the grant protocol: one write closes what is decided and opens what fits, first come first served.

A tree is a root pool and the pools below it. Opens go root first, level by level; closes leaf first; each write rests on the
copy whose resourceVersion it carries, so a copy that is old costs a conflict and nothing else.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bursar_crds.quotapool import MAX_INTENTS
from bursar_domain.room import Cause, Pool, capped, room
from bursar_operator.domain import hours
from bursar_operator.domain.grant import Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import EDITED, Book, Intent, Row
from bursar_operator.domain.shape import Shape

# After so many seconds a request that waits keeps smaller, later ones from what it waits for.
PATIENCE_SECONDS = 600.0

RowOf = Callable[[str], Row | None]
"""The row of a uid as this leader knows it; None where the object is not there."""
LeafOf = Callable[[Row], str | None]
"""The pool that an allocation draws on."""
HeldOf = Callable[[str, str], Hours]
"""What the project of a namespace holds of a pool: Σ charged of its allocations, and what those that are gone have used."""


def holds_nothing(pool: str, namespace: str) -> Hours:
    """Where no pool caps what one project may hold."""
    return {}


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

    shape: Shape
    books: Mapping[str, Book]

    @property
    def root(self) -> str:
        """The pool on top."""
        return self.shape.root

    @property
    def names(self) -> Collection[str]:
        """Every pool of the tree, known or not."""
        return self.shape.paths.keys()

    def path(self, leaf: str) -> tuple[str, ...]:
        """From root to leaf; empty for a pool of another tree."""
        return self.shape.paths.get(leaf, ())

    def above(self, name: str) -> Book | None:
        """The book of the pool that this one hangs below; None where it is not known."""
        return self.books.get(self.path(name)[-2])

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
    below = tree.shape.below[book.name]
    if any(name not in tree.books for name in below):
        return Batch(book)
    held_below = {uid for name in below for uid in tree.books[name].intents}
    for intent in book.intents.values():
        if intent.uid in held_below:
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


def open_root(
    book: Book,
    tree: Tree,
    requests: Sequence[Request],
    row_of: RowOf,
    leaf_of: LeafOf,
    now: float,
    held: HeldOf = holds_nothing,
    most: int = MAX_INTENTS,
) -> Batch:
    """Open what fits in every pool on its path and in what its project may hold there, in order of arrival."""
    desk = _Desk(book, tree, row_of, leaf_of, now, held)
    for request in sorted(requests, key=lambda item: item.order):
        if desk.has_opened >= most:
            break
        desk.serve(request)
    return desk.batch()


class _Desk:
    """Working state of `open_root`: the totals as they will be, and what is kept for requests that wait too long."""

    def __init__(self, book: Book, tree: Tree, row_of: RowOf, leaf_of: LeafOf, now: float, held_of: HeldOf) -> None:
        self._book = book
        self._tree = replace(tree, books={**tree.books, book.name: book})
        self._row_of = row_of
        self._leaf_of = leaf_of
        self._held_of = held_of
        self._held: dict[tuple[str, str], Hours] = {}
        self._now = now
        self._granted: dict[str, dict[str, int]] = {name: dict(item.granted or {}) for name, item in self._tree.books.items()}
        self._kept: dict[str, dict[str, int]] = {}
        self._counts = {name: len(item.intents) for name, item in self._tree.books.items()}
        self._intents = dict(book.intents)
        self._sequence = book.sequence
        self._opened: list[str] = []
        self._refused: dict[str, tuple[Cause, ...]] = {}
        self._foresee()

    @property
    def has_opened(self) -> int:
        """How many operations it opened."""
        return len(self._opened)

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
            causes = self._causes(books, operation) or self._beyond_share(books, request.row, operation)
            if not causes:
                self._open(request.row, path, operation)
                return
            self._refused.setdefault(uid, tuple(causes))
        if request.operations and self._now - request.since >= PATIENCE_SECONDS:
            self._keep(books, request)

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
            if (held := self._held.get((name, row.namespace))) is not None:
                self._held[name, row.namespace] = hours.plus(held, intent.more)

    def _causes(self, books: Sequence[Book], operation: Operation) -> list[Cause]:
        causes = room([self._pool(book, {}) for book in books], operation.to, operation.from_)
        if causes or not self._kept:
            return causes
        behind = room([self._pool(book, self._kept.get(book.name, {})) for book in books], operation.to, operation.from_)
        return [replace(cause, message=_behind(cause)) for cause in behind]

    def _pool(self, book: Book, kept: Hours) -> Pool:
        return replace(book.pool, granted=hours.plus(self._granted[book.name], kept))

    def _beyond_share(self, books: Sequence[Book], row: Row, operation: Operation) -> list[Cause]:
        """What takes its project over what one may hold of a pool on the path."""
        return [
            cause
            for book in books
            if book.pool.caps
            for cause in capped(book.pool, operation.to, operation.from_, self._held_by(book, row.namespace))
        ]

    def _held_by(self, book: Book, namespace: str) -> Hours:
        key = book.name, namespace
        if key not in self._held:
            self._held[key] = hours.total([self._held_of(*key), *self._open_holds(book, namespace)])
        return self._held[key]

    def _open_holds(self, book: Book, namespace: str) -> Iterator[Hours]:
        """What open operations of a project hold beyond the charges of its allocations."""
        for uid, intent in {**self._book.intents, **book.intents}.items():
            if intent.namespace != namespace:
                continue
            row = self._row_of(uid)
            if row is None or uid in book.intents or book.name in self._tree.path(self._leaf_of(row) or ""):
                yield intent.beyond(row)

    def _keep(self, books: Sequence[Book], request: Request) -> None:
        """Keep what there is for a request that has waited long, unless no release could ever make it fit."""
        operation = request.operations[0]
        more = hours.positive(hours.minus(operation.to, operation.from_))
        fits = all(book.pool.limit.get(name, 0) >= operation.to.get(name, 0) for book in books for name in more)
        if fits and not self._beyond_share(books, request.row, operation):
            for book in books:
                kept = self._kept.get(book.name, {})
                # Only where there is no room: what the others have is no help to it, and to the pools beside it is all.
                if room([self._pool(book, kept)], operation.to, operation.from_):
                    self._kept[book.name] = hours.plus(kept, more)

    def _foresee(self) -> None:
        """Count what the root has opened already and pools below it have yet to."""
        for uid, intent in self._book.intents.items():
            row = self._row_of(uid)
            leaf = None if row is None or row.state.sequence >= intent.id else self._leaf_of(row)
            for name in self._tree.path(leaf)[1:] if leaf is not None else ():
                if name in self._granted and uid not in self._tree.books[name].intents:
                    self._granted[name] = hours.plus(self._granted[name], intent.more)
                    self._counts[name] += 1


def _behind(cause: Cause) -> str:
    return (
        f"pool {cause.pool} keeps its last {cause.resource} hours for an earlier request that waits for them; "
        "wait, ask for less, or ask for a larger pool."
    )


def open_below(book: Book, tree: Tree, row_of: RowOf, leaf_of: LeafOf) -> Batch:
    """Open what the pool above has open for this one or one below it; what does not fit is refused and has to be voided."""
    parent = tree.above(book.name)
    if parent is None or book.granted is None:
        return Batch(book)
    opened: list[str] = []
    refused: dict[str, tuple[Cause, ...]] = {}
    granted, intents = dict(book.granted), dict(book.intents)
    for intent in sorted(parent.intents.values(), key=lambda item: item.id):
        row = row_of(intent.uid)
        if row is None or intent.uid in intents or row.state.sequence >= intent.id:
            continue
        if book.name not in tree.path(leaf_of(row) or ""):
            continue
        causes = room([replace(book.pool, granted=granted)], intent.to, intent.from_)
        if causes or len(intents) >= MAX_INTENTS:
            refused[intent.uid] = tuple(causes)
            continue
        granted, intents[intent.uid] = hours.plus(granted, intent.more), intent
        opened.append(intent.uid)
    return Batch(replace(book.with_granted(granted), intents=intents) if opened else book, tuple(opened), refused=refused)


def open_torn(book: Book, tree: Tree, torn: Iterable[Gone]) -> Batch:
    """Open the deletion of what was torn away, root first: it changes no total before it is closed."""
    opened: list[str] = []
    for item in torn:
        if book.name not in tree.path(item.pool) or item.uid in book.intents:
            continue
        above = None if book.name == tree.root else tree.above(book.name)
        known = None if above is None else above.intents.get(item.uid)
        # These stay open until agents answer, for days perhaps: the other half is for grants.
        if len(book.intents) >= MAX_INTENTS // 2 or (book.name != tree.root and known is None):
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
    held: HeldOf = holds_nothing,
    most: int = MAX_INTENTS,
) -> Batch | None:
    """The next write of this pool: closes, then opens, at most so many; None while its book is not known."""
    book = tree.books.get(name)
    if book is None:
        return None
    closing = close(book, tree, row_of, gone)
    if book.granted is None:
        return closing
    after = replace(tree, books={**tree.books, name: closing.book})
    if name == tree.root:
        opening = open_root(closing.book, after, requests, row_of, leaf_of, now, held, most)
    else:
        opening = open_below(closing.book, after, row_of, leaf_of)
    departing = open_torn(opening.book, after, torn)
    return replace(opening, book=departing.book, opened=opening.opened + departing.opened, closed=closing.closed)

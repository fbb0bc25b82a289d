"""What a pool's status says for people, and the pool's side of claim and recount."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from bursar_crds.conditions import set_condition
from bursar_crds.reasons import Reason
from bursar_domain.room import Problem
from bursar_operator.domain import hours
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj, Row, book_fields


def claimed(book: Book, epoch: int) -> Book:
    """The book under this leader's term. A pool that had no term yet stays uncounted until the first recount."""
    return replace(book, epoch=epoch, granted=book.granted if book.epoch is not None else None)


def same(a: Book, b: Book) -> bool:
    """Whether two copies say the same of what is granted, spent and open, under the same term."""
    counted = (a.granted is None) == (b.granted is None) and hours.same(a.granted or {}, b.granted or {})
    return counted and hours.same(a.spent, b.spent) and (a.epoch, a.sequence, a.intents) == (b.epoch, b.sequence, b.intents)


def restored(edited: Book, own: Book) -> Book:
    """The leader's own book on the object that somebody edited."""
    book = replace(edited, epoch=own.epoch, sequence=own.sequence, spent=own.spent, intents=own.intents)
    return replace(book, granted=None) if own.granted is None else book.with_granted(own.granted)


def recounted(book: Book, charged: Hours, below: Iterable[Hours], *, may_lower: bool) -> Book:
    """The total counted anew: Σ charged + spent. It rises at once; it falls only where all is acknowledged, and not
    below what the pools under it hold. Only for a pool without intents."""
    counted = hours.plus(charged, book.spent)
    floor = hours.total(list(below))
    present = book.granted or {}
    lowest = hours.upper(counted, floor) if may_lower or book.granted is None else hours.upper(counted, present)
    granted = hours.positive(lowest)
    return book if book.granted is not None and hours.same(granted, present) else book.with_granted(granted)


@dataclass(slots=True)
class Listed:
    """What a quorum list of every allocation said, page by page."""

    charged: dict[str, dict[str, int]] = field(default_factory=dict)
    """Σ charged by leaf pool."""
    uids: set[str] = field(default_factory=set)
    unsettled: set[str] = field(default_factory=set)
    """Clusters on which something is not acknowledged as it stands: a total there may hold more than it seems to."""

    def add(self, row: Row, *, settled: bool) -> None:
        """One more allocation."""
        self.uids.add(row.uid)
        if not settled:
            self.unsettled.add(row.cluster)
        self.draw(row.leaf, row.state.charged)

    def draw(self, leaf: str | None, charged: Hours) -> None:
        """What one allocation is charged."""
        if leaf and charged:
            total = self.charged.setdefault(leaf, {})
            for name, amount in charged.items():
                total[name] = total.get(name, 0) + amount


def at_least(book: Book, charged: Hours, row_of: Callable[[str], Row | None]) -> Book:
    """The book with no lower a total than the list that was read after the claim shows: Σ charged, what open operations
    hold beyond it, and spent. Whoever lowered it did so while nobody led."""
    beyond = [intent.beyond(row_of(intent.uid)) for intent in book.intents.values()]
    present, least = book.granted, hours.total([charged, book.spent, *beyond])
    return book if present is None or hours.at_least(present, least) else book.with_granted(hours.upper(present, least))


def up(by_leaf: Mapping[str, Hours], path_of: Callable[[str], tuple[str, ...]]) -> dict[str, dict[str, int]]:
    """Sums of leaves put down to every pool on their paths; ``path_of`` gives a leaf's path."""
    charged: dict[str, dict[str, int]] = {}
    for leaf, amounts in by_leaf.items():
        for pool in path_of(leaf):
            charged[pool] = hours.plus(charged.get(pool, {}), amounts)
    return charged


def overcommitted(book: Book) -> dict[str, int]:
    """Hours granted beyond the limit."""
    return hours.positive(hours.minus(book.granted or {}, book.pool.limit))


def status(book: Book, problem: Problem | None, before: Obj, now: datetime) -> Obj:
    """The status in full, as one PUT writes it."""
    kept = {name: value for name, value in before.items() if name not in ("granted", "grantedPercent")}
    after = {**kept, **book_fields(book), "observedGeneration": book.generation}
    beyond = overcommitted(book)
    over = (
        (Reason.OVERCOMMITTED, f"{hours.in_words(beyond)} more than the pool has are granted; raise it, or lower allocations.")
        if beyond
        else (Reason.WITHIN_LIMIT, "no more hours are granted than the pool has.")
    )
    listed = set_condition(before.get("conditions"), "Overcommitted", bool(beyond), *over, now, book.generation)
    ready, reason, message = _ready(book, problem)
    after["conditions"] = set_condition(listed, "Ready", ready, reason, message, now, book.generation)
    return after


def _ready(book: Book, problem: Problem | None) -> tuple[bool, Reason, str]:
    if problem is not None:
        return False, problem.reason, problem.message
    if book.granted is None:
        return False, Reason.EPOCH_PENDING, "the pool is being counted; grants follow by themselves."
    return True, Reason.READY, "allocations can draw on the pool."

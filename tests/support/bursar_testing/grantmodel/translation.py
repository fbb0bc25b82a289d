"""Between the states that are explored and the records that the product decides on."""

from datetime import UTC, datetime
from functools import cache

from bursar_domain.room import Pool as RoomPool
from bursar_operator.domain import grant
from bursar_operator.domain.batch import Tree
from bursar_operator.domain.grant import Facts
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, GrantState
from bursar_operator.domain.rows import Intent as GrantIntent
from bursar_operator.domain.rows import Row as GrantRow
from bursar_operator.domain.shape import Shape
from bursar_testing.grantmodel.setting import RESOURCES, Setting, Vec
from bursar_testing.grantmodel.state import TOMB, Agent, Intent, Pool, Row

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
NAMESPACE = "project"


def pool_name(at: int) -> str:
    """The name of a pool; in the order of their numbers."""
    return f"p{at}"


def uid_of(slot: int, life: int) -> str:
    """The UID of an allocation."""
    return f"{slot}.{life}"


@cache
def hours_of(vec: Vec) -> Hours:
    """Hours that are there, by resource."""
    return {name: amount for name, amount in zip(RESOURCES, vec, strict=False) if amount}


def vec_of(hours: Hours, length: int) -> Vec:
    """The amounts, resource by resource; what is stored is never below zero."""
    return tuple(max(0, hours.get(name, 0)) for name in RESOURCES[:length])


def plus(a: Vec, b: Vec) -> Vec:
    """The sum."""
    return tuple(x + y for x, y in zip(a, b, strict=True))


def upper(a: Vec, b: Vec) -> Vec:
    """The greater of each."""
    return tuple(max(x, y) for x, y in zip(a, b, strict=True))


def at_least(a: Vec, b: Vec) -> bool:
    """Whether ``a`` is not below ``b`` anywhere."""
    return all(x >= y for x, y in zip(a, b, strict=True))


def revision_of(revision: int) -> int:
    """A revision as the product counts: the tombstone is the highest."""
    return grant.TOMBSTONE if revision == TOMB else revision


class Translation:
    """Makes the product's records of one setting, each once."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._width = len(setting.limits[0])
        parents = {pool_name(at): None if above is None else pool_name(above) for at, above in enumerate(setting.parents)}
        self._shape = Shape.of(pool_name(0), parents)
        self._caps = {at: dict(zip(RESOURCES, cap, strict=False)) for at, cap in setting.caps}
        self._rows: dict[tuple[int, Row], GrantRow] = {}
        self._books: dict[tuple[int, Pool], Book] = {}

    def row(self, slot: int, row: Row) -> GrantRow:
        """An allocation. Its version says in which order names were made, as far as decisions look at versions."""
        known = self._rows.get((slot, row))
        if known is None:
            known = self._rows[slot, row] = self._row(slot, row)
        return known

    def _row(self, slot: int, row: Row) -> GrantRow:
        return GrantRow(
            uid=uid_of(slot, row.life),
            namespace=NAMESPACE,
            name=str(slot),
            version=slot,
            generation=1,
            created="",
            deleting=row.deleting,
            finalizer=row.finalizer,
            cluster="alpha",
            pool_ref=pool_name(self._setting.pool_of[slot]),
            start=START,
            end=END,
            grace_days=0,
            asked=hours_of(row.asked),
            state=GrantState(
                granted=hours_of(row.granted),
                charged=hours_of(row.charged),
                revision=row.revision,
                sequence=row.sequence,
                charge_sequence=row.charge_sequence,
            ),
        )

    def settled(self, row: Row, state: GrantState) -> Row:
        """The allocation with another state of the protocol."""
        return row._replace(
            granted=vec_of(state.granted, self._width),
            charged=vec_of(state.charged, self._width),
            revision=state.revision,
            sequence=state.sequence,
            charge_sequence=state.charge_sequence,
        )

    def intent(self, intent: Intent) -> GrantIntent:
        """An open operation."""
        uid = uid_of(intent.slot, intent.life)
        start, to, spend = hours_of(intent.start), hours_of(intent.to), hours_of(intent.spend)
        return GrantIntent(uid, NAMESPACE, str(intent.slot), intent.id, start, to, spend)

    def room(self, at: int, pool: Pool) -> RoomPool:
        """What room is computed from."""
        above = self._setting.parents[at]
        parent = None if above is None else pool_name(above)
        granted = hours_of(pool.granted or self._setting.zero)
        limit = dict(zip(RESOURCES, pool.limit, strict=False))
        return RoomPool(pool_name(at), "alpha", parent, START, END, limit, granted, caps=self._caps.get(at, {}))

    def book(self, at: int, pool: Pool) -> Book:
        """A pool's grant book."""
        known = self._books.get((at, pool))
        if known is None:
            known = self._books[at, pool] = Book(
                pool=self.room(at, pool),
                version=1,
                generation=1,
                epoch=pool.epoch or None,
                sequence=pool.sequence,
                granted=None if pool.granted is None else hours_of(pool.granted),
                spent=hours_of(pool.spent),
                intents={uid_of(item.slot, item.life): self.intent(item) for item in pool.intents},
            )
        return known

    def stored(self, pool: Pool, book: Book) -> Pool:
        """The pool that a write of the book stores."""
        return Pool(
            granted=None if book.granted is None else vec_of(book.granted, self._width),
            limit=pool.limit,
            epoch=book.epoch or 0,
            sequence=book.sequence,
            spent=vec_of(book.spent, self._width),
            intents=tuple(sorted(self._intent(uid, item) for uid, item in book.intents.items())),
        )

    def _intent(self, uid: str, item: GrantIntent) -> Intent:
        slot, life = uid.split(".")
        start, to, spend = (vec_of(hours, self._width) for hours in (item.from_, item.to, item.spend))
        return Intent(int(slot), int(life), item.id, start, to, spend)

    def tree(self, books: dict[int, Book]) -> Tree:
        """The tree, with the books that may be used."""
        return Tree(self._shape, {pool_name(at): book for at, book in books.items()})

    def path(self, leaf: str) -> tuple[str, ...]:
        """From the root to a pool."""
        return self._shape.paths[leaf]

    def facts(
        self, slot: int, row: Row, agent: Agent, intents: tuple[tuple[int, Intent], ...], *, known: bool, stuck: bool
    ) -> Facts:
        """Everything that a decision about one allocation looks at."""
        record = self.row(slot, row)
        used, committed = hours_of(agent.ack.used), hours_of(agent.ack.committed)
        return Facts(
            row=record,
            want=grant.want(record, used, committed, is_over=False),
            path=tuple(pool_name(at) for at in self._setting.path(self._setting.pool_of[slot])),
            intents={pool_name(at): self.intent(item) for at, item in intents},
            known=known,
            stuck=stuck,
            ack=revision_of(agent.ack.revision),
            ledger=(revision_of(agent.published), hours_of(agent.granted)) if agent.published else None,
            used=used,
            committed=committed,
        )

"""What a world consists of: stored pools and allocations, the books and their agents, leaders with copies, one write under way.

A leader's copy is CURRENT where it equals what is stored, so that its write lands; otherwise it is an old object.
Every value is a tuple, so that states can be compared and hashed. Incarnations of a name count from 0.
"""

from typing import Final, NamedTuple, TypeVar

from bursar_testing.grantmodel.setting import Vec

T = TypeVar("T")
CURRENT: Final = 1
TOMB: Final = 99
"""The revision of a tombstone here."""
EDITED: Final = -1


class Intent(NamedTuple):
    """An open operation."""

    slot: int
    life: int
    id: int
    start: Vec
    to: Vec
    spend: Vec


class Pool(NamedTuple):
    """A stored pool; ``granted`` is None until it was counted, ``epoch`` 0 until it was claimed."""

    granted: Vec | None
    limit: Vec
    epoch: int
    sequence: int
    spent: Vec
    intents: tuple[Intent, ...]


class Unsure(NamedTuple):
    """The copy of a pool whose own write got no answer: nothing of it may be used."""

    pool: Pool
    written: Pool
    closed: tuple[int, ...]
    """Allocations whose operation that write closes."""


class Own(NamedTuple):
    """The leader's own book of a pool that somebody edited: it rests on what is stored, and the next write puts that right."""

    pool: Pool


class Row(NamedTuple):
    """A stored allocation."""

    life: int
    asked: Vec
    deleting: bool
    finalizer: bool
    granted: Vec
    charged: Vec
    revision: int
    sequence: int
    charge_sequence: int


class Mail(NamedTuple):
    """An acknowledgement, with the use up to it."""

    revision: int
    used: Vec
    committed: Vec


class Agent(NamedTuple):
    """One allocation in the books and at the scheduler."""

    published: int
    granted: Vec
    """What is published."""
    kept_revision: int
    kept: Vec
    """What the scheduler enforces."""
    ack: Mail
    """What the books know of it."""
    used: Vec
    committed: Vec
    mail: Mail | None
    """An acknowledgement on its way."""
    left: Vec | None
    """Hours its pools held when its object was torn away."""


PoolView = int | Pool | Unsure | Own
RowView = int | Row | None


class Leader(NamedTuple):
    """One term. ``saw``: torn away objects (slot, life) whose deletion its informer tells of."""

    epoch: int
    listed: bool
    pools: tuple[PoolView, ...]
    rows: tuple[RowView, ...]
    saw: tuple[tuple[int, int], ...] = ()


class Flight(NamedTuple):
    """A write under way: it lands if its object is as it was; of a pool or of an allocation."""

    epoch: int
    pool: int | None
    slot: int | None
    value: Pool | Row | None
    opened: tuple[int, ...] = ()
    """Allocations for which it opens an operation."""
    closed: tuple[int, ...] = ()


class Budget(NamedTuple):
    """What may still happen."""

    users: int
    takeovers: int
    lost: int
    slow: int
    uses: int
    jobs: int
    limited: int
    torn: int
    edits: int
    pool_edits: int


class State(NamedTuple):
    """Everything. ``leaders``: the newest term first."""

    pools: tuple[Pool, ...]
    rows: tuple[Row | None, ...]
    agents: tuple[tuple[Agent, ...], ...]
    leaders: tuple[Leader, ...]
    flight: Flight | None
    budget: Budget

    def is_gone(self, slot: int, life: int) -> bool:
        """Whether the object of this life is not stored."""
        row = self.rows[slot]
        return row is None or row.life != life


def put(items: tuple[T, ...], at: int, item: T) -> tuple[T, ...]:
    """The same with one item replaced."""
    return (*items[:at], item, *items[at + 1 :])


def write_pool(state: State, at: int, value: Pool, epoch: int, own: PoolView = CURRENT) -> State:
    """A write of a pool has landed; ``own``: the copy of its writer (by term) after it."""
    before = state.pools[at]
    views: list[PoolView]
    if value == before:  # an identical rewrite moves nothing, and no other copy is outdated by it
        views = [CURRENT if item.epoch == epoch else item.pools[at] for item in state.leaders]
    else:
        views = [own if item.epoch == epoch else _outdated(item.pools[at], before) for item in state.leaders]
    leaders = tuple([item._replace(pools=put(item.pools, at, view)) for item, view in zip(state.leaders, views, strict=True)])
    flight = None if state.flight is not None and state.flight.pool == at else state.flight
    return state._replace(pools=put(state.pools, at, value), leaders=leaders, flight=flight)


def _outdated(view: PoolView, before: Pool) -> PoolView:
    if isinstance(view, Own):
        return view.pool
    return before if view == CURRENT else view


def write_row(state: State, at: int, value: Row | None, epoch: int, *, answered: bool = True) -> State:
    """A write of an allocation has landed; where the answer was lost, the writer has an old copy."""
    before = state.rows[at]
    leaders = tuple(
        leader._replace(rows=put(leader.rows, at, before))
        if leader.rows[at] == CURRENT and (leader.epoch != epoch or not answered)
        else leader
        for leader in state.leaders
    )
    flight = None if state.flight is not None and state.flight.slot == at else state.flight
    return state._replace(rows=put(state.rows, at, value), leaders=leaders, flight=flight)


def write_agent(state: State, slot: int, life: int, value: Agent) -> State:
    """Something happened to an allocation in the books or at its agent."""
    return state._replace(agents=put(state.agents, slot, put(state.agents[slot], life, value)))

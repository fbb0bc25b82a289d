"""What a leader decides from its copies: the product's decisions, each distinct question asked once."""

from collections.abc import Sequence
from typing import NamedTuple

from bursar_operator.domain import poolstatus
from bursar_operator.domain.batch import Gone, Request
from bursar_operator.domain.grant import Facts, Operation
from bursar_testing.grantmodel.rules import Rules
from bursar_testing.grantmodel.setting import Setting, Vec
from bursar_testing.grantmodel.state import CURRENT, Agent, Intent, Leader, Mail, Own, Pool, PoolView, Row, State, Unsure
from bursar_testing.grantmodel.translation import NAMESPACE, Translation, hours_of, plus, pool_name, uid_of

Intents = tuple[tuple[int, Intent], ...]
Torn = tuple[int, int, Vec]
"""Slot, life and the hours that its pools held, as far as the leader knows."""
Spent = tuple[int, int, Vec]
"""Slot, life and the hours used of what is proven gone."""


class Outlook(NamedTuple):
    """What a leader sees: the newest copies, and which pools it may use."""

    leader: Leader
    pools: tuple[Pool, ...]
    usable: tuple[Pool | None, ...]
    rows: tuple[Row | None, ...]
    opening: tuple[int, ...]
    closing: tuple[int, ...]

    def intents(self, slot: int, life: int) -> Intents:
        """Open operations of an allocation, by pool; also those in copies that may not be used."""
        return tuple(
            [
                (at, item)
                for at, pool in enumerate(self.pools)
                for item in pool.intents
                if item.slot == slot and item.life == life
            ]
        )

    def shows(self, slot: int, life: int) -> bool:
        """Whether the copies have this life of the name."""
        row = self.rows[slot]
        return row is not None and row.life == life


class Written(NamedTuple):
    """What one write of a pool does."""

    pool: Pool
    opened: tuple[int, ...]
    closed: tuple[int, ...]
    refused: tuple[int, ...]


RowKey = tuple[int, Row, int, Vec, Mail, Intents, bool, bool]
PoolKey = tuple[
    int, tuple[Pool | None, ...], tuple[Row | None, ...], tuple[tuple[int, int, Vec, Mail], ...], object, object, object
]


class Decisions:
    """Asks the rules, and remembers the answers."""

    def __init__(self, setting: Setting, rules: Rules) -> None:
        self._setting = setting
        self._rules = rules
        self._translation = Translation(setting)
        self._paths = [setting.path(pool) for pool in setting.pool_of]
        self._row_moves: dict[RowKey, tuple[str, Row | None] | None] = {}
        self._wanted: dict[RowKey, tuple[Operation, ...]] = {}
        self._writes: dict[PoolKey, Written] = {}
        self._claims: dict[tuple[int, Pool, int], Pool] = {}

    def outlook(self, state: State, leader: Leader) -> Outlook:
        """What the leader sees now."""
        rules = self._rules
        pools, usable = [], []
        for at, view in enumerate(leader.pools):
            pool = state.pools[at] if view == CURRENT else view.pool if isinstance(view, Unsure | Own) else view
            assert isinstance(pool, Pool)
            pools.append(pool)
            fits = (pool.epoch == leader.epoch or not rules.fences) and (leader.listed or not rules.lists)
            usable.append(pool if fits and not (rules.distrusts and isinstance(view, Unsure)) else None)
        rows = [state.rows[slot] if view == CURRENT else view for slot, view in enumerate(leader.rows)]
        flight = state.flight if state.flight is not None and state.flight.epoch == leader.epoch else None
        opening = flight.opened if flight is not None and rules.waits else ()
        closing = flight.closed if flight is not None else ()
        for view in leader.pools:
            if isinstance(view, Unsure):
                closing += view.closed
        return Outlook(leader, tuple(pools), tuple(usable), tuple(rows), opening, closing)  # type: ignore[arg-type]

    # allocations

    def row(self, outlook: Outlook, slot: int, agent: Agent) -> tuple[str, Row | None] | None:
        """The next write of an allocation; None where there is none."""
        row = outlook.rows[slot]
        assert row is not None
        key = self._key(outlook, slot, row, agent)
        if key not in self._row_moves:
            self._row_moves[key] = self._row_move(slot, row, self._facts(key))
        return self._row_moves[key]

    def _key(self, outlook: Outlook, slot: int, row: Row, agent: Agent) -> RowKey:
        intents = outlook.intents(slot, row.life)
        known = slot not in outlook.opening and self._is_counted(outlook, slot)
        stuck = 0 < len(intents) < len(self._paths[slot]) and self._is_stuck(outlook, slot)
        return slot, row, agent.published, agent.granted, agent.ack, intents, known, stuck

    def _is_counted(self, outlook: Outlook, slot: int) -> bool:
        for at in self._paths[slot]:
            pool = outlook.usable[at]
            if pool is None or pool.granted is None:
                return False
        return True

    def _is_stuck(self, outlook: Outlook, slot: int) -> bool:
        below = self._paths[slot][1:]
        return any(slot in self.write(outlook, at).refused for at in below if outlook.usable[at] is not None)

    def _facts(self, key: RowKey) -> Facts:
        slot, row, published, granted, ack, intents, known, stuck = key
        agent = Agent(published, granted, 0, (), ack, (), (), None, None)
        return self._translation.facts(slot, row, agent, intents, known=known, stuck=stuck)

    def _row_move(self, slot: int, row: Row, facts: Facts) -> tuple[str, Row | None] | None:
        state = self._rules.settle(facts)
        after = self._translation.settled(row, state)
        if not row.deleting and not row.finalizer and self._rules.stamps:
            return "finalizer", row._replace(finalizer=True)
        if after == row:
            return ("finish", None) if self._rules.finished(facts, state) else None
        return "settle", after

    def wanted(self, outlook: Outlook, slot: int, agent: Agent) -> tuple[Operation, ...]:
        """What an allocation wants to open on its pools, as far as they are counted and may be used."""
        row = outlook.rows[slot]
        if row is None:
            return ()
        key = self._key(outlook, slot, row, agent)
        if not self._is_counted(outlook, slot):
            return ()
        if key not in self._wanted:
            facts = self._facts(key)
            self._wanted[key] = self._rules.operations(facts, facts.row.state)
        return self._wanted[key]

    def is_settled(self, row: Row, slot: int, agent: Agent) -> bool:
        """Whether the allocation is acknowledged at its revision, as a recount asks before it lowers."""
        facts = self._translation.facts(slot, row, agent, (), known=True, stuck=False)
        backed = all(charged >= granted for charged, granted in zip(row.charged, row.granted, strict=True))
        return row.revision >= agent.published and facts.acknowledged(facts.row.state) and backed

    # pools

    def taken_in(self, at: int, stored: Pool, view: PoolView, epoch: int) -> PoolView:
        """The leader's copy after it read what is stored: its own book where somebody edited the status."""
        held = view.pool if isinstance(view, Unsure | Own) else view
        if not isinstance(held, Pool) or held.epoch != epoch or not self._rules.restores:
            return CURRENT
        translation = self._translation
        edited, own = translation.book(at, stored), translation.book(at, held)
        pending = translation.book(at, view.written) if isinstance(view, Unsure) else own
        if poolstatus.same(edited, own) or poolstatus.same(edited, pending):
            return CURRENT
        return Own(translation.stored(stored, poolstatus.restored(edited, own)))

    def corrected(self, state: State, leader: Leader) -> tuple[PoolView, ...]:
        """The leader's copies with no lower a total than what it has just listed shows."""
        outlook, translation = self.outlook(state, leader), self._translation
        rows = {uid_of(slot, row.life): translation.row(slot, row) for slot, row in enumerate(outlook.rows) if row is not None}
        listed = poolstatus.Listed()
        for row in rows.values():
            listed.add(row, settled=True)
        charged = poolstatus.up(listed.charged, translation.path)
        views = []
        for at, pool in enumerate(outlook.pools):
            book = translation.book(at, pool)
            right = poolstatus.at_least(book, charged.get(pool_name(at), {}), rows.get)
            views.append(leader.pools[at] if right is book else Own(translation.stored(pool, right)))
        return tuple(views)

    def write(
        self,
        outlook: Outlook,
        at: int,
        requests: Sequence[tuple[int, Agent]] = (),
        gone: tuple[Spent, ...] = (),
        torn: tuple[Torn, ...] = (),
        spent: tuple[Spent, ...] = (),
    ) -> Written:
        """The next write of a pool that may be used. ``spent``: hours used by all, where a project's share is capped."""
        asked = tuple([(slot, agent.published, agent.granted, agent.ack) for slot, agent in requests])
        key = at, outlook.usable, outlook.rows, asked, gone, torn, spent
        if key not in self._writes:
            self._writes[key] = self._write(outlook, at, requests, gone, torn, spent)
        return self._writes[key]

    def _write(
        self,
        outlook: Outlook,
        at: int,
        requests: Sequence[tuple[int, Agent]],
        gone: tuple[Spent, ...],
        torn: tuple[Torn, ...],
        spent: tuple[Spent, ...],
    ) -> Written:
        translation, pool = self._translation, outlook.usable[at]
        assert pool is not None
        books = {number: translation.book(number, item) for number, item in enumerate(outlook.usable) if item is not None}
        rows = {uid_of(slot, row.life): translation.row(slot, row) for slot, row in enumerate(outlook.rows) if row is not None}
        waiting = [
            Request(translation.row(slot, row), self.wanted(outlook, slot, agent), 0.0)
            for slot, agent in requests
            if (row := outlook.rows[slot]) is not None
        ]
        made = self._rules.write(
            pool_name(at),
            translation.tree(books),
            waiting,
            rows.get,
            lambda row: row.pool_ref,
            {uid_of(slot, life): hours_of(used) for slot, life, used in gone},
            0.0,
            [self._torn(*item) for item in torn],
            lambda pool, namespace: hours_of(self._held(outlook, int(pool[1:]), spent)),
        )
        if made is None:
            return Written(pool, (), (), ())
        slots = [_slots(uids) for uids in (made.opened, made.closed, tuple(made.refused))]
        return Written(translation.stored(pool, made.book), *slots)

    def _held(self, outlook: Outlook, at: int, spent: tuple[Spent, ...]) -> Vec:
        """What the project holds of a pool: charges, and what those that are gone have used."""
        total = self._setting.zero
        for slot, path in enumerate(self._paths):
            row = outlook.rows[slot]
            if at in path and row is not None:
                total = plus(total, row.charged)
        for slot, life, used in spent:
            if at in self._paths[slot] and not outlook.shows(slot, life):
                total = plus(total, used)
            elif at in self._paths[slot] and (row := outlook.rows[slot]) is not None and row.deleting:
                total = plus(total, tuple(max(0, x - y) for x, y in zip(used, row.charged, strict=True)))
        return total

    def _torn(self, slot: int, life: int, charged: Vec) -> Gone:
        leaf = pool_name(self._setting.pool_of[slot])
        return Gone(uid_of(slot, life), NAMESPACE, str(slot), leaf, hours_of(charged))

    def claim(self, at: int, pool: Pool, epoch: int) -> Pool:
        """The pool under the leader's term."""
        key = at, pool, epoch
        if key not in self._claims:
            made = self._rules.claimed(self._translation.book(at, pool), epoch)
            self._claims[key] = self._translation.stored(pool, made)
        return self._claims[key]

    def recount(self, outlook: Outlook, at: int, stored: Sequence[Row | None], *, may_lower: bool) -> Pool:
        """The pool with its total counted anew from what is stored."""
        translation, pool = self._translation, outlook.pools[at]
        listed = poolstatus.Listed()
        for slot, row in enumerate(stored):
            if row is not None:
                listed.add(translation.row(slot, row), settled=may_lower)
        below = [
            hours_of(item.granted or self._setting.zero)
            for number, item in enumerate(outlook.pools)
            if self._setting.parents[number] == at
        ]
        charged = poolstatus.up(listed.charged, translation.path).get(pool_name(at), {})
        counted = poolstatus.recounted(translation.book(at, pool), charged, below, may_lower=may_lower)
        return translation.stored(pool, counted)


def _slots(uids: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted({int(uid.split(".")[0]) for uid in uids}))

"""One name for states that differ only in how high numbers have counted.

Ids of operations matter by their order, and of what an allocation has decided only whether it covers an id that is still there;
revisions matter by their order within one allocation. Both are numbered anew from 1 in every state.
"""

from bursar_testing.grantmodel.state import (
    CURRENT,
    EDITED,
    TOMB,
    Agent,
    Leader,
    Mail,
    Own,
    Pool,
    PoolView,
    Row,
    RowView,
    State,
    Unsure,
)

Ids = dict[int, int]
Revisions = dict[int, int]


def canonical(state: State, *, unlisted: bool = False) -> State:
    """The state under the lowest numbers. ``unlisted``: whether copies of allocations matter before they were listed."""
    return _Renaming(state, unlisted=unlisted).renamed()


class _Renaming:
    def __init__(self, state: State, *, unlisted: bool) -> None:
        self._state = state
        self._unlisted = unlisted
        own: dict[tuple[int, int], list[int]] = {}
        for pool in self._pools():
            for intent in pool.intents:
                own.setdefault((intent.slot, intent.life), []).append(intent.id)
        self._ids = {number: rank for rank, number in enumerate(sorted({one for ids in own.values() for one in ids}), 1)}
        self._own = own
        self._plain = all(number == rank for number, rank in self._ids.items())
        self._highest = len(self._ids)

    def _pools(self) -> list[Pool]:
        state = self._state
        found = list(state.pools)
        for leader in state.leaders:
            for view in leader.pools:
                if isinstance(view, Pool):
                    found.append(view)
                elif isinstance(view, Unsure):
                    found += [view.pool, view.written]
                elif isinstance(view, Own):
                    found.append(view.pool)
        if state.flight is not None and isinstance(state.flight.value, Pool):
            found.append(state.flight.value)
        return found

    def renamed(self) -> State:
        state = self._state
        revisions = [self._revisions(slot) for slot in range(len(state.rows))]
        flight = state.flight
        if flight is not None:
            value = flight.value
            if isinstance(value, Pool):
                flight = flight._replace(value=self._pool(value))
            elif isinstance(value, Row) and flight.slot is not None:
                flight = flight._replace(value=self._row(value, flight.slot, revisions[flight.slot]))
        return State(
            tuple([self._pool(pool) for pool in state.pools]),
            tuple([self._row(row, slot, revisions[slot]) if row else None for slot, row in enumerate(state.rows)]),
            tuple(
                [
                    tuple([_agent(agent, revisions[slot].get(life)) for life, agent in enumerate(agents)])
                    for slot, agents in enumerate(state.agents)
                ]
            ),
            tuple([self._leader(leader, revisions) for leader in state.leaders]),
            flight,
            state.budget,
        )

    def _leader(self, leader: Leader, revisions: list[dict[int, Revisions]]) -> Leader:
        pools = tuple([view if view == CURRENT else self._pool_view(view) for view in leader.pools])
        if not (leader.listed or self._unlisted):
            return Leader(leader.epoch, False, pools, (CURRENT,) * len(leader.rows))
        rows = tuple([self._row_view(view, slot, revisions[slot]) for slot, view in enumerate(leader.rows)])
        return Leader(leader.epoch, leader.listed, pools, rows, leader.saw)

    def _pool_view(self, view: PoolView) -> PoolView:
        if isinstance(view, Unsure):
            return Unsure(self._pool(view.pool), self._pool(view.written), view.closed)
        if isinstance(view, Own):
            return Own(self._pool(view.pool))
        return self._pool(view) if isinstance(view, Pool) else view

    def _row_view(self, view: RowView, slot: int, revisions: dict[int, Revisions]) -> RowView:
        return self._row(view, slot, revisions) if isinstance(view, Row) else view

    def _pool(self, pool: Pool) -> Pool:
        sequence = self._highest if pool.sequence else 0
        if self._plain:
            return pool if pool.sequence == sequence else pool._replace(sequence=sequence)
        ids = self._ids
        intents = tuple(sorted(intent._replace(id=ids[intent.id]) for intent in pool.intents)) if pool.intents else ()
        return pool._replace(sequence=sequence, intents=intents)

    def _row(self, row: Row, slot: int, revisions: dict[int, Revisions]) -> Row:
        sequence = charge = 0
        for number in self._own.get((slot, row.life), ()):
            rank = self._ids[number]
            if number <= row.sequence and rank > sequence:
                sequence = rank
            if number == row.charge_sequence:
                charge = rank
        if row.charge_sequence == EDITED:
            charge = EDITED
        known = revisions.get(row.life)
        revision = known[row.revision] if known else row.revision
        if revision == row.revision and sequence == row.sequence and charge == row.charge_sequence:
            return row
        return row._replace(revision=revision, sequence=sequence, charge_sequence=charge)

    def _revisions(self, slot: int) -> dict[int, Revisions]:
        """New numbers of the revisions of each life; of those only whose numbers change."""
        state = self._state
        rows = [state.rows[slot], *(leader.rows[slot] for leader in state.leaders)]
        if state.flight is not None and state.flight.slot == slot and isinstance(state.flight.value, Row):
            rows.append(state.flight.value)
        found = {}
        for life, agent in enumerate(state.agents[slot]):
            used = {agent.published, agent.kept_revision, agent.ack.revision, 0}
            if agent.mail is not None:
                used.add(agent.mail.revision)
            used.update(row.revision for row in rows if row.__class__ is Row and row.life == life)
            used.discard(TOMB)
            if max(used) != len(used) - 1:
                found[life] = {revision: rank for rank, revision in enumerate(sorted(used))} | {TOMB: TOMB}
        return found


def _agent(agent: Agent, revisions: Revisions | None) -> Agent:
    if revisions is None:
        return agent
    mail = agent.mail
    return agent._replace(
        published=revisions[agent.published],
        kept_revision=revisions[agent.kept_revision],
        ack=Mail(revisions[agent.ack.revision], agent.ack.used, agent.ack.committed),
        mail=None if mail is None else Mail(revisions[mail.revision], mail.used, mail.committed),
    )

"""Everything that may happen next: leaders and their answers, take-overs, agents and their jobs, users, hand edits."""

from collections.abc import Iterator

from bursar_testing.grantmodel.leading import Change, Leading, Step
from bursar_testing.grantmodel.renaming import canonical
from bursar_testing.grantmodel.rules import PRODUCT, Rules
from bursar_testing.grantmodel.setting import Setting
from bursar_testing.grantmodel.state import (
    CURRENT,
    Agent,
    Budget,
    Flight,
    Leader,
    Mail,
    Pool,
    Row,
    State,
    Unsure,
    put,
    write_agent,
    write_pool,
    write_row,
)
from bursar_testing.grantmodel.translation import plus


class Moves:
    """The first state of a setting, and those that follow."""

    def __init__(self, setting: Setting, rules: Rules = PRODUCT) -> None:
        self.setting = setting
        self.rules = rules
        self.leading = Leading(setting, rules)
        zero = setting.zero
        self._ones = [put(zero, at, 1) for at in range(len(zero))]
        self._nobody = Agent(0, zero, 0, zero, Mail(0, zero, zero), zero, zero, None, None)

    def initial(self) -> State:
        """Pools that one leader has claimed, and nothing else."""
        setting, zero = self.setting, self.setting.zero
        granted, epoch = (None, 0) if setting.fresh else (zero, 1)
        pools = tuple(Pool(granted, limit, epoch, 0, zero, ()) for limit in setting.limits)
        slots = len(setting.pool_of)
        leader = Leader(1, not setting.fresh, (CURRENT,) * len(pools), (CURRENT,) * slots)
        budget = Budget(
            setting.users,
            setting.takeovers,
            setting.lost,
            setting.slow,
            setting.uses,
            setting.jobs,
            len(setting.limited),
            setting.torn,
            setting.edits,
            setting.pool_edits,
        )
        return State(pools, (None,) * slots, ((),) * slots, (leader,), None, budget)

    def after(self, state: State) -> Iterator[Step]:
        """Every next state, under its lowest numbers."""
        unlisted = not self.rules.lists
        for label, after in self._all(state):
            yield label, canonical(after, unlisted=unlisted)

    def _all(self, state: State) -> Iterator[Step]:
        for leader in state.leaders:
            yield from self.leading.steps(state, leader)
            for change in self.leading.changes(state, leader):
                yield from self._outcomes(change)
        if state.flight is not None:
            yield ("lands",), landed(state, state.flight)
        yield from self.agents(state)
        yield from self._taken_over(state)
        yield from self._jobs(state)
        yield from self._users(state)
        yield from self._hands(state)

    # writes

    def _outcomes(self, change: Change) -> Iterator[Step]:
        state, budget = change.base, change.base.budget
        yield change.label, done(change)
        if budget.lost:
            less = state._replace(budget=budget._replace(lost=budget.lost - 1))
            yield (*change.label, "ANSWER LOST"), done(change._replace(base=less), answered=False)
        if budget.slow and state.flight is None:
            flight = Flight(change.epoch, change.pool, change.slot, change.value, change.opened, change.closed)
            yield (*change.label, "SLOW"), state._replace(flight=flight, budget=budget._replace(slow=budget.slow - 1))

    def _taken_over(self, state: State) -> Iterator[Step]:
        if not state.budget.takeovers:
            return
        rows = (CURRENT,) * len(state.rows)
        epoch = 1 + max([leader.epoch for leader in state.leaders] + [pool.epoch for pool in state.pools])
        new = Leader(epoch, False, (CURRENT,) * len(state.pools), rows)
        less = state._replace(budget=state.budget._replace(takeovers=state.budget.takeovers - 1))
        if len(state.leaders) < self.setting.leaders:
            yield ("TAKES OVER", epoch), less._replace(leaders=(new, *state.leaders))
            return
        for ended in state.leaders:
            others = tuple(leader for leader in state.leaders if leader is not ended)
            yield ("TAKES OVER", epoch, "ends", ended.epoch), less._replace(leaders=(new, *others))

    # the books and the scheduler

    def agents(self, state: State) -> Iterator[Step]:
        """What is published is applied; what is applied, and what was used, is acknowledged."""
        for slot, lives in enumerate(state.agents):
            for life, agent in enumerate(lives):
                for label, after in self._agent(agent):
                    yield (label, slot, life), write_agent(state, slot, life, after)

    def _agent(self, agent: Agent) -> Iterator[tuple[str, Agent]]:
        newer = agent.published > agent.kept_revision
        if newer or (not self.rules.orders and agent.published != agent.kept_revision):
            yield "applies", agent._replace(kept_revision=agent.published, kept=agent.granted)
        now = Mail(agent.kept_revision, agent.used, agent.committed)
        if not self.setting.late:
            if agent.ack != now:
                yield "acknowledges", agent._replace(ack=now)
            return
        if agent.mail is not None:
            yield "acknowledgement arrives", agent._replace(ack=agent.mail, mail=None)
        elif agent.ack != now:
            yield "acknowledges", agent._replace(mail=now)

    def _jobs(self, state: State) -> Iterator[Step]:
        budget = state.budget
        for slot, lives in enumerate(state.agents):
            for life, agent in enumerate(lives):
                for at, one in enumerate(self._ones):
                    if agent.used[at] + agent.committed[at] >= agent.kept[at]:
                        continue
                    if budget.uses:
                        after = write_agent(state, slot, life, agent._replace(used=plus(agent.used, one)))
                        yield ("uses", slot, life), after._replace(budget=budget._replace(uses=budget.uses - 1))
                    if budget.jobs:
                        after = write_agent(state, slot, life, agent._replace(committed=plus(agent.committed, one)))
                        yield ("job starts", slot, life), after._replace(budget=budget._replace(jobs=budget.jobs - 1))
                yield from self.ended(state, slot, life)

    def ended(self, state: State, slot: int, life: int) -> Iterator[Step]:
        """Jobs end, having used all they might or nothing."""
        agent = state.agents[slot][life]
        if any(agent.committed):
            over = agent._replace(committed=self.setting.zero)
            yield ("jobs end early", slot, life), write_agent(state, slot, life, over)
            used = over._replace(used=plus(agent.used, agent.committed))
            yield ("jobs end", slot, life), write_agent(state, slot, life, used)

    # people

    def _users(self, state: State) -> Iterator[Step]:
        if not state.budget.users:
            return
        less = state._replace(budget=state.budget._replace(users=state.budget.users - 1))
        for slot, row in enumerate(state.rows):
            if row is None:
                yield from self._created(less, slot)
            elif not row.deleting:
                for asked in self.setting.wants:
                    if asked != row.asked:
                        yield ("USER SETS", slot, asked), write_row(less, slot, row._replace(asked=asked), 0)
                after = row._replace(deleting=True) if row.finalizer else None
                yield ("USER DELETES", slot), removed(less, slot) if after is None else write_row(less, slot, after, 0)

    def _created(self, state: State, slot: int) -> Iterator[Step]:
        lives, zero = state.agents[slot], self.setting.zero
        if len(lives) >= self.setting.lives:
            return
        for asked in self.setting.wants:
            row = Row(len(lives), asked, False, self.setting.stamped, zero, zero, 0, 0, 0)
            after = state._replace(agents=put(state.agents, slot, (*lives, self._nobody)))
            yield ("USER CREATES", slot, asked), write_row(after, slot, row, 0)

    def _hands(self, state: State) -> Iterator[Step]:
        budget, zero = state.budget, self.setting.zero
        if budget.limited:
            at, limit = self.setting.limited[-budget.limited]
            less = state._replace(budget=budget._replace(limited=budget.limited - 1))
            yield ("LIMIT", at, limit), write_pool(less, at, state.pools[at]._replace(limit=limit), 0)
        if budget.pool_edits:
            less = state._replace(budget=budget._replace(pool_edits=budget.pool_edits - 1))
            for at, pool in enumerate(state.pools):
                yield ("POOL WIPED", at), write_pool(less, at, Pool(None, pool.limit, 0, 0, zero, ()), 0)
                yield ("POOL EMPTIED", at), write_pool(less, at, pool._replace(granted=zero, spent=zero, intents=()), 0)
        for slot, row in enumerate(state.rows):
            if row is not None and budget.torn and row.finalizer:
                yield ("TORN AWAY", slot), removed(state._replace(budget=budget._replace(torn=budget.torn - 1)), slot)
            if row is not None and budget.edits and (any(row.granted) or any(row.charged)):
                less = state._replace(budget=budget._replace(edits=budget.edits - 1))
                wiped = row._replace(granted=zero, charged=zero, revision=0, sequence=0, charge_sequence=0)
                yield ("STATUS WIPED", slot), write_row(less, slot, wiped, 0)
                raised = row._replace(granted=plus(row.granted, self._ones[0]))
                yield ("GRANTED EDITED", slot), write_row(less, slot, raised, 0)


def done(change: Change, *, answered: bool = True) -> State:
    """The state after the write has landed."""
    state = change.base
    if change.pool is not None and isinstance(change.value, Pool):
        own = CURRENT if answered else Unsure(change.before or state.pools[change.pool], change.value, change.closed)
        return write_pool(state, change.pool, change.value, change.epoch, own)
    assert change.slot is not None
    assert not isinstance(change.value, Pool)
    if change.value is None:
        state = _left(state, change.slot)
    return write_row(state, change.slot, change.value, change.epoch, answered=answered)


def landed(state: State, flight: Flight) -> State:
    """The write that was under way has landed: nothing came before it."""
    change = Change(("lands",), state, flight.epoch, flight.pool, flight.slot, flight.value)
    return done(change)._replace(flight=None)


def removed(state: State, slot: int) -> State:
    """The object is gone by another hand than a leader's."""
    return write_row(_left(state, slot), slot, None, 0)


def _left(state: State, slot: int) -> State:
    """Remember what the pools held for it, and who of the leaders will be told so by its informer."""
    row = state.rows[slot]
    if row is None or not any(row.charged):
        return state
    agent = state.agents[slot][row.life]
    state = write_agent(state, slot, row.life, agent._replace(left=row.charged))
    leaders = tuple(
        leader._replace(saw=tuple(sorted((*leader.saw, (slot, row.life))))) if leader.listed else leader
        for leader in state.leaders
    )
    return state._replace(leaders=leaders)

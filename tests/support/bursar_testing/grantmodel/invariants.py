"""What holds in every state, on every step, and where everything has come to rest."""

from collections.abc import Iterator

from bursar_domain.room import capped, room
from bursar_testing.grantmodel.leading import Label
from bursar_testing.grantmodel.setting import Setting, Vec
from bursar_testing.grantmodel.state import TOMB, Agent, Intent, Row, State
from bursar_testing.grantmodel.translation import Translation, at_least, hours_of, plus, upper


class Invariants:
    """Each answers with what is wrong, or with nothing."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._translation = Translation(setting)
        pools = range(len(setting.parents))
        paths = [setting.path(pool) for pool in setting.pool_of]
        self._below = [[slot for slot, path in enumerate(paths) if at in path] for at in pools]
        self._children = [[child for child in pools if setting.parents[child] == at] for at in pools]
        self._paths = paths
        self._caps = dict(setting.caps)

    # in every state

    def state(self, state: State) -> str | None:
        """What is wrong with a state."""
        return next(self._wrong(state), None)

    def _wrong(self, state: State) -> Iterator[str]:
        if not self._setting.edits:
            yield from self._allocations(state)
        for at, pool in enumerate(state.pools):
            granted = pool.granted
            if granted is None:
                continue
            kept = self._sum([_reach(agent) for slot in self._below[at] for agent in state.agents[slot]])
            if self._setting.pool_edits:
                if not at_least(pool.limit, kept):
                    yield f"pool {at}: agents grant or used {kept}, more than its limit {pool.limit}"
                continue
            if not at_least(granted, kept):
                yield f"pool {at}: agents grant or used {kept}, more than the {granted} that it granted"
            charged = plus(self._charged(state, at), pool.spent)
            if self._setting.edits:
                continue
            yield from self._beyond_share(state, at)
            if not at_least(granted, charged):
                yield f"pool {at}: {charged} are charged and spent, more than the {granted} that it granted"
            below = [state.pools[child].granted for child in self._children[at]]
            if not self._setting.torn and not at_least(granted, self._sum([item for item in below if item is not None])):
                yield f"pool {at}: the pools below it granted {below}, more than its {granted}"
            if not self._setting.torn and not self._setting.fresh:
                exact = self._sum([charged, *(self._held(state, intent) for intent in pool.intents)])
                if granted != exact:
                    yield f"pool {at}: {granted} are granted, rows and intents say {exact}"

    def _beyond_share(self, state: State, at: int) -> Iterator[str]:
        cap = self._caps.get(at)
        if cap is not None and not at_least(cap, held := self._held_by_project(state, at)):
            yield f"pool {at}: a project holds {held}, more than {cap}"

    def _held_by_project(self, state: State, at: int) -> Vec:
        gone = [
            agent.used for slot in self._below[at] for life, agent in enumerate(state.agents[slot]) if state.is_gone(slot, life)
        ]
        return self._sum([self._charged(state, at), *gone])

    def _allocations(self, state: State) -> Iterator[str]:
        for slot, lives in enumerate(state.agents):
            for life, agent in enumerate(lives):
                row = state.rows[slot]
                if row is not None and row.life == life:
                    if not at_least(row.charged, row.granted):
                        yield f"allocation {slot}: {row.granted} are granted, {row.charged} charged"
                    if not at_least(row.charged, upper(agent.kept, agent.committed)):
                        yield f"allocation {slot}: the agent grants {agent.kept}, {row.charged} are charged"
                elif not self._setting.torn and any(agent.kept):
                    yield f"allocation {slot}: it is gone, and the agent grants {agent.kept}"

    def _held(self, state: State, intent: Intent) -> Vec:
        """What a pool holds for an open operation beyond the row's charge and what is spent already."""
        hold = upper(intent.start, intent.to)
        row = state.rows[intent.slot]
        if row is None or row.life != intent.life:
            return hold
        return tuple(x - y for x, y in zip(hold, row.charged, strict=True))

    def _charged(self, state: State, at: int) -> Vec:
        return self._sum([row.charged for slot in self._below[at] if (row := state.rows[slot]) is not None])

    def _sum(self, items: list[Vec]) -> Vec:
        total = self._setting.zero
        for item in items:
            total = plus(total, item)
        return total

    # on every step

    def step(self, before: State, label: Label, after: State) -> str | None:
        """What is wrong with a step: no write of a batch lifts a total over the limit that it read."""
        if label[0] not in ("writes pool", "lands"):
            return None
        for at, (old, new) in enumerate(zip(before.pools, after.pools, strict=True)):
            if old is new or old.granted is None or new.granted is None:
                continue
            for was, now, limit in zip(old.granted, new.granted, new.limit, strict=True):
                if now > was and now > limit:
                    return f"pool {at} was raised to {new.granted}, over its limit {new.limit}"
        return None

    # at rest

    def rest(self, state: State) -> str | None:
        """What is left over where nothing more is to be done."""
        return next(self._unfinished(state), None)

    def _unfinished(self, state: State) -> Iterator[str]:
        for at, pool in enumerate(state.pools):
            charged = plus(self._charged(state, at), pool.spent)
            if pool.intents:
                yield f"pool {at} has {len(pool.intents)} open operations"
            if pool.granted != charged:
                yield f"pool {at}: {pool.granted} are granted, {charged} are charged and spent"
        for slot, lives in enumerate(state.agents):
            row = state.rows[slot]
            for life, agent in enumerate(lives):
                if row is not None and row.life == life:
                    yield from self._unsettled(state, slot, row, agent)
                elif agent.published and (agent.published != TOMB or any(agent.kept)):
                    yield f"allocation {slot} is gone and still published"

    def _unsettled(self, state: State, slot: int, row: Row, agent: Agent) -> Iterator[str]:
        if row.deleting:
            yield f"allocation {slot} is still deleting"
            return
        if agent.kept != row.granted:
            yield f"allocation {slot}: the agent grants {agent.kept} instead of {row.granted}"
        if row.charged != upper(row.granted, tuple(map(min, row.charged, agent.used))):
            yield f"allocation {slot}: {row.charged} are charged for {row.granted}"
        if not at_least(row.asked, row.granted):
            yield f"allocation {slot}: {row.granted} are granted, {row.asked} asked"
        if row.granted != row.asked:
            path = [self._translation.room(at, state.pools[at]) for at in self._paths[slot]]
            raised, held = hours_of(upper(row.asked, row.charged)), hours_of(row.charged)
            beyond = [
                cause
                for at, pool in zip(self._paths[slot], path, strict=True)
                for cause in capped(pool, raised, held, hours_of(self._held_by_project(state, at)))
            ]
            if not room(path, raised, held) and not beyond:
                yield f"allocation {slot}: {row.asked} fit and {row.granted} are granted"


def _reach(agent: Agent) -> Vec:
    """Hours that the scheduler lets run, or that ran already."""
    return upper(agent.kept, plus(agent.used, agent.committed))

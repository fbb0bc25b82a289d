"""What leaders may do next: claims, lists, writes of allocations and pools, publications, tombstones, recounts."""

from collections.abc import Iterator, Sequence
from itertools import chain, combinations
from typing import NamedTuple, TypeVar

from bursar_testing.grantmodel.decisions import Decisions, Outlook, Spent, Torn
from bursar_testing.grantmodel.rules import Rules
from bursar_testing.grantmodel.setting import Setting
from bursar_testing.grantmodel.state import (
    CURRENT,
    TOMB,
    Agent,
    Leader,
    Own,
    Pool,
    PoolView,
    Row,
    State,
    Unsure,
    put,
    write_agent,
)
from bursar_testing.grantmodel.translation import at_least

Label = tuple[object, ...]
Step = tuple[Label, State]
T = TypeVar("T")


class Change(NamedTuple):
    """A compare-and-swap of one object, that lands on what is stored now."""

    label: Label
    base: State
    epoch: int
    pool: int | None
    slot: int | None
    value: Pool | Row | None
    opened: tuple[int, ...] = ()
    closed: tuple[int, ...] = ()
    before: Pool | None = None
    """The writer's own book, where it differs from what is stored."""


class Leading:
    """Moves of leaders. ``changes`` may land, be lost or be slow; ``steps`` happen at once."""

    def __init__(self, setting: Setting, rules: Rules) -> None:
        self._setting = setting
        self._rules = rules
        self._paths = [setting.path(pool) for pool in setting.pool_of]
        self._pools = range(len(setting.parents))
        self._slots = range(len(setting.pool_of))
        self.decisions = Decisions(setting, rules)

    # steps that nothing can come between

    def steps(self, state: State, leader: Leader) -> Iterator[Step]:
        """Fresh copies, the list after the claims, publications and tombstones."""
        yield from self.refreshed(state, leader)
        sure = not any(isinstance(view, Unsure) for view in leader.pools)
        claimed = all(pool.epoch == leader.epoch for pool in self.decisions.outlook(state, leader).pools)
        if not leader.listed and sure and (claimed or not self._rules.fences):
            listed = leader._replace(listed=True, rows=(CURRENT,) * len(leader.rows))
            if self._rules.corrects:
                listed = listed._replace(pools=self.decisions.corrected(state, listed))
            yield ("list", leader.epoch), _led(state, leader, listed)
        if leader.listed or not self._rules.lists:
            outlook = self.decisions.outlook(state, leader)
            for slot in self._slots:
                yield from self._published(state, outlook, slot)
                yield from self._tombstoned(state, outlook, slot)

    def refreshed(self, state: State, leader: Leader) -> Iterator[Step]:
        """One copy brought up to date. Who reads a later term ends."""
        for at in self._pools:
            if not _rests(leader.pools[at]):
                fenced = self._rules.fences and state.pools[at].epoch > leader.epoch
                view = self.decisions.taken_in(at, state.pools[at], leader.pools[at], leader.epoch)
                after = None if fenced else leader._replace(pools=put(leader.pools, at, view))
                yield ("reads pool", leader.epoch, at), _led(state, leader, after)
        for slot in self._slots:
            if leader.rows[slot] != CURRENT and (leader.listed or not self._rules.lists):
                yield ("reads", leader.epoch, slot), _led(state, leader, leader._replace(rows=put(leader.rows, slot, CURRENT)))

    def _published(self, state: State, outlook: Outlook, slot: int) -> Iterator[Step]:
        row = outlook.rows[slot]
        if row is None or not row.revision or not at_least(row.charged, row.granted):
            return
        agent = state.agents[slot][row.life]
        newer = row.revision > agent.published or (not self._rules.orders and row.revision != agent.published)
        if newer and agent.published != TOMB:
            after = agent._replace(published=row.revision, granted=row.granted)
            yield ("publishes", outlook.leader.epoch, slot, row.granted), write_agent(state, slot, row.life, after)

    def _tombstoned(self, state: State, outlook: Outlook, slot: int) -> Iterator[Step]:
        held = {(one, life) for one, life, _ in self.torn(state, outlook)} if self._rules.keeps else set()
        for life, agent in enumerate(state.agents[slot]):
            if outlook.shows(slot, life) or not state.is_gone(slot, life) or agent.published == TOMB or (slot, life) in held:
                continue
            if agent.published or outlook.intents(slot, life):
                after = agent._replace(published=TOMB, granted=self._setting.zero)
                yield ("tombstone", outlook.leader.epoch, slot, life), write_agent(state, slot, life, after)

    # compare-and-swap

    def changes(self, state: State, leader: Leader) -> Iterator[Change]:
        """Writes that would land now: those that rest on a current copy."""
        if self._rules.fences:
            yield from self.claims(state, leader)
        if not (leader.listed or not self._rules.lists):
            return
        outlook = self.decisions.outlook(state, leader)
        yield from self.rows(state, outlook)
        under_way = state.flight is not None and state.flight.epoch == leader.epoch and state.flight.pool is not None
        if not under_way:
            for at in self._pools:
                yield from self.pool(state, outlook, at)
            if self._setting.recounts:
                yield from self.recounts(state, outlook)

    def claims(self, state: State, leader: Leader) -> Iterator[Change]:
        """This term, written into a pool."""
        pools = self.decisions.outlook(state, leader).pools
        for at in self._pools:
            if _rests(leader.pools[at]) and pools[at].epoch < leader.epoch:
                value = self.decisions.claim(at, pools[at], leader.epoch)
                yield Change(("claims", leader.epoch, at), state, leader.epoch, at, None, value)

    def rows(self, state: State, outlook: Outlook) -> Iterator[Change]:
        """The next write of each allocation."""
        epoch = outlook.leader.epoch
        for slot in self._slots:
            row = outlook.rows[slot]
            if row is None or outlook.leader.rows[slot] != CURRENT:
                continue
            if state.flight is not None and state.flight.epoch == epoch and state.flight.slot == slot:
                continue
            made = self.decisions.row(outlook, slot, state.agents[slot][row.life])
            if made is not None:
                yield Change((made[0], epoch, slot, *_told(made[1])), state, epoch, None, slot, made[1])

    def pool(self, state: State, outlook: Outlook, at: int) -> Iterator[Change]:
        """Every next write of a pool: whoever has come to wait by now is served, whatever is known to be gone is closed."""
        before = outlook.usable[at]
        if before is None or not _rests(outlook.leader.pools[at]):
            return
        waiting = self.waiting(state, outlook) if at == 0 else ()
        gone, torn = self.gone(state, outlook), self.torn(state, outlook)
        seen: set[object] = set()
        for requests in _subsets(waiting):
            for with_gone in _subsets(gone):
                for with_torn in _subsets(torn):
                    change = self.written(state, outlook, at, requests, with_gone, with_torn)
                    if change is not None and change.value not in seen:
                        seen.add(change.value)
                        yield change

    def written(
        self,
        state: State,
        outlook: Outlook,
        at: int,
        requests: tuple[int, ...],
        gone: tuple[Spent, ...],
        torn: tuple[Torn, ...],
    ) -> Change | None:
        """One write of a pool; None where it changes nothing."""
        epoch = outlook.leader.epoch
        asking = [(slot, self._agent(state, outlook, slot)) for slot in requests]
        spent = self._spent(state) if self._setting.caps and at == 0 else ()
        made = self.decisions.write(outlook, at, asking, gone, torn, spent)
        if made.pool == outlook.pools[at] == state.pools[at]:
            return None
        label = ("writes pool", epoch, at, "opens", made.opened, "closes", made.closed, made.pool.granted)
        return Change(label, state, epoch, at, None, made.pool, made.opened, made.closed, outlook.pools[at])

    def _spent(self, state: State) -> tuple[Spent, ...]:
        lives = [(slot, life, agent) for slot in self._slots for life, agent in enumerate(state.agents[slot])]
        return tuple([(slot, life, agent.ack.used) for slot, life, agent in lives if any(agent.ack.used)])

    def waiting(self, state: State, outlook: Outlook) -> tuple[int, ...]:
        """Allocations that want something opened."""
        return tuple([slot for slot in self._slots if self._wants(state, outlook, slot)])

    def _wants(self, state: State, outlook: Outlook, slot: int) -> bool:
        row = outlook.rows[slot]
        return row is not None and bool(self.decisions.wanted(outlook, slot, state.agents[slot][row.life]))

    def _agent(self, state: State, outlook: Outlook, slot: int) -> Agent:
        row = outlook.rows[slot]
        assert row is not None
        return state.agents[slot][row.life]

    def gone(self, state: State, outlook: Outlook) -> tuple[Spent, ...]:
        """What is proven gone, with the hours that it used."""
        return tuple(
            [
                (slot, life, agent.ack.used)
                for slot in self._slots
                for life, agent in enumerate(state.agents[slot])
                if state.is_gone(slot, life)
                and not outlook.shows(slot, life)
                and (agent.published == agent.ack.revision == TOMB or not self._rules.proves)
                and outlook.intents(slot, life)
            ]
        )

    def torn(self, state: State, outlook: Outlook) -> tuple[Torn, ...]:
        """What was torn away and whose hours not every pool on its path holds open yet."""
        found = []
        for slot in self._slots:
            for life, agent in enumerate(state.agents[slot]):
                if agent.published == TOMB or outlook.shows(slot, life) or not state.is_gone(slot, life):
                    continue
                intents = outlook.intents(slot, life)
                if not (agent.published or intents):
                    continue
                saw = (slot, life) in outlook.leader.saw
                charged = agent.left if saw and agent.left is not None else agent.granted
                kept = slot not in outlook.closing and {at for at, _ in intents} >= set(self._paths[slot])
                if any(charged) and not kept:
                    found.append((slot, life, charged))
        return tuple(found)

    def recounts(self, state: State, outlook: Outlook) -> Iterator[Change]:
        """Totals from a list of the allocations; the copies are as new afterwards."""
        epoch, leader = outlook.leader.epoch, outlook.leader
        for at in self._pools:
            pool = outlook.usable[at]
            if pool is None or pool.intents or not _rests(leader.pools[at]):
                continue
            may_lower = not self._rules.settles or self._is_settled(state, outlook)
            counted = self.decisions.recount(outlook, at, state.rows, may_lower=may_lower)
            if counted != state.pools[at]:
                rows = [CURRENT if state.rows[slot] is not None else view for slot, view in enumerate(leader.rows)]
                base = _led(state, leader, leader._replace(rows=tuple(rows)))
                yield Change(("recounts", epoch, at, counted.granted), base, epoch, at, None, counted)

    def _is_settled(self, state: State, outlook: Outlook) -> bool:
        for slot in self._slots:
            for life, agent in enumerate(state.agents[slot]):
                row = state.rows[slot] if self._rules.relists else outlook.rows[slot]
                if row is not None and row.life == life:
                    if agent.published and not self.decisions.is_settled(row, slot, agent):
                        return False
                elif not agent.published == agent.ack.revision == TOMB and (
                    agent.published or (self._rules.misses and outlook.shows(slot, life))
                ):
                    return False
        return True


def _rests(view: PoolView) -> bool:
    """Whether a write that rests on the copy lands."""
    return view == CURRENT or isinstance(view, Own)


def _led(state: State, before: Leader, after: Leader | None) -> State:
    leaders = tuple([after if leader is before else leader for leader in state.leaders])
    return state._replace(leaders=tuple([leader for leader in leaders if leader is not None]))


def _told(row: Row | None) -> Label:
    return () if row is None else (row.granted, row.charged)


def _subsets(items: Sequence[T]) -> Iterator[tuple[T, ...]]:
    return chain.from_iterable(combinations(items, size) for size in range(len(items), -1, -1))

"""Random schedules over the pure decisions: two leaders with stale copies, lost answers, take-overs, deaths, users and agents.

Each write is a compare-and-swap on what is stored; whatever is not scheduled is a pause, a crash or a delay. After every step
the invariants hold, and a fair run of the newest leader from wherever the schedule ended comes to rest with nothing left over.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from bursar_domain.room import Pool, room
from bursar_operator.domain import batch, grant, hours, poolstatus
from bursar_operator.domain.batch import Request, Tree
from bursar_operator.domain.grant import TOMBSTONE, Facts
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, GrantState, Row
from bursar_operator.domain.shape import Shape

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
STEPS = 400
ROOT, LEAVES = "root", ("left", "right")


@dataclass
class Agent:
    """One allocation at the scheduler: what is published, kept, acknowledged and used."""

    published: tuple[int, Hours] | None = None
    kept: tuple[int, Hours] = (0, {})
    ack: int = 0
    used: dict[str, int] = field(default_factory=dict)


@dataclass
class Leader:
    """A term and its copies; None is a pool whose write got no answer."""

    epoch: int
    books: dict[str, Book | None]
    rows: dict[str, Row]
    listed: bool = False


class World:
    """What is stored, and who acts on it."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        limits = {ROOT: {"cpu": 6, "gpu": 4}, "left": {"cpu": 5, "gpu": 3}, "right": {"cpu": 4, "gpu": 4}}
        self.books = {name: book(name, None if name == ROOT else ROOT, limit) for name, limit in limits.items()}
        self.rows: dict[str, Row] = {}
        self.agents: dict[str, Agent] = {}
        self.version = 1
        self.leaders = [self.term(1), self.term(0)]

    def next(self) -> int:
        self.version += 1
        return self.version

    def term(self, epoch: int) -> Leader:
        return Leader(epoch, dict(self.books), dict(self.rows))

    # writes

    def put_book(self, leader: Leader, after: Book) -> None:
        before = self.books[after.name]
        if after.version != before.version or after == before:
            return
        raised = hours.positive(hours.minus(after.granted or {}, before.granted or {}))
        for name in raised:
            assert (after.granted or {})[name] <= after.pool.limit.get(name, 0), f"{after.name} was raised over its limit"
        stored = replace(after, version=self.next())
        self.books[after.name] = stored
        leader.books[after.name] = None if self.random.random() < 0.15 else stored

    def put_row(self, leader: Leader, after: Row | None, before: Row) -> None:
        if self.rows.get(before.uid) != before:
            return
        if after is None:
            del self.rows[before.uid]
            leader.rows.pop(before.uid, None)
            return
        stored = replace(after, version=self.next())
        self.rows[before.uid] = stored
        if self.random.random() >= 0.15:
            leader.rows[before.uid] = stored

    # what a leader sees

    def tree(self, leader: Leader) -> Tree:
        usable = {name: item for name, item in leader.books.items() if item is not None and item.epoch == leader.epoch}
        return Tree(Shape.of(ROOT, {name: item.pool.parent for name, item in self.books.items()}), usable)

    def facts(self, leader: Leader, row: Row) -> Facts:
        agent, path = self.agents[row.uid], (ROOT, row.pool_ref or "")
        intents = {
            name: item.intents[row.uid] for name, item in leader.books.items() if item is not None and row.uid in item.intents
        }
        usable = self.tree(leader).on(path)
        leaf_book = leader.books.get(path[1])
        root_intent = intents.get(ROOT)
        stuck = (
            leaf_book is not None
            and root_intent is not None
            and row.uid not in leaf_book.intents
            and bool(room([leaf_book.pool], root_intent.to, root_intent.from_))
        )
        return Facts(
            row=row,
            want=grant.want(row, agent.used, {}, is_over=False),
            path=path,
            intents=intents,
            known=usable is not None,
            stuck=stuck,
            ack=agent.ack,
            ledger=agent.published,
            used=agent.used,
        )

    # what a leader does

    def claim(self, leader: Leader) -> None:
        for item in list(leader.books.values()):
            if item is not None and (item.epoch or 0) < leader.epoch:
                self.put_book(leader, poolstatus.claimed(item, leader.epoch))
                return
        current = all(leader.books[name] == stored for name, stored in self.books.items())
        if not leader.listed and current:
            leader.rows, leader.listed = dict(self.rows), True

    def reconcile(self, leader: Leader, uid: str) -> None:
        row = leader.rows.get(uid)
        if row is None or not leader.listed:
            return
        facts = self.facts(leader, row)
        state = grant.settle(facts)
        if not row.finalizer and not row.deleting:
            self.put_row(leader, replace(row, finalizer=True), row)
        elif grant.finished(facts, state) and state == row.state:
            self.put_row(leader, None, row)
        elif state != row.state:
            self.put_row(leader, replace(row, state=state), row)

    def write_pool(self, leader: Leader, name: str, now: float = 0.0) -> None:
        if not leader.listed:
            return
        requests = [
            Request(row, found, since=0.0)
            for row in leader.rows.values()
            if (found := grant.operations(self.facts(leader, row), row.state))
        ]
        gone = {
            uid: agent.used
            for uid, agent in self.agents.items()
            if uid not in self.rows and agent.ack == TOMBSTONE and agent.published and agent.published[0] == TOMBSTONE
        }
        visible = {uid: row for uid, row in leader.rows.items() if uid not in gone}
        made = batch.write(name, self.tree(leader), requests, visible.get, lambda row: row.pool_ref, gone, now)
        if made is not None:
            self.put_book(leader, made.book)

    def publish(self, leader: Leader, uid: str) -> None:
        row, agent = leader.rows.get(uid), self.agents[uid]
        if uid not in self.rows:
            agent.published = TOMBSTONE, {}
        elif row is not None and leader.listed and row.state.revision > (agent.published or (0, {}))[0]:
            agent.published = row.state.revision, row.state.granted

    def refresh(self, leader: Leader) -> None:
        if self.random.random() < 0.6:
            leader.books, leader.rows = dict(self.books), dict(self.rows)
        elif self.random.random() < 0.5:
            name = self.random.choice(list(self.books))
            leader.books[name] = self.books[name]
        elif self.agents:
            uid = self.random.choice(list(self.agents))
            if uid in self.rows:
                leader.rows[uid] = self.rows[uid]
            else:
                leader.rows.pop(uid, None)

    # users and agents

    def user(self) -> None:
        choice = self.random.random()
        if choice < 0.35 or not self.rows:
            if len(self.rows) < 3 and len(self.agents) < 6:
                self.create()
            return
        uid = self.random.choice(list(self.rows))
        row = self.rows[uid]
        if choice < 0.75 and not row.deleting:
            self.rows[uid] = replace(row, asked=self.some_hours(), version=self.next())
        elif row.finalizer:
            self.rows[uid] = replace(row, deleting=True, version=self.next())
        else:
            del self.rows[uid]

    def create(self) -> None:
        uid = f"u{len(self.agents)}"
        self.agents[uid] = Agent()
        self.rows[uid] = Row(
            uid=uid,
            namespace="n",
            name=uid,
            version=self.next(),
            generation=1,
            created="",
            deleting=False,
            finalizer=self.random.random() < 0.7,
            cluster="alpha",
            pool_ref=self.random.choice(LEAVES),
            start=START,
            end=END,
            grace_days=0,
            asked=self.some_hours(),
            state=GrantState(),
        )

    def some_hours(self) -> dict[str, int]:
        asked = {"cpu": self.random.randint(1, 4)}
        return asked | ({"gpu": self.random.randint(1, 3)} if self.random.random() < 0.5 else {})

    def agent(self, uid: str) -> None:
        agent = self.agents[uid]
        if agent.published and agent.published[0] > agent.kept[0]:
            agent.kept = agent.published
        elif agent.ack != agent.kept[0]:
            agent.ack = agent.kept[0]
        else:
            for name, limit in agent.kept[1].items():
                if agent.used.get(name, 0) < limit and self.random.random() < 0.3:
                    agent.used[name] = agent.used.get(name, 0) + 1

    # schedule

    def step(self) -> None:
        newest = max(self.leaders, key=lambda item: item.epoch)
        leader = newest if self.random.random() < 0.8 else self.random.choice(self.leaders)
        uid = self.random.choice(list(self.agents)) if self.agents else None
        actions: list[tuple[float, Callable[[], None]]] = [
            (0.7, self.user),
            (1.0, lambda: self.claim(leader)),
            (6.0, lambda: self.refresh(leader)),
            (4.0, lambda: self.write_pool(leader, self.random.choice(list(self.books)))),
            (0.1, self.take_over),
        ]
        if uid is not None:
            actions += [
                (4.0, lambda: self.reconcile(leader, uid)),
                (1.0, lambda: self.publish(leader, uid)),
                (1.0, lambda: self.agent(uid)),
            ]
        self.random.choices([action for _, action in actions], [weight for weight, _ in actions])[0]()
        self.check()

    def take_over(self) -> None:
        epoch = 1 + max(leader.epoch for leader in self.leaders)
        self.leaders[self.random.randrange(2)] = self.term(epoch)

    def check(self) -> None:
        for name, stored in self.books.items():
            below = {name} | ({*LEAVES} if name == ROOT else set())
            held = hours.total([row.state.charged for row in self.rows.values() if row.pool_ref in below])
            assert hours.at_least(stored.granted or {}, hours.plus(held, stored.spent)), f"{name} holds more than it granted"
        for uid, row in self.rows.items():
            assert hours.at_least(row.state.charged, row.state.granted), f"{uid}: granted beyond charged"
            assert hours.at_least(row.state.charged, self.agents[uid].kept[1]), f"{uid}: the agent keeps more than is charged"
        for uid, agent in self.agents.items():
            assert uid in self.rows or hours.is_zero(agent.kept[1]), f"{uid}: gone, and the agent still grants"
        root = self.books[ROOT].granted or {}
        children = hours.total([self.books[name].granted or {} for name in LEAVES])
        assert hours.at_least(root, children), "the leaves hold more than the root"
        used = hours.total([agent.used for agent in self.agents.values()])
        assert hours.at_least(root, used), "hours that were used came back"

    def come_to_rest(self) -> None:
        """A fair run: the newest leader on fresh copies, agents that answer."""
        leader = max(self.leaders, key=lambda item: item.epoch)
        for _ in range(400):
            before = self.snapshot()
            self.random.seed(1)  # no more lost answers: every answer below 0.15 would be lost
            leader.books, leader.rows = dict(self.books), dict(self.rows)
            self.calm(lambda: self.claim(leader), leader)
            for uid in list(self.agents):
                self.calm(lambda uid=uid: self.reconcile(leader, uid), leader)  # type: ignore[misc]
                self.publish(leader, uid)
                agent = self.agents[uid]
                agent.kept = max(agent.kept, agent.published or (0, {}), key=lambda item: item[0])
                agent.ack = agent.kept[0]
            for name in (*LEAVES, ROOT):
                self.calm(lambda name=name: self.write_pool(leader, name), leader)  # type: ignore[misc]
            self.check()
            if leader.listed and self.snapshot() == before:
                return
        pytest.fail("it never came to rest")

    def calm(self, action: Callable[[], None], leader: Leader) -> None:
        action()
        leader.books, leader.rows = dict(self.books), dict(self.rows)

    def snapshot(self) -> object:
        agents = {uid: (agent.published, agent.kept, agent.ack) for uid, agent in self.agents.items()}
        return dict(self.books), dict(self.rows), agents

    def leftovers(self) -> list[str]:
        found = []
        for name, stored in self.books.items():
            below = {name} | ({*LEAVES} if name == ROOT else set())
            held = hours.total([row.state.charged for row in self.rows.values() if row.pool_ref in below])
            if stored.intents or not hours.same(stored.granted or {}, hours.plus(held, stored.spent)):
                found.append(f"{name}: {stored.granted} for {held} and {stored.spent}, {len(stored.intents)} open")
        for uid, row in self.rows.items():
            state, used = row.state, self.agents[uid].used
            if row.deleting:
                found.append(f"{uid} is still deleting")
            if not hours.same(state.charged, hours.lower(state.charged, hours.upper(state.granted, used))):
                found.append(f"{uid} holds {state.charged} for {state.granted}")
            raised = hours.upper(row.asked, state.charged)
            fits = not room([self.books[ROOT].pool, self.books[row.pool_ref or ""].pool], raised, state.charged)
            if not hours.same(state.granted, row.asked) and fits:
                found.append(f"{uid} fits and has {state.granted} of {row.asked}")
        return found


def book(name: str, parent: str | None, limit: Mapping[str, int]) -> Book:
    pool = Pool(name, "alpha", parent, START, END, limit, {})
    return Book(pool, 1, 1, 1, 0, {}, {}, {})


@pytest.mark.parametrize("first", range(0, 400, 40))
def test_no_schedule_breaks_an_invariant_or_leaves_anything_behind(first: int) -> None:
    granted = 0
    for seed in range(first, first + 40):
        world = World(seed)
        for number in range(STEPS):
            try:
                world.step()
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, step {number}: {error}") from error
        world.come_to_rest()
        assert world.leftovers() == [], f"seed {seed}"
        granted += sum(not hours.is_zero(row.state.granted) for row in world.rows.values())
    assert granted > 20

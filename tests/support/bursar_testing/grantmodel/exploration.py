"""Breadth first through every state of a setting; from each, the newest leader comes to rest on fresh copies."""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from bursar_testing.grantmodel.invariants import Invariants
from bursar_testing.grantmodel.leading import Change, Label, Step
from bursar_testing.grantmodel.moves import Moves, done, landed
from bursar_testing.grantmodel.renaming import canonical
from bursar_testing.grantmodel.rules import PRODUCT, Rules
from bursar_testing.grantmodel.setting import Setting
from bursar_testing.grantmodel.state import State


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong, and the shortest way there."""

    message: str
    trace: tuple[Label, ...]

    def __str__(self) -> str:
        steps = [f"{number:3} {' '.join(map(str, label))}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([self.message, *steps])


@dataclass(frozen=True, slots=True)
class Explored:
    """How far an exploration came. ``complete``: there is no further state."""

    states: int
    transitions: int
    depth: int
    complete: bool
    violation: Violation | None


def explore(setting: Setting, rules: Rules = PRODUCT, *, most: int = 1_000_000) -> Explored:
    """Every state up to so many, until the first violation."""
    return _Exploration(setting, rules).run(most)


class _Exploration:
    """States are known by their hashes of 64 bits; only those of the present depth are kept."""

    def __init__(self, setting: Setting, rules: Rules) -> None:
        self._moves = Moves(setting, rules)
        self._invariants = Invariants(setting)
        self._resting = Resting(self._moves, self._invariants)
        self._first = self._moves.initial()
        self._known = {hash(self._first): 0}
        self._hashes = [hash(self._first)]
        self._parents = array("l", [-1])
        self._transitions = 0

    def run(self, most: int) -> Explored:
        depth, level = 0, [(0, self._first)]
        while level and len(self._hashes) <= most:
            following: list[tuple[int, State]] = []
            for number, state in level:
                stuck = self._resting.from_(state)
                if stuck is not None:
                    return self._found(depth, Violation(stuck[0], (*self._trace(number), ("comes to rest:",), *stuck[1])))
                for label, after in self._moves.after(state):
                    self._transitions += 1
                    message = self._visit(number, state, label, after, following)
                    if message is not None:
                        return self._found(depth + 1, Violation(message, (*self._trace(number), label)))
                if len(self._hashes) > most:
                    break
            depth, level = depth + 1, following
        return Explored(len(self._hashes), self._transitions, depth, not level, None)

    def _visit(self, number: int, state: State, label: Label, after: State, following: list[tuple[int, State]]) -> str | None:
        wrong = self._invariants.step(state, label, after)
        digest = hash(after)
        if wrong is None and digest not in self._known:
            self._known[digest] = len(self._hashes)
            self._hashes.append(digest)
            self._parents.append(number)
            following.append((self._known[digest], after))
            wrong = self._invariants.state(after)
        return wrong

    def _found(self, depth: int, violation: Violation) -> Explored:
        return Explored(len(self._hashes), self._transitions, depth, False, violation)

    def _trace(self, number: int) -> list[Label]:
        way = [number]
        while (above := self._parents[way[-1]]) >= 0:
            way.append(above)
        state, labels = self._first, []
        for digest in [self._hashes[item] for item in reversed(way[:-1])]:
            label, state = next(step for step in self._moves.after(state) if hash(step[1]) == digest)
            labels.append(label)
        return labels


class Resting:
    """Fair runs without faults: the newest leader on fresh copies, agents that answer. Where one was, none is made again."""

    def __init__(self, moves: Moves, invariants: Invariants) -> None:
        self._moves = moves
        self._invariants = invariants
        self._unlisted = not moves.rules.lists
        self._good: set[int] = set()

    def from_(self, state: State) -> tuple[str, list[Label]] | None:
        """What is left over in the end, and the way there."""
        way: list[int] = []
        labels: list[Label] = []
        seen: set[int] = set()
        while (digest := hash(state)) not in self._good:
            if digest in seen:
                return "it never comes to rest", labels
            seen.add(digest)
            way.append(digest)
            step = next(self._next(state), None)
            if step is None:
                left = self._invariants.rest(state)
                if left is not None:
                    return left, labels
                break
            labels.append(step[0])
            state = canonical(step[1], unlisted=self._unlisted)
        self._good.update(way)
        return None

    def _next(self, state: State) -> Iterator[Step]:
        if state.flight is not None:
            yield ("lands",), landed(state, state.flight)
        leading, leader = self._moves.leading, state.leaders[0]
        yield from leading.refreshed(state, leader)
        yield from self._moves.agents(state)
        for slot, lives in enumerate(state.agents):
            for life in range(len(lives)):
                yield from self._moves.ended(state, slot, life)
        yield from ((change.label, done(change)) for change in leading.claims(state, leader))
        yield from leading.steps(state, leader)
        if leader.listed or self._unlisted:
            yield from ((change.label, done(change)) for change in self._writes(state))

    def _writes(self, state: State) -> Iterator[Change]:
        """Allocations first, then pools from the leaves to the root, with everything that waits; a count last."""
        leading, leader = self._moves.leading, state.leaders[0]
        outlook = leading.decisions.outlook(state, leader)
        yield from leading.rows(state, outlook)
        for at in reversed(range(len(state.pools))):
            if outlook.usable[at] is not None:
                waiting = leading.waiting(state, outlook) if at == 0 else ()
                gone, torn = leading.gone(state, outlook), leading.torn(state, outlook)
                change = leading.written(state, outlook, at, waiting, gone, torn)
                if change is not None:
                    yield change
        if self._moves.setting.recounts:
            yield from leading.recounts(state, outlook)

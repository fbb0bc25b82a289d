"""Allocations of one account in a model of a site, and what they have left by the jobs that ran, in plain arithmetic.

Nothing here calls what the product folds with: quarter after quarter, each one's use goes to who is charged for it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import AccountEntry, StepEntry, WindowEntry
from bursar_testing.agents import account, allocation, step_at

Cell = tuple[str, int]


class Work(Protocol):
    """A job."""

    @property
    def start(self) -> int:
        """When it began."""

    @property
    def end(self) -> int:
        """When it ends."""

    def used(self, begin: int, until: int) -> int:
        """Unit-seconds between two times."""


@dataclass(frozen=True, slots=True)
class Given:
    """Hours in force from ``at`` on."""

    at: int
    granted: int
    carried: int = 0
    adjusted: int = 0


@dataclass(slots=True)
class Span:
    """A window and what was given to it, in order of time."""

    start: int
    end: int
    steps: list[Given]

    def at(self, now: int) -> Given:
        """What is in force."""
        return [step for step in self.steps if step.at <= now or step is self.steps[0]][-1]

    def give(self, now: int, **fields: int) -> None:
        """Something changes from this quarter hour on."""
        at = max(self.start, now - now % QUARTER)
        fresh = replace(self.at(now), at=at, **fields)
        self.steps = [*(step for step in self.steps if step.at < at), fresh]


@dataclass(slots=True)
class Award:
    """One allocation as its spec and entries have it. ``closed_from``: deleted; nothing is put down to it from there.

    ``past_ends``, in order: before a second it was to end at another.
    """

    windows: list[Span]
    grace_percent: int = 0
    carries_debt: bool = True
    uid: str = "x"
    revision: int = field(default=1)
    closed_from: int | None = None
    past_ends: tuple[tuple[int, int], ...] = ()

    @property
    def start(self) -> int:
        """First second."""
        return self.windows[0].start

    @property
    def end(self) -> int:
        """First second after it."""
        return self.windows[-1].end

    def window(self, now: int) -> Span:
        """The window that runs (the last one after the end)."""
        return next((window for window in self.windows if now < window.end), self.windows[-1])

    def is_active(self, at: int) -> bool:
        """Whether use is put down to it."""
        return self.start <= at < min(self.end, self.place(at)[0]) and (self.closed_from is None or at < self.closed_from)

    def place(self, at: int) -> tuple[int, str]:
        """Who ends first is charged first, as ends stood then."""
        return next((end for before, end in self.past_ends if at < before), self.end), self.uid

    def gives(self, now: int) -> bool:
        """Whether it has room; from the moment in which it is deleted it has none."""
        return self.is_active(now) and self.closed_from is None


def entry(name: str, awards: Iterable[Award], *, members: tuple[str, ...] = ()) -> AccountEntry:
    """The account as the agent is told."""
    made = []
    for award in awards:
        windows = tuple(WindowEntry(start=w.start, end=w.end, steps=tuple(map(_step, w.steps))) for w in award.windows)
        fields: dict[str, Any] = {"start": award.start, "end": award.end, "windows": windows, "open_until": award.end}
        rules: dict[str, Any] = {
            "overuse_percent": award.grace_percent,
            "carries_debt": award.carries_debt,
            "closed_from": award.closed_from,
            "past_ends": award.past_ends,
        }
        hours = sum(window.steps[-1].granted for window in award.windows)
        made.append(allocation(award.uid, hours, award.revision, **fields, **rules))
    return account(name, *made, members=members)


def _step(step: Given) -> StepEntry:
    return step_at(step.at, {"cpu": step.granted}, carried={"cpu": step.carried}, adjusted={"cpu": step.adjusted})


def by_quarter(jobs: Iterable[Work], now: int) -> dict[int, int]:
    """First second of each quarter hour in which anything ran -> unit-seconds up to ``now``."""
    found: dict[int, int] = {}
    for job in jobs:
        for at in range(job.start - job.start % QUARTER, min(job.end, now), QUARTER):
            found[at] = found.get(at, 0) + job.used(at, min(now, at + QUARTER))
    return found


def left(awards: Sequence[Award], use: Mapping[int, int], now: int) -> int:
    """Unit-seconds that all that give have left at ``now``, grace counted; ``use``: by quarters, up to ``now``."""
    books = Books(awards)
    for at in sorted(use):
        books.charge(at, use[at])
    return sum(books.left(award, now) for award in awards if award.gives(now))


class Books:
    """What was put down to which window: within what it has, and beyond."""

    def __init__(self, awards: Sequence[Award]) -> None:
        self._awards = awards
        self._used: dict[Cell, int] = {}
        self._over: dict[Cell, int] = {}

    def charge(self, at: int, amount: int) -> None:
        """Who ends first is charged first: all that they have, then the grace of each; what is more is the last one's."""
        active = sorted((award for award in self._awards if award.is_active(at)), key=lambda award: award.place(at))
        for graced in (False, True):
            for award in active:
                cell = award.uid, self._number(award, at)
                room = self._room(award, at) + (self._grace(award, at) if graced else 0)
                taken = min(amount, max(0, room - self._used.get(cell, 0)))
                self._used[cell] = self._used.get(cell, 0) + taken
                amount -= taken
        if active:
            last = active[-1].uid, self._number(active[-1], at)
            self._over[last] = self._over.get(last, 0) + amount

    def left(self, award: Award, now: int) -> int:
        """Of the window that runs."""
        return self._room(award, now) + self._grace(award, now) - self._booked((award.uid, self._number(award, now)))

    def _number(self, award: Award, at: int) -> int:
        return award.windows.index(award.window(at))

    def _booked(self, cell: Cell) -> int:
        return self._used.get(cell, 0) + self._over.get(cell, 0)

    def _room(self, award: Award, at: int) -> int:
        step = award.window(at).at(at)
        return (step.granted + step.carried + step.adjusted) * HOUR - self._debt(award, self._number(award, at))

    def _grace(self, award: Award, at: int) -> int:
        return max(0, award.window(at).at(at).granted) * HOUR * award.grace_percent // 100

    def _debt(self, award: Award, number: int) -> int:
        """What earlier windows used beyond their own, where debts are kept; carried hours were not their own."""
        if not number or not award.carries_debt:
            return 0
        before = award.windows[number - 1]
        step = before.at(before.end)
        own = max(0, self._booked((award.uid, number - 1)) - step.carried * HOUR)
        return max(0, own + self._debt(award, number - 1) - (step.granted + step.adjusted) * HOUR)

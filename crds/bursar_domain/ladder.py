"""The ladder: thresholds on a figure, the actions that follow, undone when the figure falls far enough."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bursar_domain.fold import WindowBooks


class Action(StrEnum):
    """The enforcement ladder, weakest first."""

    NONE = "None"
    NOTIFY = "Notify"
    THROTTLE = "Throttle"
    SOFT_LAND = "SoftLand"
    HOLD = "Hold"
    BLOCK = "Block"


class Basis(StrEnum):
    """Booked use; booked use and what running jobs may still use; what the run rate leads to by the window's end."""

    USED = "Used"
    COMMITTED = "Committed"
    PROJECTED = "Projected"


LADDER: tuple[Action, ...] = tuple(Action)


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires at ``percent`` of the window's room, clears below ``clear_below`` (defaults to ``percent``)."""

    percent: int
    action: Action
    clear_below: int | None = None
    basis: Basis = Basis.USED

    @property
    def key(self) -> str:
        """Names the rule in journals, reports and events."""
        return f"{self.action}@{self.basis}{self.percent}"

    @property
    def clears_below(self) -> int:
        """Percentage under which it is undone."""
        return self.percent if self.clear_below is None else self.clear_below


@dataclass(frozen=True, slots=True)
class Standing:
    """One resource of the window that runs, unit-seconds.

    ``room``: granted, carried and adjusted less debt; ``projected`` is None where no rate is known yet.
    """

    room: int
    used: int
    committed: int = 0
    projected: int | None = None

    @classmethod
    def of(cls, books: WindowBooks, committed: int = 0, projected: int | None = None) -> "Standing":
        """``committed``: what running jobs may still use; ``projected``: further use until the window ends."""
        booked = books.booked
        return cls(books.room, booked, booked + committed, None if projected is None else booked + projected)

    def figure(self, basis: Basis) -> int | None:
        """Unit-seconds that a rule on the basis looks at."""
        return {Basis.USED: self.used, Basis.COMMITTED: self.committed, Basis.PROJECTED: self.projected}[basis]


Standings = Mapping[str, Standing]


def reached(standings: Standings, basis: Basis, percent: int) -> bool:
    """Whether any resource has come to ``percent`` of its room, compared without division.

    Where there is no room at all any use has.
    """
    return any(_reached(item.figure(basis), item.room, percent) for item in standings.values())


def _reached(figure: int | None, room: int, percent: int) -> bool:
    if figure is None or (room <= 0 and figure <= 0):
        return False
    return figure * 100 >= max(0, room) * percent


def in_force(rules: Sequence[Rule], standings: Standings, before: Collection[str]) -> frozenset[str]:
    """Keys of the rules in force now, given those in force before *in the same window*: hysteresis between both percentages."""
    return frozenset(
        rule.key for rule in rules if reached(standings, rule.basis, rule.clears_below if rule.key in before else rule.percent)
    )


def strongest(rules: Sequence[Rule], keys: Collection[str]) -> Action:
    """The strongest action among the rules in force."""
    return max((rule.action for rule in rules if rule.key in keys), key=LADDER.index, default=Action.NONE)


def used_percent(standings: Standings) -> int:
    """The highest use of any resource in whole percent of its room, rounded down."""
    return max((item.used * 100 // item.room for item in standings.values() if item.room > 0), default=0)

"""Thresholds: a figure crosses a percentage, an action follows, and it is undone when the figure falls far enough."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """The enforcement ladder, weakest first."""

    NONE = "None"
    NOTIFY = "Notify"
    THROTTLE = "Throttle"
    SOFT_LAND = "SoftLand"
    HOLD = "Hold"
    BLOCK = "Block"


LADDER: tuple[Action, ...] = tuple(Action)


@dataclass(frozen=True, slots=True)
class Rule:
    """Fires at ``percent`` of the grant, clears below ``clear_below`` (defaults to ``percent``)."""

    percent: int
    action: Action
    clear_below: int | None = None

    @property
    def key(self) -> str:
        """Names the rule in journals and reports."""
        return f"{self.action}@{self.percent}"

    @property
    def clears_below(self) -> int:
        """Percentage under which it is undone."""
        return self.percent if self.clear_below is None else self.clear_below


def reached(used: Mapping[str, int], granted: Mapping[str, int], percent: int) -> bool:
    """Whether any granted resource is used to ``percent`` or more; both sides in the same unit, compared without division."""
    return any(used.get(name, 0) * 100 >= amount * percent for name, amount in granted.items() if amount > 0)


def in_force(
    rules: Sequence[Rule], used: Mapping[str, int], granted: Mapping[str, int], before: Collection[str]
) -> frozenset[str]:
    """Keys of the rules in force now, given those in force before: hysteresis between ``clears_below`` and ``percent``."""
    return frozenset(
        rule.key for rule in rules if reached(used, granted, rule.clears_below if rule.key in before else rule.percent)
    )


def strongest(rules: Sequence[Rule], keys: Collection[str]) -> Action:
    """The strongest action among the rules in force."""
    return max((rule.action for rule in rules if rule.key in keys), key=LADDER.index, default=Action.NONE)


def used_percent(used: Mapping[str, int], granted: Mapping[str, int]) -> int:
    """The highest use of any granted resource in whole percent, rounded down."""
    return max((used.get(name, 0) * 100 // amount for name, amount in granted.items() if amount > 0), default=0)

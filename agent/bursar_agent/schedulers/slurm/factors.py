"""UsageFactor of each QOS over time: an attempt is charged with the factor that was in force when it began.

Slurm keeps the present factor only, and none once the QOS is deleted, though its jobs are still read; so the plug-in remembers.
"""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final

import orjson

from bursar_agent import files

NORMAL: Final = 1000
MOST_STEPS: Final = 100
_FIRST: Final = 0
Step = tuple[int, int]
"""From which second on, and the factor in thousandths."""

History = Mapping[str, tuple[Step, ...]]
FactorAt = Callable[[str, int], int]
"""The factor of a QOS at a time."""


def arguments() -> tuple[str, ...]:
    """Arguments of sacctmgr for `parse`."""
    return ("-nP", "list", "qos", "format=Name%100,UsageFactor")


def parse(text: str) -> dict[str, int]:
    """UsageFactor of each QOS in thousandths."""
    factors: dict[str, int] = {}
    for line in text.splitlines():
        name, _, factor = line.partition("|")
        try:
            factors[name] = _thousandths(factor)
        except (InvalidOperation, ValueError, OverflowError) as error:
            raise ValueError(f"UsageFactor of QOS {name} is {factor!r}, not a number") from error
        if factors[name] < 0:
            raise ValueError(f"UsageFactor of QOS {name} is {factor}: use below zero can't be")
    return factors


def _thousandths(factor: str) -> int:
    return int(Decimal(factor or "1") * NORMAL)


def noted(history: History, factors: Mapping[str, int], now: int) -> History:
    """The history with what is in force now. What is seen first is taken to have been so always."""
    changed = {name: factor for name, factor in factors.items() if name not in history or history[name][-1][1] != factor}
    if not changed:
        return history
    steps = {name: (*history.get(name, ()), (now if name in history else _FIRST, factor)) for name, factor in changed.items()}
    return {**history, **{name: each[-MOST_STEPS:] for name, each in steps.items()}}


def factor_at(history: History, qos: str, time: int) -> int:
    """The factor of a QOS at a time; one that nobody ever saw counts in full."""
    steps = history.get(qos, ((_FIRST, NORMAL),))
    return next((factor for since, factor in reversed(steps) if since <= time), steps[0][1])


def largest(history: History, present: Iterable[str]) -> int:
    """The largest factor of any QOS, now or ever, at least 1; what is no number is told when the use is read."""
    found = [NORMAL, *(factor for steps in history.values() for _, factor in steps)]
    for factor in present:
        with contextlib.suppress(InvalidOperation, ValueError, OverflowError):
            found.append(_thousandths(factor))
    return max(found)


class FactorStore:
    """The history in one file of the agent's state directory."""

    def __init__(self, directory: Path) -> None:
        """Read what an earlier run left; a damaged file is an error, since guessing would recharge jobs."""
        self._path = directory / "usage-factors.json"
        self._history = _load(self._path)

    def note(self, factors: Mapping[str, int], now: int) -> None:
        """Remember what is in force now."""
        history = noted(self._history, factors, now)
        if history is not self._history:
            files.replace(self._path, orjson.dumps(history, option=orjson.OPT_INDENT_2))
            self._history = history

    def at(self, qos: str, time: int) -> int:
        """The factor of a QOS at a time, in thousandths."""
        return factor_at(self._history, qos, time)

    def largest(self, present: Iterable[str]) -> int:
        """The largest factor of any QOS, now (as `sacctmgr` writes it) or ever, in thousandths."""
        return largest(self._history, present)


def _load(path: Path) -> History:
    try:
        found = orjson.loads(path.read_bytes())
        return {str(name): tuple((int(since), int(factor)) for since, factor in steps) for name, steps in found.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as error:
        raise files.DamagedFile(f"{path} can't be read ({error}): restore it, or remove it to begin anew") from error

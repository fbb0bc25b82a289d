"""The fold of accounting.md done unit after unit, sentence by sentence, without a call of the product's arithmetic."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_domain.fold import Correction
from bursar_domain.terms import Step, Terms
from bursar_domain.units import QUARTER

RESOURCE = "cpu"
NOBODY = ""


@dataclass
class Cell:
    """One window of one allocation."""

    used: int = 0
    overdraft: int = 0
    credited: int = 0


@dataclass(frozen=True)
class Paid:
    """One unit and who paid for it; ``uid`` is NOBODY where it is unfunded."""

    uid: str
    window: int = 0
    over: bool = False


@dataclass
class BruteForce:
    """Books of one resource of one account."""

    terms: Sequence[Terms]
    cells: dict[tuple[str, int], Cell] = field(default_factory=dict)
    unfunded: int = 0
    slots: dict[int, list[Paid]] = field(default_factory=dict)
    kept: int = 0

    def __post_init__(self) -> None:
        self.terms = sorted(self.terms, key=lambda item: (item.open_until, item.uid))
        self.cells = {(item.uid, number): Cell() for item in self.terms for number in range(len(item.windows))}

    def run(self, use: Mapping[int, int], corrections: Sequence[Correction]) -> "BruteForce":
        """``use``: what each quarter (first second) was in the end, corrections counted in."""
        original = dict(use)
        for item in corrections:
            original[item.quarter] = original.get(item.quarter, 0) - item.amount
        for at in sorted({*original, *(item.at for item in corrections)}):
            for item in corrections:
                if item.at == at:
                    self._correct(item)
            for _ in range(original.get(at, 0)):
                self._pay(at, at)
        return self

    def _correct(self, item: Correction) -> None:
        """A positive one is charged in its posting quarter, a negative one takes back what its slot charged."""
        for _ in range(item.amount):
            self._pay(item.quarter, item.at)
        for _ in range(-item.amount):
            self._take_back(self.slots[item.quarter].pop(), item.at)

    def _pay(self, slot: int, at: int) -> None:
        paid = self._payer(at)
        self.slots.setdefault(slot, []).append(paid)
        if paid.uid == NOBODY:
            self.unfunded += 1
        elif paid.over:
            self.cells[paid.uid, paid.window].overdraft += 1
        else:
            self.cells[paid.uid, paid.window].used += 1

    def _payer(self, at: int) -> Paid:
        """Earliest end first, by the ends of then: their room, then their grace in that order; else overdraft of the last."""
        active = sorted((item for item in self.terms if self._is_active(item, at)), key=lambda item: _end_then(item, at))
        for grace in (False, True):
            for item in active:
                number = self._number(item, at)
                if self.cells[item.uid, number].used < self._room(item, number, at, grace=grace):
                    return Paid(item.uid, number)
        return Paid(active[-1].uid, self._number(active[-1], at), over=True) if active else Paid(NOBODY)

    def _take_back(self, paid: Paid, at: int) -> None:
        """Of an allocation that is still active; in the window that runs where its own is over."""
        if paid.uid == NOBODY:
            self.unfunded -= 1
            return
        item = next(found for found in self.terms if found.uid == paid.uid)
        if not self._is_active(item, at):
            self.kept += 1
        elif self._number(item, at) != paid.window:
            self.cells[item.uid, self._number(item, at)].credited += 1
        elif paid.over:
            self.cells[item.uid, paid.window].overdraft -= 1
        else:
            self.cells[item.uid, paid.window].used -= 1

    def _is_active(self, item: Terms, at: int) -> bool:
        is_open = item.closed_from is None or at < item.closed_from
        return item.windows[0].start <= at < min(item.open_until, _end_then(item, at)[0]) and is_open

    def _number(self, item: Terms, at: int) -> int:
        return max(number for number, window in enumerate(item.windows) if window.start <= at)

    def _room(self, item: Terms, number: int, at: int, *, grace: bool) -> int:
        step = _step(item, number, at)
        granted = step.granted.get(RESOURCE, 0)
        room = granted + step.carried.get(RESOURCE, 0) + step.adjusted.get(RESOURCE, 0)
        room += self.cells[item.uid, number].credited - self.debt(item, number)
        return room + max(0, granted) * item.overuse_percent // 100 if grace else room

    def left_over(self, item: Terms, number: int) -> int:
        """``own = max(0, used - carriedIn)``, ``left = granted + adjusted - own - debt``; a credit is room like granted."""
        cell, step = self.cells[item.uid, number], _step(item, number, item.windows[number].end)
        own = max(0, cell.used + cell.overdraft - step.carried.get(RESOURCE, 0))
        left = step.granted.get(RESOURCE, 0) + step.adjusted.get(RESOURCE, 0) + cell.credited - own
        return left - self.debt(item, number)

    def debt(self, item: Terms, number: int) -> int:
        """What the window before was overdrawn by, where debts are kept."""
        return max(0, -self.left_over(item, number - 1)) if number and item.carries_debt else 0


def _end_then(item: Terms, at: int) -> tuple[int, str]:
    end = item.open_until
    for before, was in sorted(item.past_ends, reverse=True):
        if at < before:
            end = was
    return end, item.uid


def _step(item: Terms, number: int, at: int) -> Step:
    known = [step for step in item.windows[number].steps if step.at <= at]
    return max(known, key=lambda step: step.at) if known else Step(0, {})


def quarters(numbers: Mapping[int, int]) -> dict[int, int]:
    """Numbers of quarters as seconds."""
    return {number * QUARTER: amount for number, amount in numbers.items()}

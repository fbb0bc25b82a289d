"""A hash chain over rows: each carries the hash of the one before, so that no row can be edited, dropped or moved unseen.

``hash = sha256(previous + newline + canonical JSON of every other column)``. A head beside the rows tells of last ones that
are gone. Whoever may write both can forge a whole chain: compare the newest hash with one that was noted elsewhere.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from bursar_domain.entries import canonical

BEGINNING: Final = "0" * 64
MOST_PROBLEMS: Final = 1_000


@dataclass(frozen=True, slots=True)
class ChainProblem:
    """What is wrong at a row."""

    number: int
    what: str


@dataclass(frozen=True, slots=True)
class ChainReport:
    """``rows`` were looked at; ``hash`` is the newest one; no problems means that nothing was touched."""

    rows: int
    hash: str
    problems: tuple[ChainProblem, ...]


def sealed(row: Mapping[str, object], previous: str) -> dict[str, object]:
    """The row with the hash of the one before and its own."""
    full = {**row, "previous": previous}
    return {**full, "hash": hash_of(full)}


def hash_of(row: Mapping[str, object]) -> str:
    """SHA-256 in hex over the columns, the hash itself left out."""
    content = {name: value for name, value in row.items() if name != "hash"}
    return hashlib.sha256(f"{row['previous']}\n{canonical(content)}".encode()).hexdigest()


def _holds(row: Mapping[str, object], stored: str) -> bool:
    """Whether the row's hash is right; what no JSON can hold (bytes in a text column) was put there by hand."""
    try:
        return hash_of(row) == stored
    except TypeError:
        return False


@dataclass(slots=True)
class Checker:
    """Takes the rows in order of number."""

    rows: int = 0
    number: int = 0
    newest: str = BEGINNING
    problems: list[ChainProblem] = field(default_factory=list)

    def take(self, row: Mapping[str, object]) -> None:
        """Check one row against the one before."""
        number, stored = int(str(row["number"])), str(row["hash"])
        if number != self.number + 1:
            missing = f"rows {self.number + 1} to {number - 1} are" if number > self.number + 2 else f"row {self.number + 1} is"
            self._found(number, f"{missing} missing before it" if number > self.number else "its number was changed")
        elif row["previous"] != self.newest:
            self._found(number, "it does not follow the row before")
        if not _holds(row, stored):
            self._found(number, "it was edited")
        self.rows, self.number, self.newest = self.rows + 1, number, stored

    def report(self, head: tuple[int, str] | None) -> ChainReport:
        """Compare with the head."""
        number, newest = head or (0, BEGINNING)
        if number > self.number:
            self._found(self.number + 1, f"rows up to {number} are missing at the end")
        elif (number, newest) != (self.number, self.newest):
            self._found(self.number, "the head of the chain says otherwise")
        return ChainReport(self.rows, self.newest, tuple(self.problems))

    def _found(self, number: int, what: str) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(ChainProblem(number, what))

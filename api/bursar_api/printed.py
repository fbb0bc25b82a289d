"""Use as statements print it, decided: as it was booked when its hours closed, corrections where they were posted.

What the ledger stores is the use as it is known now. Less the corrections of its own hours it is what was booked at closing,
and that never moves, so a statement that was printed stays true. Over all months both add up to what is stored. No I/O, no
clock.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

from bursar_api.periods import Span
from bursar_domain.closing import REOPEN_SECONDS
from bursar_domain.entries import CorrectionRow, Entry
from bursar_domain.units import QUARTER
from bursar_ledger.statements import StatementReading
from bursar_ledger.sums import By as StoredBy

By = Literal["user", "allocation", "month"]
Key = tuple[str, str]
"""Resource and label: the user, the month, or nothing."""

STORED: Final[Mapping[By, StoredBy]] = {"user": "user", "month": "month", "allocation": "account"}


@dataclass(slots=True)
class Used:
    """Unit-seconds of one resource: allocated and refunded by itself, as booked at closing; corrections that were posted."""

    allocated: int = 0
    refunded: int = 0
    corrections: int = 0

    @property
    def charged(self) -> int:
        """What counts against a grant."""
        return self.allocated - self.refunded

    def add(self, other: "Used") -> None:
        """Every figure."""
        self.allocated += other.allocated
        self.refunded += other.refunded
        self.corrections += other.corrections


def used(reading: StatementReading, span: Span, by: By) -> dict[Key, Used]:
    """The use of the time, split by what was asked for; what is all zero is left out."""
    found: dict[Key, Used] = {}
    label = STORED[by]
    for row in reading.use:
        cell = found.setdefault((str(row["resource"]), str(row.get(label, "")) if by != "allocation" else ""), Used())
        cell.add(Used(int(row["allocated"]), int(row["refunded"])))
    for entry in reading.corrections:
        for key, change in _changes(entry, span, by):
            found.setdefault(key, Used()).add(change)
    return {key: cell for key, cell in sorted(found.items()) if cell != Used()}


def totals(found: Mapping[Key, Used]) -> dict[str, Used]:
    """Resource -> the sum over the labels."""
    sums: dict[str, Used] = {}
    for (resource, _), cell in found.items():
        sums.setdefault(resource, Used()).add(cell)
    return sums


def is_final(reading: StatementReading, end: int | None) -> bool:
    """Whether the hours of the time are closed, so that its figures never change any more."""
    return end is not None and reading.closed_to is not None and end + REOPEN_SECONDS <= reading.closed_to


def _changes(entry: Entry, span: Span, by: By) -> Iterable[tuple[Key, Used]]:
    """Taken out of the time whose hours it corrects, put into the time in which it was posted."""
    for row in entry.rows:
        for index, (more, back) in enumerate(zip(row.allocated, row.refunded, strict=True)):
            at = row.hour + index * QUARTER
            if _holds(span, at):
                yield (row.resource, _label(row, at, by)), Used(-more, -back)
            if _holds(span, entry.at):
                yield (row.resource, _label(row, entry.at, by)), Used(corrections=more - back)


def _holds(span: Span, at: int) -> bool:
    return (span.start is None or at >= span.start) and (span.end is None or at < span.end)


def _label(row: CorrectionRow, at: int, by: By) -> str:
    if by == "allocation":
        return ""
    return row.user if by == "user" else datetime.fromtimestamp(at, UTC).strftime("%Y-%m")

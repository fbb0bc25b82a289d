"""The books that a scenario is checked against: entries and slots, in memory here; the ledger has the same face."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Protocol

from bursar_domain.buckets import Amounts, Quarters, RowKey, SlotKey, SlotVersion
from bursar_domain.entries import CorrectionRow, Entry, EntryKind
from bursar_domain.fold import Correction
from bursar_domain.units import HOUR, QUARTER

Rows = Mapping[RowKey, Amounts]
Spans = dict[str, list[tuple[int, int]]]
CLOSED_AFTER = 48 * HOUR
FAR = 2**62


@dataclass(frozen=True, slots=True)
class Report:
    """Whole slots at one version, and how far use is complete."""

    cluster: str
    version: SlotVersion
    slots: Mapping[SlotKey, Rows]
    watermark: int


class Books(Protocol):
    """What the control plane asks of a ledger."""

    async def put(self, report: Report) -> None:
        """Take slots in."""

    async def append(self, entries: Sequence[Entry]) -> None:
        """Book entries; a key that is known is booked once."""

    async def entries(self, cluster: str, account: str) -> list[Entry]:
        """Entries of an account in order."""

    async def spans(self, cluster: str, account: str, boundaries: Sequence[int]) -> Spans:
        """Use between boundaries."""

    async def watermark(self, cluster: str) -> int | None:
        """Up to when use is complete."""


@dataclass
class MemoryBooks:
    """Slots and entries by the sentences of the design, without a database."""

    slots: dict[str, dict[SlotKey, tuple[SlotVersion, Rows]]] = field(default_factory=dict)
    booked: dict[str, Entry] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)

    async def put(self, report: Report) -> None:
        """The greater version replaces; a change of a slot that is closed is a Correction as well."""
        stored = self.slots.setdefault(report.cluster, {})
        before = self.watermarks.get(report.cluster, 0)
        for key, rows in report.slots.items():
            version, old = stored.get(key, (None, {}))
            if version is None or version < report.version:
                stored[key] = report.version, rows
                if key.hour + HOUR + CLOSED_AFTER <= before:
                    await self.append(_corrected(report, key, old, rows, before))
        self.watermarks[report.cluster] = max(before, report.watermark)

    async def append(self, entries: Sequence[Entry]) -> None:
        """Book."""
        for entry in entries:
            assert self.booked.setdefault(entry.key, entry) == entry, f"{entry.key} is booked with other content"

    async def entries(self, cluster: str, account: str) -> list[Entry]:
        """In order."""
        return [entry for entry in self.booked.values() if (entry.cluster, entry.account) == (cluster, account)]

    async def spans(self, cluster: str, account: str, boundaries: Sequence[int]) -> Spans:
        """Quarter by quarter, added up."""
        quarters: dict[str, dict[int, int]] = {}
        for key, (_, rows) in self.slots.get(cluster, {}).items():
            if key.account == account:
                _add(quarters, key.hour, rows)
        edges = [-FAR, *sorted(set(boundaries)), FAR]
        found: Spans = {}
        for name, amounts in quarters.items():
            for first, last in pairwise(edges):
                inside = {at: amount for at, amount in amounts.items() if first <= at < last and amount}
                if inside:
                    found.setdefault(name, []).append((max(first, min(inside)), sum(inside.values())))
        return found

    async def watermark(self, cluster: str) -> int | None:
        """Up to when use is complete."""
        return self.watermarks.get(cluster)


def _add(quarters: dict[str, dict[int, int]], hour: int, rows: Rows) -> None:
    for row, (allocated, refunded) in rows.items():
        cell = quarters.setdefault(row.resource, {})
        for index in range(4):
            at = hour + index * QUARTER
            cell[at] = cell.get(at, 0) + allocated[index] - refunded[index]


def _corrected(report: Report, key: SlotKey, old: Rows, new: Rows, watermark: int) -> list[Entry]:
    rows = [_row(key.hour, row, old.get(row, Amounts()), new.get(row, Amounts())) for row in sorted({*old, *new})]
    rows = [row for row in rows if any(row.allocated) or any(row.refunded)]
    name = f"correction/{report.cluster}/{key.account}/{key.hour}/{report.version.epoch}.{report.version.seq}"
    at = watermark // QUARTER * QUARTER
    entry = Entry(
        name, EntryKind.CORRECTION, report.cluster, key.account, at, "agent", "a closed slot changed", rows=tuple(rows)
    )
    return [entry] if rows else []


def _row(hour: int, row: RowKey, before: Amounts, after: Amounts) -> CorrectionRow:
    allocated, refunded = _less(after.allocated, before.allocated), _less(after.refunded, before.refunded)
    return CorrectionRow(hour, row.user, row.resource, allocated, refunded)


def _less(after: Quarters, before: Quarters) -> Quarters:
    first, second, third, fourth = (a - b for a, b in zip(after, before, strict=True))
    return first, second, third, fourth


def corrections_of(entries: Iterable[Entry]) -> list[Correction]:
    """Corrections as the fold takes them: one for each quarter of a row that changed."""
    found = []
    for entry in entries:
        for row in entry.rows:
            charged = _less(row.allocated, row.refunded)
            quarters = (row.hour + index * QUARTER for index in range(4))
            pairs = zip(quarters, charged, strict=True)
            found += [Correction(row.resource, at, amount, entry.at) for at, amount in pairs if amount]
    return found

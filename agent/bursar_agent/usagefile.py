"""`usage.jsonl`, the journal of the books: one line per read that changed something, one per page that was sent.

A line is whole or it is not there: a crash while it is written loses that read or that page alone, and both are repeated.
Versions that were replaced go once they are most of the file; that takes one pass over it and keeps no slot in memory.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from bursar_agent.files import append_durably, read_lines, replace
from bursar_domain.buckets import Amounts, Quarters, RowKey, SlotKey

Rows = Mapping[RowKey, Amounts]
RawSlot = tuple[str, int, int, list[list[Any]]]
"""A slot in the file: account, hour, seq, then per row user, resource and the eight amounts."""
COMPACT_BYTES = 16 * 1024 * 1024
COMPACT_RATIO = 3
SLOTS_PER_LINE = 500


class Version(NamedTuple):
    """A slot as it was counted by the read of number ``seq``."""

    seq: int
    rows: Rows


class Sent(NamedTuple):
    """A slot that the gateway has, in the version of read ``seq`` or an older one."""

    account: str
    hour: int
    seq: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where the books stand after a read.

    ``rebuild_from``: first hour of which the gateway must void older epochs. ``open_from``: earliest start of the records that
    the read had.
    """

    epoch: int
    seq: int
    watermark: int | None
    covered_from: int | None
    rebuild_from: int | None
    open_from: int | None = None


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A read that changed these slots. ``kept``: the gateway has them all."""

    head: Head
    slots: Iterable[tuple[SlotKey, Version]]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class SentLine:
    """A page that the gateway took; ``rebuilt``: the last one of a rebuild that began at this hour."""

    slots: Sequence[Sent]
    watermark: int | None
    rebuilt: int | None = None


Line = ReadLine | SentLine


class UsageFile:
    """The file. Lines that it does not understand are a damage; those that a crash tore are none."""

    def __init__(self, directory: Path, compact_bytes: int = COMPACT_BYTES) -> None:
        self.path = directory / "usage.jsonl"
        self._compact_bytes = self._compact_above = compact_bytes

    def lines(self) -> Iterator[Line]:
        """All lines, oldest first."""
        for line in read_lines(self.path):
            yield _sent(line) if line["kind"] == "sent" else _read(line)

    def append(self, line: Line) -> None:
        """Add a line; it is on disk when this returns."""
        append_durably(self.path, [_dump(line)])

    @property
    def is_long(self) -> bool:
        """Whether most of it is likely to be out of date."""
        return self.path.exists() and self.path.stat().st_size > self._compact_above

    def note_size(self) -> None:
        """It was read, or compacted: it may grow from here."""
        size = self.path.stat().st_size if self.path.exists() else 0
        self._compact_above = max(self._compact_bytes, COMPACT_RATIO * size)

    def compact(
        self,
        head: Head,
        sent_watermark: int | None,
        unsent: Mapping[SlotKey, Version],
        is_newest: Callable[[SlotKey, int], bool],
    ) -> None:
        """Keep the newest version of each slot, which ``is_newest`` knows by its read."""
        slots = self._raw(lambda key, seq: key not in unsent and is_newest(key, seq))
        kept = (_head("kept", head, piece) for piece in _pieces(slots))
        last = (_dump(ReadLine(head, unsent.items())), _dump(SentLine((), sent_watermark)))
        replace(self.path, (orjson.dumps(line) + b"\n" for lines in (kept, last) for line in lines))
        self.note_size()

    def _raw(self, is_wanted: Callable[[SlotKey, int], bool]) -> Iterator[RawSlot]:
        """Slots as they stand in the file."""
        for line in read_lines(self.path):
            if line["kind"] != "sent":
                yield from (slot for slot in _slots(line) if is_wanted(SlotKey(slot[0], slot[1]), slot[2]))


def _pieces(slots: Iterator[RawSlot]) -> Iterator[list[RawSlot]]:
    while piece := list(islice(slots, SLOTS_PER_LINE)):
        yield piece


def _slots(line: Mapping[str, Any]) -> Sequence[RawSlot]:
    found: Sequence[RawSlot] = line["slots"]
    return found


def _dump(line: Line) -> dict[str, object]:
    if isinstance(line, SentLine):
        return {
            "kind": "sent",
            "slots": [tuple(slot) for slot in line.slots],
            "watermark": line.watermark,
            "rebuilt": line.rebuilt,
        }
    kind = "kept" if line.kept else "read"
    return _head(kind, line.head, [_dump_slot(key, version) for key, version in line.slots])


def _head(kind: str, head: Head, slots: Sequence[RawSlot]) -> dict[str, object]:
    return {
        "kind": kind,
        "epoch": head.epoch,
        "seq": head.seq,
        "watermark": head.watermark,
        "from": head.covered_from,
        "rebuild": head.rebuild_from,
        "open": head.open_from,
        "slots": slots,
    }


def _dump_slot(key: SlotKey, version: Version) -> RawSlot:
    rows = [[*row, *amounts.allocated, *amounts.refunded] for row, amounts in version.rows.items()]
    return key.account, key.hour, version.seq, rows


def _read(line: Mapping[str, Any]) -> ReadLine:
    head = Head(line["epoch"], line["seq"], line["watermark"], line["from"], line.get("rebuild"), line.get("open"))
    return ReadLine(head, map(_load_slot, _slots(line)), kept=line["kind"] == "kept")


def _sent(line: Mapping[str, Any]) -> SentLine:
    slots = [Sent(account, hour, seq) for account, hour, seq in line["slots"]]
    return SentLine(slots, line["watermark"], line.get("rebuilt"))


def _load_slot(slot: RawSlot) -> tuple[SlotKey, Version]:
    account, hour, seq, rows = slot
    found = {RowKey(row[0], row[1]): Amounts(_quarters(row[2:6]), _quarters(row[6:10])) for row in rows}
    return SlotKey(account, hour), Version(seq, found)


def _quarters(amounts: Sequence[int]) -> Quarters:
    first, second, third, fourth = amounts
    return first, second, third, fourth

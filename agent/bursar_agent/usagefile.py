"""`usage.jsonl`, the journal of the books: one line per read that changed something, one per page that was sent.

A line is whole or it is not there: a crash while it is written loses that read or that page alone, and both are repeated.
A read of very many slots has several lines; only the last one says how far use is complete.

Versions that were replaced go once they are most of the file. That takes one pass over it, in a thread: from a `Snapshot`, so
that lines may be added meanwhile, which are carried over at the end. Slots stand in the order of their `Place`, and keep it
then: whoever tells them all again reads forward, and finds where it was in a file that was written anew.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from bursar_agent.files import append_durably, put_in_place, read_lines, read_places, write_beside
from bursar_domain.buckets import Amounts, Quarters, RowKey, SlotKey

T = TypeVar("T")
Rows = Mapping[RowKey, Amounts]
RawSlot = tuple[str, int, int, list[list[Any]]]
"""A slot in the file: account, hour, seq, then per row user, resource and the eight amounts."""
COMPACT_BYTES = 16 * 1024 * 1024
COMPACT_RATIO = 3
SLOTS_PER_LINE = 500
SENT = b'{"kind":"sent"'


class Version(NamedTuple):
    """A slot as it was counted by the read of number ``seq``."""

    seq: int
    rows: Rows


class Place(NamedTuple):
    """Where a version of a slot stands in the file; none stands before a lower one."""

    seq: int
    hour: int
    account: str


START = Place(-1, 0, "")


class Piece(NamedTuple):
    """Some slots of the file, of any version. ``end``: the place of the last of them; None where nothing follows."""

    slots: Sequence[tuple[SlotKey, Version]]
    end: Place | None


class _Mark(NamedTuple):
    """Where reading forward stopped: after so many slots of the line that begins at ``offset``."""

    place: Place
    offset: int
    slots: int


class Sent(NamedTuple):
    """A slot that the gateway has, in the version of read ``seq`` or an older one."""

    account: str
    hour: int
    seq: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where the books stand after a read.

    ``rebuild_from``: first hour of which the gateway must void older epochs. ``open_from``: earliest start of the records that
    the read had. ``recount_to``: slots up to this place were told as of this epoch, later ones were not yet; None where
    there is nothing to be told again. ``ended_from``: earliest end of a job whose record was read; what ended before may have
    been purged, and is never voided. None where that does not matter. ``told``: no read above this number was ever told to
    anybody; None where that is not known.
    """

    epoch: int
    seq: int
    watermark: int | None
    covered_from: int | None
    rebuild_from: int | None
    open_from: int | None = None
    recount_to: Place | None = None
    ended_from: int | None = None
    told: int | None = None


@dataclass(frozen=True, slots=True)
class ReadLine:
    """A read that changed these slots. ``kept``: the gateway has them all."""

    head: Head
    slots: Iterable[tuple[SlotKey, Version]]
    kept: bool = False


@dataclass(frozen=True, slots=True)
class SentLine:
    """A page that the gateway took, by its ``report``; ``rebuilt``: the last one of a rebuild that began at this hour."""

    slots: Sequence[Sent]
    watermark: int | None
    rebuilt: int | None = None
    report: str | None = None


Line = ReadLine | SentLine


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is true of the file's first ``size`` bytes. ``newest``: by account the hours, and the reads that they come from."""

    size: int
    head: Head
    sent_watermark: int | None
    last_report: str | None
    unsent: Mapping[SlotKey, Version]
    newest: Mapping[str, tuple[Sequence[int], Sequence[int]]]

    def is_newest(self, key: SlotKey, seq: int) -> bool:
        """Whether the slot's version of this read was not replaced."""
        hours, seqs = self.newest.get(key.account, ((), ()))
        at = bisect_left(hours, key.hour)
        return at < len(hours) and hours[at] == key.hour and seqs[at] == seq


class UsageFile:
    """The file. Lines that it does not understand are a damage; those that a crash tore are none."""

    def __init__(self, directory: Path, compact_bytes: int = COMPACT_BYTES) -> None:
        self.path = directory / "usage.jsonl"
        self._compact_bytes = self._compact_above = compact_bytes
        self._mark: _Mark | None = None

    def lines(self) -> Iterator[Line]:
        """All lines, oldest first."""
        for line in read_lines(self.path):
            yield _sent(line) if line["kind"] == "sent" else _read(line)

    def append(self, *lines: Line) -> None:
        """Add lines; they are on disk when this returns."""
        append_durably(self.path, map(_dump, lines))

    @property
    def is_long(self) -> bool:
        """Whether most of it is likely to be out of date."""
        return self.size() > self._compact_above

    def note_size(self) -> None:
        """It was read, or compacted: it may grow from here."""
        self._compact_above = max(self._compact_bytes, COMPACT_RATIO * self.size())

    def size(self) -> int:
        """Bytes."""
        return self.path.stat().st_size if self.path.exists() else 0

    def write_compact(self, snapshot: Snapshot) -> None:
        """Write the newest version of each slot beside the file. Good for a thread."""
        groups = groupby(self._newest(snapshot), lambda slot: SlotKey(slot[0], slot[1]) in snapshot.unsent)
        slots = (_head("read" if new else "kept", snapshot.head, piece) for new, found in groups for piece in _pieces(found))
        last = (_dump(ReadLine(snapshot.head, ())), _dump(SentLine((), snapshot.sent_watermark, report=snapshot.last_report)))
        write_beside(self.path, (orjson.dumps(line) + b"\n" for lines in (slots, last) for line in lines))

    def use_compact(self, snapshot: Snapshot) -> None:
        """Let that take the file's place, with the lines that were added since the snapshot."""
        put_in_place(self.path, tail_from=snapshot.size)
        self._mark = None
        self.note_size()

    def is_at(self, place: Place) -> bool:
        """Whether reading forward goes on there without looking for it."""
        return self._mark is not None and self._mark.place == place

    def after(self, place: Place, size: int, since: int, most: int) -> Piece:
        """The next slots of the file's first ``size`` bytes in hours from ``since`` on. Good for a thread; one at a time.

        It goes on where it was. After a start, and after the file was written anew, it looks for the place.
        """
        mark = self._mark if self._mark is not None and self.is_at(place) else _Mark(START, 0, 0)
        is_behind = mark.place != place
        found: list[tuple[SlotKey, Version]] = []
        for offset, line in read_places(self.path, mark.offset, size, but=SENT):
            slots = _slots(line)
            for number in range(mark.slots if offset == mark.offset else 0, len(slots)):
                slot = slots[number]
                here = Place(slot[2], slot[1], slot[0])
                if slot[1] < since or (is_behind and here <= place):
                    continue
                found.append(_load_slot(slot))
                if len(found) >= most:
                    self._mark = _Mark(here, offset, number + 1)
                    return Piece(found, here)
        self._mark = None
        return Piece(found, None)

    def _newest(self, snapshot: Snapshot) -> Iterator[RawSlot]:
        """The newest versions as they stand in the file."""
        for line in read_lines(self.path, snapshot.size, but=SENT):
            for slot in _slots(line):
                if snapshot.is_newest(SlotKey(slot[0], slot[1]), slot[2]):
                    yield slot


def _pieces(slots: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(slots)
    while piece := list(islice(rest, SLOTS_PER_LINE)):
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
            "report": line.report,
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
        "recount": None if head.recount_to is None else tuple(head.recount_to),
        "ended": head.ended_from,
        "told": head.told,
        "slots": slots,
    }


def _dump_slot(key: SlotKey, version: Version) -> RawSlot:
    rows = [[*row, *amounts.allocated, *amounts.refunded] for row, amounts in version.rows.items()]
    return key.account, key.hour, version.seq, rows


def _read(line: Mapping[str, Any]) -> ReadLine:
    rebuild, begun, ended, told = (line.get(name) for name in ("rebuild", "open", "ended", "told"))
    recount = _place(line.get("recount"))
    head = Head(line["epoch"], line["seq"], line["watermark"], line["from"], rebuild, begun, recount, ended, told)
    return ReadLine(head, map(_load_slot, _slots(line)), kept=line["kind"] == "kept")


def _place(found: Any) -> Place | None:
    """An older agent told its slots in another order: that begins anew."""
    return Place(*found) if isinstance(found, list) else None if found is None else START


def _sent(line: Mapping[str, Any]) -> SentLine:
    slots = [Sent(account, hour, seq) for account, hour, seq in line["slots"]]
    return SentLine(slots, line["watermark"], line.get("rebuilt"), line.get("report"))


def _load_slot(slot: RawSlot) -> tuple[SlotKey, Version]:
    account, hour, seq, rows = slot
    found = {RowKey(row[0], row[1]): Amounts(_quarters(row[2:6]), _quarters(row[6:10])) for row in rows}
    return SlotKey(account, hour), Version(seq, found)


def _quarters(amounts: Sequence[int]) -> Quarters:
    first, second, third, fourth = amounts
    return first, second, third, fourth

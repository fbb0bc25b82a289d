"""`usage.jsonl`, the journal of the books: one line per read that changed something, one per page that was sent.

A line is whole or it is not there: a crash while it is written loses that read or that page alone, and both are repeated.
A read of very many slots has several lines; only the last one says how far use is complete.

Versions that were replaced go once they are most of the file. That takes one pass over it, in a thread: from a `Snapshot`, so
that lines may be added meanwhile, which are carried over at the end.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from bursar_agent.files import append_durably, put_in_place, read_lines, write_beside
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


class Sent(NamedTuple):
    """A slot that the gateway has, in the version of read ``seq`` or an older one."""

    account: str
    hour: int
    seq: int


@dataclass(frozen=True, slots=True)
class Head:
    """Where the books stand after a read.

    ``rebuild_from``: first hour of which the gateway must void older epochs. ``open_from``: earliest start of the records that
    the read had. ``recount_to``: slots from this hour on were told as of this epoch, earlier ones were not yet; None where
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
    recount_to: int | None = None
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
        slots = self._raw(snapshot, lambda key: key not in snapshot.unsent)
        kept = (_head("kept", snapshot.head, piece) for piece in _pieces(slots))
        new = (_dump(ReadLine(snapshot.head, piece)) for piece in _pieces(snapshot.unsent.items()))
        last = (_dump(ReadLine(snapshot.head, ())), _dump(SentLine((), snapshot.sent_watermark, report=snapshot.last_report)))
        write_beside(self.path, (orjson.dumps(line) + b"\n" for lines in (kept, new, last) for line in lines))

    def use_compact(self, snapshot: Snapshot) -> None:
        """Let that take the file's place, with the lines that were added since the snapshot."""
        put_in_place(self.path, tail_from=snapshot.size)
        self.note_size()

    def find(self, snapshot: Snapshot, since: int, until: int) -> dict[SlotKey, Version]:
        """The newest versions of the slots in ``[since, until)`` that were sent. Good for a thread."""
        slots = self._raw(snapshot, lambda key: since <= key.hour < until and key not in snapshot.unsent)
        return dict(map(_load_slot, slots))

    def _raw(self, snapshot: Snapshot, is_wanted: Callable[[SlotKey], bool]) -> Iterator[RawSlot]:
        """The newest versions as they stand in the file."""
        for line in read_lines(self.path, snapshot.size, but=SENT):
            for slot in _slots(line):
                key = SlotKey(slot[0], slot[1])
                if is_wanted(key) and snapshot.is_newest(key, slot[2]):
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
        "recount": head.recount_to,
        "ended": head.ended_from,
        "told": head.told,
        "slots": slots,
    }


def _dump_slot(key: SlotKey, version: Version) -> RawSlot:
    rows = [[*row, *amounts.allocated, *amounts.refunded] for row, amounts in version.rows.items()]
    return key.account, key.hour, version.seq, rows


def _read(line: Mapping[str, Any]) -> ReadLine:
    more = (line.get(name) for name in ("rebuild", "open", "recount", "ended", "told"))
    head = Head(line["epoch"], line["seq"], line["watermark"], line["from"], *more)
    return ReadLine(head, map(_load_slot, _slots(line)), kept=line["kind"] == "kept")


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

"""The agent's books: slots as they were counted, what each account was charged, and what the gateway has not taken yet.

Everything lies in `usage.jsonl` of the state directory. In memory remain sums, fingerprints (`charges`) and the slots that are
to be sent. What a read costs here grows with the slots in the hours that it covers; what it writes, sends and sums anew, with
those that changed.

Where the state directory was lost the books begin anew with a greater epoch, and everything from the first read on is a
*rebuild*: the gateway counts it once its last page is in, and voids what older epochs had in those hours. Reads that lead
further back, slice by slice, are of the same rebuild; it ends when they are as far as `wanted_from`. Where the ledger lost
something, or these books did, what they have is told anew in the same way, from the file: a *recount*.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bursar_agent.charges import Charges, Spans
from bursar_agent.files import DamagedFile
from bursar_agent.refusals import Refusals
from bursar_agent.usagefile import (
    COMPACT_BYTES,
    SLOTS_PER_LINE,
    START,
    Head,
    Line,
    Piece,
    Place,
    ReadLine,
    Rows,
    Sent,
    SentLine,
    Snapshot,
    UsageFile,
    Version,
)
from bursar_domain.buckets import SlotKey
from bursar_domain.units import DAY, HOUR
from bursar_domain.wire import RebuiltRange, Refused, SlotReport, UsageRow

OUT_OF_DATE_AT_LOAD = 1000
NEVER = 2**53  # no hour is as late


class UsageBook:
    """Slots of one cluster. ``watermark`` and ``covered_from``: the seconds between which use is complete.

    ``rebuild_from``: first hour of which the gateway must still void what older epochs had; None where it has done so.
    ``open_from``: earliest start of the records that the last read had. ``wanted_from``: hour down to which use is to be
    counted, as far as anybody said. ``told``: no read above this number was ever told. It grows, with the reads themselves,
    once the ledger said that it knows of none (`agree`): so a state that is an old one is noticed whatever it reads first.
    """

    def __init__(self, directory: Path, epoch: int, *, compact_bytes: int = COMPACT_BYTES) -> None:
        """Resume from disk; ``epoch`` is used where nothing is there yet and must grow from one loss of state to the next."""
        self.file = UsageFile(directory, compact_bytes)
        self.refusals = Refusals(directory)
        self.epoch = epoch
        self.seq = 0
        self.watermark: int | None = None
        self.covered_from: int | None = None
        self.rebuild_from: int | None = None
        self.open_from: int | None = None
        self.recount_to: Place | None = None
        self.ended_from: int | None = None
        self.wanted_from: int | None = None
        self.told: int | None = 0
        self.is_agreed = False
        self.sent_watermark: int | None = None
        self.last_report: str | None = None
        self.unsent: dict[SlotKey, Version] = {}
        self._accounts: dict[str, Charges] = {}
        self._last, self._is_in_order = START, True
        self._load()

    def record(
        self,
        slots: Mapping[SlotKey, Rows],
        since: int,
        watermark: int | None,
        open_from: int | None = None,
        ended_from: int | None = None,
    ) -> int:
        """Count a read that covers every hour from ``since`` (a full hour) on; how many slots changed.

        Slots replace what was counted; those that are absent now are emptied. ``ended_from``: the earliest end among the
        records; a rebuild voids nothing from before, since those of earlier jobs may have been purged.
        """
        return self._record(slots, since, None, self._head_after(since, watermark, since, open_from, ended_from))

    def record_slice(self, slots: Mapping[SlotKey, Rows], since: int, until: int, ended_from: int | None = None) -> int:
        """The same for a read of the hours in ``[since, until)``: how far use is complete stays as it is.

        It may lead further back than any read before if it ends where they begin, or later.
        """
        return self._record(slots, since, until, self._head_after(since, None, since, self.open_from, ended_from))

    def begin(self, now: int) -> None:
        """There is no account of ours yet, so there is no use before ``now``: nothing older is ever read, nothing is voided."""
        hour = -(-now // HOUR) * HOUR
        self._record({}, 0, None, self._head_after(0, now, hour, None, hour))

    def turn_back(self, watermark: int) -> None:
        """Use is complete up to there and no further, whatever a read said."""
        self._set_head(replace(self._head(), watermark=watermark))

    def _record(self, slots: Mapping[SlotKey, Rows], since: int, until: int | None, head: Head) -> int:
        wanted: dict[SlotKey, Rows] = {key: {} for key in self._counted(since, until)}
        wanted |= {key: rows for key, rows in slots.items() if key.hour >= since and (until is None or key.hour < until)}
        changed = {key: rows for key, rows in wanted.items() if self._differs(key, rows)}
        if not changed and (head.watermark, head.covered_from) == (self.watermark, self.covered_from):
            return 0
        in_order = sorted(changed.items(), key=lambda item: (item[0].hour, item[0].account))
        lines = list(self._lines(head, [(key, Version(head.seq, rows)) for key, rows in in_order]))
        self.file.append(*lines)
        return sum(map(self._take_read, lines))

    def _lines(self, head: Head, slots: Sequence[tuple[SlotKey, Version]]) -> Iterator[ReadLine]:
        """Short ones, so that whoever reads the file does not hold up the process for long with any of them."""
        before = replace(self._head(), seq=head.seq)
        for at in range(0, len(slots) - SLOTS_PER_LINE, SLOTS_PER_LINE):
            yield ReadLine(before, slots[at : at + SLOTS_PER_LINE])
        yield ReadLine(head, slots[(len(slots) - 1) // SLOTS_PER_LINE * SLOTS_PER_LINE :] if slots else ())

    def _head_after(
        self, since: int, watermark: int | None, rebuild_from: int, open_from: int | None, ended_from: int | None = None
    ) -> Head:
        """Hours that no read covered before are of the rebuild, too: an older epoch may have something there."""
        is_further = self.covered_from is None or since < self.covered_from
        return Head(
            epoch=self.epoch,
            seq=self.seq + 1,
            watermark=max(filter(None, (self.watermark, watermark)), default=None),
            covered_from=since if self.covered_from is None else min(self.covered_from, since),
            rebuild_from=rebuild_from if is_further else self.rebuild_from,
            open_from=open_from,
            recount_to=self.recount_to,
            ended_from=min(filter(None, (self.ended_from, ended_from if is_further else None)), default=None),
            told=self.seq + 1 if self.is_agreed else self.told,
        )

    def _head(self) -> Head:
        return Head(
            epoch=self.epoch,
            seq=self.seq,
            watermark=self.watermark,
            covered_from=self.covered_from,
            rebuild_from=self.rebuild_from,
            open_from=self.open_from,
            recount_to=self.recount_to,
            ended_from=self.ended_from,
            told=self.told,
        )

    def _counted(self, since: int, until: int | None) -> Iterator[SlotKey]:
        return (SlotKey(name, hour) for name, charges in self._accounts.items() for hour in charges.hours(since, until))

    def _differs(self, key: SlotKey, rows: Rows) -> bool:
        charges = self._accounts.get(key.account)
        return bool(rows) if charges is None else charges.differs(key.hour, rows)

    def allocated(self, slots: Mapping[SlotKey, Rows], since: int, until: int | None = None) -> tuple[int, int]:
        """(before, now): unit-seconds allocated in these hours, as counted and as this read has it."""
        before = sum(charges.allocated(since, until) for charges in self._accounts.values())
        inside = (rows for key, rows in slots.items() if key.hour >= since and (until is None or key.hour < until))
        return before, sum(sum(amounts.allocated) for rows in inside for amounts in rows.values())

    def knows(self, account: str) -> bool:
        """Whether anything was ever counted for the account."""
        return account in self._accounts

    def quarters(self, account: str, boundaries: tuple[int, ...]) -> Spans:
        """What the account was charged by resource, summed up between boundaries; see `Charges.spans`."""
        charges = self._accounts.get(account)
        return {} if charges is None else charges.spans(boundaries)

    def accounts(self) -> Iterable[tuple[str, Charges]]:
        """Accounts with what is kept of their slots."""
        return self._accounts.items()

    # What is to be sent

    @property
    def sendable(self) -> list[SlotKey]:
        """Slots that the gateway has not judged yet, oldest version first."""
        keys = [key for key in self.unsent if self.is_sendable(key)]
        return sorted(keys, key=lambda key: (self.unsent[key].seq, key.hour, key.account))

    def is_sendable(self, key: SlotKey) -> bool:
        """Whether the gateway has not judged the slot's newest version yet."""
        version = self.unsent.get(key)
        return version is not None and not self.refusals.is_refused(key, version.seq)

    @property
    def is_short(self) -> bool:
        """Whether there is use that is wanted and was not read yet."""
        return self.covered_from is not None and self.wanted_from is not None and self.covered_from > self.wanted_from

    @property
    def rebuilt(self) -> RebuiltRange | None:
        """What the last page of a rebuild says; None where there is none, or it is not complete before a watermark."""
        if self.rebuild_from is None or self.watermark is None or self.is_short or self.recount_to is not None:
            return None
        last = max((charges.last for charges in self._accounts.values()), default=0)
        start = self._void_from(self.rebuild_from)
        # A watermark that was held back is older than what was told.
        end = max(start, last, self.watermark // HOUR * HOUR) + DAY
        return RebuiltRange(epoch=self.epoch, start=start, end=end)

    def _void_from(self, rebuild_from: int) -> int:
        return rebuild_from if self.ended_from is None else max(rebuild_from, self.ended_from // HOUR * HOUR)

    def report(self, key: SlotKey) -> SlotReport:
        """An unsent slot as it is sent."""
        version = self.unsent[key]
        rows = tuple(
            UsageRow(user=row.user, resource=row.resource, allocated=amounts.allocated, refunded=amounts.refunded)
            for row, amounts in sorted(version.rows.items())
        )
        return SlotReport(account=key.account, hour=key.hour, epoch=self.epoch, seq=version.seq, rows=rows)

    def agree(self) -> None:
        """The ledger knows of no read that these books don't, so all that they have may be told from now on."""
        self.is_agreed = True
        if self.told != self.seq:
            self._set_head(replace(self._head(), told=self.seq))

    def sent(
        self,
        reports: Sequence[SlotReport],
        watermark: int | None,
        *,
        rebuilt: RebuiltRange | None = None,
        refused: Iterable[Refused] = (),
        report: str | None = None,
    ) -> list[Refused]:
        """The gateway has these slots, except those that it refused, and the watermark; refusals that are news.

        A slot that was refused stays unsent. It is offered again when it changes, and when `offer_again` says so.
        ``report``: the id under which they were sent.
        """
        reasons = {SlotKey(item.account, item.hour): item for item in refused}
        news = self.refusals.note([(slot, reasons[key]) for slot in reports if (key := _key(slot)) in reasons])
        taken = [Sent(slot.account, slot.hour, slot.seq) for slot in reports if _key(slot) not in reasons]
        line = SentLine(taken, watermark, rebuilt.start if rebuilt is not None else None, report)
        self.file.append(line)
        self._take_sent(line)
        return news

    # What is to be told again

    def begin_recount(self, epoch: int) -> None:
        """Tell everything anew, as an epoch that is ``epoch`` at least.

        What was told before what the ledger lost, too: whatever is of an older epoch is void where these books cover it.
        """
        first = min((charges.first for charges in self._accounts.values() if len(charges)), default=0)
        # Where there was no account of ours yet, use is complete from the first second of all on.
        begin = self.covered_from or min(first, (self.ended_from or first) // HOUR * HOUR)
        begin = begin if self.rebuild_from is None else min(begin, self.rebuild_from)
        self._set_head(replace(self._head(), epoch=max(self.epoch + 1, epoch), rebuild_from=begin, recount_to=START))

    async def next_recount(self, most: int) -> Piece:
        """The next slots that may have to be told again, so many of them; read in a thread."""
        place, since = self.recount_to or START, self.rebuild_from or 0
        return await asyncio.to_thread(self.file.after, place, self.file.size(), since, most)

    def offer(self, slots: Iterable[tuple[SlotKey, Version]]) -> list[SlotKey]:
        """Those that are to be told again, since no newer version is; how far that is comes with `recounted`."""
        keys = []
        for key, version in slots:
            if key not in self.unsent and self._accounts[key.account].seq(key.hour) == version.seq:
                self.unsent[key] = version
                keys.append(key)
        return keys

    def recounted(self, place: Place | None) -> None:
        """Everything up to this place was told again, or all there is."""
        if place is not None and not self._is_in_order and not self.file.is_at(place):
            place = START  # the file was written anew meanwhile
        self._set_head(replace(self._head(), recount_to=place))

    def _set_head(self, head: Head) -> None:
        line = ReadLine(head, ())
        self.file.append(line)
        self._take_read(line)

    # Disk

    def _take_read(self, line: ReadLine) -> int:
        """Put slots in the place of what was counted for them; how many they are."""
        head, count = line.head, 0
        self.epoch, self.seq = head.epoch, head.seq
        self.watermark, self.covered_from = head.watermark, head.covered_from
        self.rebuild_from, self.open_from = head.rebuild_from, head.open_from
        self.recount_to, self.ended_from, self.told = head.recount_to, head.ended_from, head.told
        for count, (key, version) in enumerate(line.slots, 1):  # noqa: B007 - what it ends at is the answer
            place = Place(version.seq, key.hour, key.account)
            self._is_in_order = self._is_in_order and self._last <= place
            self._last = place
            charges = self._accounts.get(key.account)
            if charges is None:
                charges = self._accounts[key.account] = Charges()
            charges.put(key.hour, version.seq, version.rows)
            if line.kept:
                self.unsent.pop(key, None)
            else:
                self.unsent[key] = version
        return count

    def _take_sent(self, line: SentLine) -> None:
        for account, hour, seq in line.slots:
            key = SlotKey(account, hour)
            version = self.unsent.get(key)
            if version is not None and version.seq <= seq:
                del self.unsent[key]
        if line.watermark is not None:
            self.sent_watermark = line.watermark
        if line.report is not None:
            self.last_report = line.report
        begin = self.rebuild_from
        if line.rebuilt is not None and begin is not None and line.rebuilt <= self._void_from(begin):
            self.rebuild_from = None

    def _load(self) -> None:
        try:
            entries = sum(map(self._take, self.file.lines()))
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            place = self.file.path
            raise DamagedFile(f"{place}: not what was written; move it away, and everything is counted anew") from error
        self.file.note_size()
        self._find_place()
        if entries > OUT_OF_DATE_AT_LOAD + 2 * sum(map(len, self._accounts.values())):
            self.compact()

    def _take(self, line: Line) -> int:
        """Act on a line of the file; how many slots it names."""
        if isinstance(line, ReadLine):
            return self._take_read(line)
        self._take_sent(line)
        return len(line.slots)

    @property
    def is_long(self) -> bool:
        """Whether the file is to be compacted."""
        return self.file.is_long

    def compact(self) -> None:
        """Write the file anew without what was replaced."""
        snapshot = self.snapshot()
        self.file.write_compact(snapshot)
        self.file.use_compact(snapshot)
        self._find_place()

    async def compact_aside(self) -> None:
        """The same while the books go on: the pass over the file is made in a thread. One at a time."""
        snapshot = self.snapshot()
        await asyncio.to_thread(self.file.write_compact, snapshot)
        self.file.use_compact(snapshot)
        self._find_place()

    def _find_place(self) -> None:
        """An older agent wrote files without order: in these no place is found again, and telling anew begins anew."""
        if self.recount_to not in (None, START) and not self._is_in_order:
            self.recounted(START)

    def snapshot(self) -> Snapshot:
        """What of the file is true now."""
        newest = {name: charges.versions() for name, charges in self._accounts.items()}
        return Snapshot(self.file.size(), self._head(), self.sent_watermark, self.last_report, dict(self.unsent), newest)


def _key(report: SlotReport) -> SlotKey:
    return SlotKey(report.account, report.hour)

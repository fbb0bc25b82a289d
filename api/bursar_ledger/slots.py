"""Which slots of a usage report count, and whether they can be true: pure decisions."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from bursar_domain.buckets import WHOLE, Amounts, RowKey, SlotKey, SlotVersion
from bursar_domain.entries import CorrectionRow, Entry, EntryKind
from bursar_domain.units import HOUR, QUARTER
from bursar_domain.wire import BooksMark, RebuiltRange, RefusalReason, Refused, SlotReport

MOST: Final = 2**44  # unit-seconds of one quarter: 19 billion units all through it; sums stay inside 64 bit
SKEW_SECONDS: Final = 300
CLOSES_AFTER: Final = HOUR + 48 * HOUR  # seconds from a slot's first second to the watermark that closes it
VOID_SEQ: Final = -1  # below that of any read: a slot that a rebuild left out can still be sent
FIRST_REBUILD: Final = RebuiltRange(epoch=0, start=0, end=0)
FlatRow = tuple[str, str, int, int, int, int, int, int, int, int]
"""user, resource, four quarters allocated, four refunded: as the table has them."""


HourRow = tuple[str, int, int, int, int, int]
"""resource, charged in all, and in each of the four quarters."""


class Content(NamedTuple):
    """What a slot holds from now on: ``rows`` without those that are all zero, and summed over their users (`charged`)."""

    version: SlotVersion
    rows: Collection[FlatRow]
    hours: Collection[HourRow]

    @classmethod
    def of(cls, version: SlotVersion, rows: Collection[FlatRow]) -> "Content":
        """Rows that were summed nowhere yet."""
        return cls(version, rows, charged(rows))


Judged = tuple[SlotKey, Content]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a cluster before a report.

    ``rebuilds`` are the epochs that count, each with the range in which it voids the lower ones; the first epoch ever seen is
    one with an empty range. ``watermark`` is (epoch, second), ``closed_to`` the highest watermark ever, ``newest`` the greatest
    version ever told. A simulated cluster has a clock of its own, which may run ahead of ours.
    """

    watermark: tuple[int, int] | None = None
    closed_to: int | None = None
    newest: SlotVersion | None = None
    rolled_before: int = 0
    rebuilds: tuple[RebuiltRange, ...] = ()
    capacity: Mapping[str, int] | None = None
    is_simulated: bool = False
    accounts: Collection[str] = frozenset()

    @property
    def epoch(self) -> int:
        """The newest epoch that counts."""
        return max((rebuild.epoch for rebuild in self.rebuilds), default=0)

    def counts(self, epoch: int) -> bool:
        """Whether slots of the epoch count now; else they wait for the last page of its rebuild."""
        epochs = [rebuild.epoch for rebuild in self.rebuilds]
        return not epochs or epoch in epochs or epoch < min(epochs)

    def later(self, epoch: int) -> list[RebuiltRange]:
        """The rebuilds that have taken the place of the epoch's slots, each in its range."""
        return [item for item in self.rebuilds if item.epoch > epoch]

    def closed(self, hour: int) -> bool:
        """Whether the slot is closed: a change of it is a Correction."""
        return self.closed_to is not None and hour + CLOSES_AFTER <= self.closed_to

    @property
    def posting_quarter(self) -> int:
        """The quarter from which a Correction acts."""
        return (self.closed_to or 0) // QUARTER * QUARTER


def judge(slots: Iterable[SlotReport], standing: Standing, now: int, factor: int = WHOLE) -> tuple[list[Judged], list[Refused]]:
    """Those that can be true, and those that can't, each with its reason; ``factor``: thousandths, the largest one there is."""
    bounds = {name: units * QUARTER * max(factor, WHOLE) // WHOLE for name, units in (standing.capacity or {}).items()}
    good: list[Judged] = []
    refused: list[Refused] = []
    for slot in slots:
        found = _misplaced(slot, standing, now) or _content(slot, bounds)
        if isinstance(found, str):
            refused.append(Refused(account=slot.account, hour=slot.hour, reason=found))
        else:
            good.append((SlotKey(slot.account, slot.hour), found))
    return good, refused


def _misplaced(slot: SlotReport, standing: Standing, now: int) -> RefusalReason | None:
    if slot.hour % HOUR or slot.hour < 0:
        return "BadHour"
    if is_to_come(slot.hour, standing, now):
        return "Future"
    return None if slot.account in standing.accounts else "UnknownAccount"


def is_to_come(second: int, standing: Standing, now: int) -> bool:
    """Whether its hour has not begun yet on any clock that can be right."""
    return second // HOUR * HOUR > now + SKEW_SECONDS and not standing.is_simulated


def _content(slot: SlotReport, bounds: Mapping[str, int]) -> Content | RefusalReason:
    """The slot as it is stored, or why it can't be true. Written out, for it sees every bucket there is."""
    rows: list[FlatRow] = []
    keys: set[tuple[str, str]] = set()
    sums: dict[str, list[int]] = {}
    has_refunds = False
    for row in slot.rows:
        (a, b, c, d), (e, f, g, h) = row.allocated, row.refunded
        if not (0 <= e <= a <= MOST and 0 <= f <= b <= MOST and 0 <= g <= c <= MOST and 0 <= h <= d <= MOST):
            return _beyond(row.allocated, row.refunded)
        user, resource = row.user, row.resource
        keys.add((user, resource))
        if a or b or c or d:
            rows.append((user, resource, a, b, c, d, e, f, g, h))
            has_refunds = has_refunds or bool(e or f or g or h)
            if (total := sums.get(resource)) is None:
                sums[resource] = [a, b, c, d]
            else:
                total[0] += a
                total[1] += b
                total[2] += c
                total[3] += d
    if len(keys) != len(slot.rows):
        return "DuplicateRow"
    for resource, total in sums.items():
        if max(total) > bounds.get(resource, MOST * QUARTER):
            return "Absurd"
    version = SlotVersion(slot.epoch, slot.seq)
    if has_refunds:
        return Content.of(version, rows)
    return Content(version, rows, [(name, w + x + y + z, w, x, y, z) for name, (w, x, y, z) in sums.items()])


def _beyond(allocated: Iterable[int], refunded: Iterable[int]) -> RefusalReason:
    below = any(not 0 <= back <= amount for amount, back in zip(allocated, refunded, strict=True))
    return "Negative" if below else "Overflow"


def newest(slots: Iterable[Judged]) -> dict[SlotKey, Content]:
    """The greatest version of each slot."""
    found: dict[SlotKey, Content] = {}
    for key, content in slots:
        if key not in found or found[key].version < content.version:
            found[key] = content
    return found


def news(slots: Mapping[SlotKey, Content], stored: Mapping[SlotKey, SlotVersion], standing: Standing) -> dict[SlotKey, Content]:
    """Those that are greater than what is stored, and in whose place no later rebuild stands."""
    later = {epoch: standing.later(epoch) for epoch in {content.version.epoch for content in slots.values()}}
    return {
        key: content
        for key, content in slots.items()
        if (key not in stored or stored[key] < content.version)
        and not any(item.start <= key.hour < item.end for item in later[content.version.epoch])
    }


def parted(good: list[Judged], standing: Standing) -> tuple[list[Judged], list[Judged]]:
    """Slots that count now, and those of a rebuild whose last page is not in."""
    late = {epoch for epoch in {content.version.epoch for _, content in good} if not standing.counts(epoch)}
    if not late:
        return good, []
    waiting = [item for item in good if item[1].version.epoch in late]
    return [item for item in good if item[1].version.epoch not in late], waiting


def first_rebuild(good: Iterable[Judged], standing: Standing) -> RebuiltRange | None:
    """The first epoch ever seen counts as it is: there is nothing that it could double."""
    epochs = [content.version.epoch for _, content in good]
    return None if standing.rebuilds or not epochs else FIRST_REBUILD.model_copy(update={"epoch": max(epochs)})


def news_of_rebuild(rebuilt: RebuiltRange | None, standing: Standing) -> RebuiltRange | None:
    """The rebuild whose last page this is, in whole hours since a slot is void or it is not; None if it counts already."""
    if rebuilt is None:
        return None
    start, end = rebuilt.start // HOUR * HOUR, -(-rebuilt.end // HOUR) * HOUR
    whole = rebuilt.model_copy(update={"start": start, "end": end})
    return None if whole in standing.rebuilds else whole


def outdated(slots: Mapping[SlotKey, Content], stored: Mapping[SlotKey, SlotVersion]) -> int:
    """How many are older than what is there."""
    return sum(stored[key] > content.version for key, content in slots.items() if key in stored)


def mark(standing: Standing) -> BooksMark:
    """How far the books are."""
    newest = standing.newest or SlotVersion(0, 0)
    return BooksMark(
        epoch=standing.epoch,
        watermark=None if standing.watermark is None else standing.watermark[1],
        newest_epoch=newest.epoch,
        newest_seq=newest.seq,
    )


def newer(slots: Iterable[SlotReport], standing: Standing) -> SlotVersion | None:
    """The greatest version among these, None where a greater one was told before, or the same."""
    told = max((SlotVersion(slot.epoch, slot.seq) for slot in slots), default=None)
    return None if told is None or (standing.newest is not None and told <= standing.newest) else told


def watermark(epoch: int, at: int, stored: tuple[int, int] | None) -> tuple[int, int] | None:
    """The new (epoch, watermark), None to keep the stored one: it grows within an epoch and starts anew with a rebuild."""
    if stored is None or epoch > stored[0]:
        return epoch, at
    return (epoch, at) if epoch == stored[0] and at > stored[1] else None


def corrections(
    cluster: str, late: Mapping[SlotKey, Content], before: Mapping[SlotKey, Collection[FlatRow]], at: int
) -> list[Entry]:
    """One entry for each closed slot that changed: what was stored before, and what is from now on, row by row."""
    found = []
    for key, content in sorted(late.items()):
        rows = differences(key.hour, before.get(key, ()), content.rows)
        if rows:
            found.append(_correction(cluster, key, content.version, at, rows))
    return found


def _correction(cluster: str, key: SlotKey, version: SlotVersion, at: int, rows: tuple[CorrectionRow, ...]) -> Entry:
    hour = datetime.fromtimestamp(key.hour, UTC)
    return Entry(
        key=f"correction/{cluster}/{key.account}/{key.hour}/{version.epoch}.{version.seq}",
        kind=EntryKind.CORRECTION,
        cluster=cluster,
        account=key.account,
        at=at,
        author="agent",
        reason=f"use of {hour:%Y-%m-%d %H}:00 UTC became known after the hour was closed",
        rows=rows,
    )


def differences(hour: int, before: Iterable[FlatRow], after: Iterable[FlatRow]) -> tuple[CorrectionRow, ...]:
    """After less before, rows without a difference left out."""
    old, new = _amounts(before), _amounts(after)
    nothing = Amounts()
    found = []
    for key in sorted(old.keys() | new.keys()):
        was, now = old.get(key, nothing), new.get(key, nothing)
        if was != now:
            allocated = _minus(now.allocated, was.allocated)
            found.append(CorrectionRow(hour, key.user, key.resource, allocated, _minus(now.refunded, was.refunded)))
    return tuple(found)


def _amounts(rows: Iterable[FlatRow]) -> dict[RowKey, Amounts]:
    return {RowKey(user, resource): Amounts((a, b, c, d), (e, f, g, h)) for user, resource, a, b, c, d, e, f, g, h in rows}


def _minus(left: tuple[int, int, int, int], right: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    return left[0] - right[0], left[1] - right[1], left[2] - right[2], left[3] - right[3]


def charged(rows: Iterable[FlatRow]) -> list[HourRow]:
    """The rows of a slot summed over its users."""
    sums: dict[str, list[int]] = {}
    for _, resource, a, b, c, d, e, f, g, h in rows:
        if (total := sums.get(resource)) is None:
            sums[resource] = [a - e, b - f, c - g, d - h]
        else:
            total[0] += a - e
            total[1] += b - f
            total[2] += c - g
            total[3] += d - h
    return [(resource, w + x + y + z, w, x, y, z) for resource, (w, x, y, z) in sums.items()]

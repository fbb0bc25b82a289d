"""Which slots of a usage report count, and whether they can be true: pure decisions."""

from collections.abc import Iterable, Mapping
from typing import Final

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.units import HOUR
from bursar_domain.wire import SlotReport
from bursar_ledger.errors import BadReport

MOST: Final = 2**44  # unit-seconds of one quarter: 19 billion units all through it; sums stay inside 64 bit
LAST_HOUR: Final = 2**40


def check(slots: Iterable[SlotReport]) -> None:
    """BadReport that names the slot where an hour is none, an amount is negative or absurd, or a row comes twice."""
    for slot in slots:
        where = f"slot of account {slot.account} at {slot.hour}"
        if slot.hour % HOUR or not 0 <= slot.hour <= LAST_HOUR:
            raise BadReport(f"{where}: the hour must be the first second of a UTC hour")
        if len({(row.user, row.resource) for row in slot.rows}) != len(slot.rows):
            raise BadReport(f"{where}: each user and resource may come once; add their rows up")
        for row in slot.rows:
            pairs = zip(row.allocated, row.refunded, strict=True)
            if not all(0 <= refunded <= allocated <= MOST for allocated, refunded in pairs):
                raise BadReport(f"{where}, user {row.user}, {row.resource}: need 0 <= refunded <= allocated <= {MOST}")


def newest(slots: Iterable[SlotReport]) -> dict[SlotKey, SlotReport]:
    """The greatest version of each slot in one report."""
    found: dict[SlotKey, SlotReport] = {}
    for slot in slots:
        key = SlotKey(slot.account, slot.hour)
        if key not in found or version(found[key]) < version(slot):
            found[key] = slot
    return found


def news(slots: Mapping[SlotKey, SlotReport], stored: Mapping[SlotKey, SlotVersion]) -> dict[SlotKey, SlotReport]:
    """Those that are greater than what is stored."""
    return {key: slot for key, slot in slots.items() if key not in stored or stored[key] < version(slot)}


def version(slot: SlotReport) -> SlotVersion:
    """`(epoch, seq)`, compared in that order."""
    return SlotVersion(slot.epoch, slot.seq)


def watermark(epoch: int, at: int, stored: tuple[int, int] | None) -> tuple[int, int] | None:
    """The new (epoch, watermark), None to keep the stored one: it grows within an epoch and starts anew with a rebuild."""
    if stored is None or epoch > stored[0]:
        return epoch, at
    return (epoch, at) if epoch == stored[0] and at > stored[1] else None

"""Entries: what gives or takes room beside the use. Append-only; each has an author, a reason and the quarter it acts from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bursar_domain.buckets import Quarters


class EntryKind(StrEnum):
    """What an entry does."""

    GRANT = "Grant"
    CARRY_OVER = "CarryOver"
    ADJUSTMENT = "Adjustment"
    TRANSFER = "Transfer"
    EXPIRY = "Expiry"
    CORRECTION = "Correction"
    REFUND = "Refund"


class CorrectionRow(NamedTuple):
    """One row of a closed slot: by how much its four quarters changed, unit-seconds, signed."""

    hour: int
    user: str
    resource: str
    allocated: Quarters
    refunded: Quarters


@dataclass(frozen=True, slots=True)
class Entry:
    """One booking. The same ``key`` is booked once.

    ``at`` is the quarter from which it acts, in the cluster's time. ``amounts`` are signed unit-seconds by resource; those of
    a Grant are the usable total from then on. ``window`` is the start of the window that receives a CarryOver, or of the one
    whose hours expired. ``reference``: the job of a Refund, the other allocation of a Transfer. ``rows``: only a Correction.
    """

    key: str
    kind: EntryKind
    cluster: str
    account: str
    at: int
    author: str
    reason: str
    uid: str = ""
    namespace: str = ""
    name: str = ""
    amounts: Mapping[str, int] = field(default_factory=dict)
    window: int | None = None
    reference: str = ""
    rows: tuple[CorrectionRow, ...] = ()

"""Entries: what gives or takes room beside the use. Append-only; each has an author, a reason and the quarter it acts from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

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


def dump(entry: Entry) -> dict[str, Any]:
    """The entry as JSON has it: every field, rows as lists."""
    return {
        "key": entry.key,
        "kind": entry.kind.value,
        "cluster": entry.cluster,
        "account": entry.account,
        "at": entry.at,
        "author": entry.author,
        "reason": entry.reason,
        "uid": entry.uid,
        "namespace": entry.namespace,
        "name": entry.name,
        "amounts": dict(entry.amounts),
        "window": entry.window,
        "reference": entry.reference,
        "rows": [[*row[:3], list(row.allocated), list(row.refunded)] for row in entry.rows],
    }


def load(found: Mapping[str, Any]) -> Entry:
    """The entry behind `dump`."""
    return Entry(**{**found, "kind": EntryKind(found["kind"]), "rows": rows_of(found["rows"])})


def rows_of(found: Iterable[Sequence[Any]]) -> tuple[CorrectionRow, ...]:
    """Rows of a Correction as JSON has them."""
    return tuple(CorrectionRow(hour, user, name, _quarters(used), _quarters(back)) for hour, user, name, used, back in found)


def _quarters(found: Sequence[int]) -> Quarters:
    first, second, third, fourth = found
    return first, second, third, fourth


def canonical(value: object) -> str:
    """The one text form that is stored and hashed: sorted keys, no spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()

"""What a publication changes: pure decisions over what is stored and what comes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from bursar_domain.wire import AccountEntry, AllocationEntry
from bursar_ledger.errors import EditedGrant

TOMBSTONE: Final = 2**53  # higher than any revision that is ever counted up to
REFRESH_BELOW_PERCENT: Final = 80


@dataclass(frozen=True, slots=True)
class StoredGrant:
    """What was last published for a uid, and for which account: ``granted`` and ``entry`` as canonical JSON."""

    cluster: str
    account: str
    revision: int
    granted: str
    entry: str


@dataclass(frozen=True, slots=True)
class Publication:
    """Result of `publish`: ``revisions`` holds the stored revision of every uid that was handed in."""

    generation: int
    changed: int
    revisions: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Head:
    """The stored root's figures."""

    epoch: int
    generation: int
    signing: int
    acknowledged: int
    valid_until: int
    settings: str


@dataclass(frozen=True, slots=True)
class ChangedEntry:
    """An account entry that differs from the stored one, as it will be stored."""

    entry: AccountEntry
    digest: str
    text: str


def merge(entries: Sequence[AccountEntry], grants: Mapping[str, StoredGrant]) -> list[AccountEntry]:
    """The entries with every allocation at its highest revision; EditedGrant where one revision has two values.

    The last entry of an account counts. What is tombstoned is left out; what would fall back keeps its published form.
    """
    latest = {entry.account: entry for entry in entries}
    return [
        entry.model_copy(update={"allocations": tuple(_kept(entry.allocations, grants))}) if entry.allocations else entry
        for entry in latest.values()
    ]


def _kept(allocations: Sequence[AllocationEntry], grants: Mapping[str, StoredGrant]) -> list[AllocationEntry]:
    return [kept for allocation in allocations if (kept := _higher(allocation, grants.get(allocation.uid))) is not None]


def _higher(allocation: AllocationEntry, stored: StoredGrant | None) -> AllocationEntry | None:
    if stored is None or stored.revision < allocation.grant_revision:
        return allocation
    if stored.revision == TOMBSTONE:
        return None
    if stored.revision > allocation.grant_revision:
        return AllocationEntry.model_validate_json(stored.entry)
    if _nonzero(orjson.loads(stored.granted)) != _nonzero(allocation.granted):
        raise EditedGrant(allocation.uid, stored.revision)
    return allocation


def _nonzero(granted: Mapping[str, int]) -> dict[str, int]:
    return {name: hours for name, hours in granted.items() if hours}


def changed_entries(entries: Sequence[AccountEntry], digests: Mapping[str, str]) -> list[ChangedEntry]:
    """Those whose digest differs from the stored one of their account."""
    found = [ChangedEntry(entry, entry.digest(), entry.canonical().decode()) for entry in entries]
    return [change for change in found if digests.get(change.entry.account) != change.digest]


def revisions_after(uids: Sequence[str], before: Mapping[str, StoredGrant], changes: Sequence[ChangedEntry]) -> dict[str, int]:
    """uid -> revision that is stored once the changes are."""
    kept = {uid: before[uid].revision for uid in uids if uid in before}
    new = {item.uid: item.grant_revision for change in changes for item in change.entry.allocations}
    return kept | new


def must_sign(head: Head | None, *, epoch: int, acknowledged: int, now: int, valid_seconds: int, moved: bool) -> bool:
    """Whether the root must be signed anew: something moved, a new term or release, or under 80 % of its validity left."""
    if head is None or moved or epoch > head.epoch or acknowledged > head.acknowledged:
        return True
    return (head.valid_until - now) * 100 < valid_seconds * REFRESH_BELOW_PERCENT

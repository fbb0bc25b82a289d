"""What the grant core needs to know of the books, read from memory: acknowledgements, published revisions, use."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from bursar_operator.domain.batch import Gone


@dataclass(frozen=True, slots=True)
class Figures:
    """Balance of one allocation's window as its status shows it. Hours per resource; used is rounded up, available down.

    ``adjusted`` is what was added or taken by hand and by corrections, less debt of earlier windows.
    """

    used: Mapping[str, int] = field(default_factory=dict)
    committed: Mapping[str, int] = field(default_factory=dict)
    available: Mapping[str, int] = field(default_factory=dict)
    adjusted: Mapping[str, int] = field(default_factory=dict)
    window_hours: Mapping[str, int] = field(default_factory=dict)
    carried: Mapping[str, int] = field(default_factory=dict)
    window_start: datetime | None = None
    window_end: datetime | None = None
    coverage_percent: int = 100
    projected_exhaustion: datetime | None = None
    used_percent: int = 0
    usage_as_of: datetime | None = None
    enforcement: str = "None"
    exhausted: bool = False
    overdrawn: bool = False
    usage_stale: bool = False


class LedgerView(Protocol):
    """Answers at once from memory; whoever implements it keeps the memory fresh and calls `Grants.touch` after a change."""

    def ack(self, uid: str) -> int | None:
        """Revision of the allocation that the agent read back from the scheduler."""

    def enforced_at(self, uid: str) -> datetime | None:
        """When it was read back."""

    def revision(self, uid: str) -> tuple[int, Mapping[str, int]] | None:
        """Revision and grant that are published, as agents may have seen them."""

    def used_hours(self, uid: str) -> Mapping[str, int]:
        """Whole hours used, rounded up."""

    def committed_hours(self, uid: str) -> Mapping[str, int]:
        """Whole hours that running jobs may still use, rounded up."""

    def figures(self, uid: str) -> Figures | None:
        """Balance for the status; None while nothing is known of the allocation."""

    def acknowledged_as_not_enforced(self, cluster: str) -> bool:
        """Whether nobody enforces there (Observe, or never enrolled), so that what is published counts as acknowledged."""

    def complete_until(self, cluster: str) -> datetime | None:
        """Usage watermark; None for a cluster that never reported usage."""

    def uids(self, cluster: str) -> Iterable[str]:
        """Every allocation that anything was ever published of."""

    def uses(self, cluster: str, account: str) -> Iterable[tuple[str, str, Mapping[str, int]]]:
        """Of every allocation that an account ever had on a cluster: uid, leaf pool, whole hours used."""

    def gone(self, uid: str) -> Gone | None:
        """What the ledger knows of an allocation whose object is gone, with the hours that agents know it by."""

    def tombstoned(self, uid: str) -> bool:
        """Whether the tombstone of a gone allocation is published and acknowledged (or nobody enforces there)."""

    async def tombstone(self, uid: str) -> None:
        """Publish that the allocation is gone: the highest revision there is."""

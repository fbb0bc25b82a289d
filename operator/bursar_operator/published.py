"""What agents may have seen of allocations, and the graves of those that are gone."""

from collections.abc import Mapping
from dataclasses import dataclass

from bursar_domain.wire import AllocationEntry
from bursar_ledger.publication import TOMBSTONE


@dataclass(frozen=True, slots=True)
class Published:
    """What agents may have seen of an allocation; ``entry`` is the last one before a tombstone, if that is known."""

    cluster: str
    account: str
    revision: int
    entry: AllocationEntry | None

    @property
    def granted(self) -> Mapping[str, int]:
        """Hours that agents know it by; none once it is tombstoned."""
        return self.entry.granted if self.entry is not None and self.revision != TOMBSTONE else {}


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A gone allocation: the generation from which its cluster does without it; None until that is published."""

    cluster: str
    generation: int | None

"""What agents may have seen of allocations, and the graves of those that are gone."""

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern

from bursar_domain.wire import AllocationEntry
from bursar_kube.packed import Packing
from bursar_ledger.publication import TOMBSTONE


@dataclass(frozen=True, slots=True)
class Published:
    """What agents may have seen of an allocation; ``packed`` is the last entry before a tombstone, if that is known."""

    cluster: str
    account: str
    revision: int
    packed: bytes | None


class Publications:
    """What was published, allocation by allocation. Entries are held packed: there is one for every allocation ever."""

    def __init__(self) -> None:
        self._packing = Packing()
        self._by_uid: dict[str, Published] = {}
        self._of_account: dict[tuple[str, str], dict[str, None]] = {}

    def __contains__(self, uid: object) -> bool:
        return uid in self._by_uid

    def get(self, uid: str) -> Published | None:
        """What agents may have seen of it."""
        return self._by_uid.get(uid)

    def put(self, uid: str, cluster: str, account: str, revision: int, entry: str | bytes | None) -> None:
        """Agents may have seen this; ``entry`` as JSON."""
        self._put(uid, Published(cluster, account, revision, self._packing.pack_text(entry) if entry else None))

    def revised(self, uid: str, revision: int) -> None:
        """The same under another revision."""
        before = self._by_uid[uid]
        self._put(uid, Published(before.cluster, before.account, revision, before.packed))

    def entry(self, uid: str) -> AllocationEntry | None:
        """What was published of it last."""
        found = self._by_uid.get(uid)
        if found is None or found.packed is None:
            return None
        return AllocationEntry.model_validate_json(self._packing.unpack_text(found.packed))

    def granted(self, uid: str) -> Mapping[str, int]:
        """Hours that agents know it by; none once it is tombstoned."""
        found = self._by_uid.get(uid)
        if found is None or found.packed is None or found.revision == TOMBSTONE:
            return {}
        granted: Mapping[str, int] = self._packing.unpack(found.packed)["granted"]
        return granted

    def of_cluster(self, cluster: str) -> tuple[str, ...]:
        """Every uid that anything was ever published of on a cluster."""
        return tuple(uid for uid, item in self._by_uid.items() if item.cluster == cluster)

    def of_account(self, key: tuple[str, str]) -> tuple[str, ...]:
        """The same of a cluster and account."""
        return tuple(self._of_account.get(key, ()))

    def _put(self, uid: str, item: Published) -> None:
        uid = intern(uid)
        self._by_uid[uid] = item
        self._of_account.setdefault((item.cluster, item.account), {})[uid] = None


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A gone allocation: the generation from which its cluster does without it; None until that is published."""

    cluster: str
    generation: int | None

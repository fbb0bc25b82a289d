"""Which grants have to be posted: asked of every allocation of an account before each publication, answered at little cost."""

from collections.abc import Sequence
from typing import Final

from bursar_domain.entries import Entry
from bursar_domain.units import Scales
from bursar_operator.accounts import Accounts
from bursar_operator.domain.entries import is_granted, is_overgranted
from bursar_operator.informers import Informers
from bursar_operator.published import Publications
from bursar_operator.recent import Recent

IN_ORDER_MAXIMUM: Final = 6_000
Key = tuple[str, str]
"""Namespace and name, or cluster and account."""


class Dues:
    """Postings that allocations need. One that needed none and is what it was is not unpacked again."""

    def __init__(self, informers: Informers, accounts: Accounts, published: Publications) -> None:
        self._informer = informers.allocations
        self._accounts = accounts
        self._published = published
        # Uid, version, entries, scales and time at which an allocation needed no posting, so that later it needs none either.
        self._in_order: Recent[Key, tuple[str, str, int, Scales, int | None]] = Recent(IN_ORDER_MAXIMUM)

    def planned(self, place: Key, key: Key, now: int | None, scales: Scales) -> Sequence[Entry]:
        """Postings for the allocation at ``place`` on the cluster and account; ``now``: None while the cluster has no time."""
        if self._is_in_order(place, now, scales):
            return ()
        item = self._informer.get(*place)
        if item is None or item["spec"]["clusterRef"]["name"] != key[0] or not is_granted(item) or is_overgranted(item):
            return ()
        uid = item["metadata"]["uid"]
        found = self._accounts.planned(item, key, now, is_first=uid in self._published)
        count = self._accounts.count(uid)
        if count and not found:
            self._in_order.put(place, (uid, item["metadata"]["resourceVersion"], count, scales, now))
        return found

    def _is_in_order(self, place: Key, now: int | None, scales: Scales) -> bool:
        known = self._in_order.get(place)
        if known is None or known[1:4] != (self._informer.version(*place), self._accounts.count(known[0]), scales):
            return False
        return known[4] is None or (now is not None and known[4] <= now)

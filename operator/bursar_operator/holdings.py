"""What each project holds of each pool: kept as a running sum, so that asking costs the same however much there is."""

import time
from collections.abc import Callable, Collection, Iterable
from typing import Final

from bursar_operator.directory import Directory
from bursar_operator.domain import hours
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Row
from bursar_operator.ledgerview import LedgerView

GONE_SECONDS: Final = 60.0  # late records may add to what those that are gone have used


class Holdings:
    """Σ charged by namespace and leaf pool. `touched` has an allocation counted anew before the next answer.

    Hours that were used count for ever: as the charge of what lives, as what the ledger knows of what is gone.
    """

    def __init__(
        self,
        rows_in: Callable[[str], Iterable[Row]],
        row: Callable[[str], Row | None],
        ledger: LedgerView,
        directory: Directory,
    ) -> None:
        self._rows_in = rows_in
        self._row = row
        self._ledger = ledger
        self._directory = directory
        self._held: dict[str, dict[str, tuple[str, Hours]]] = {}
        self._totals: dict[str, dict[str, Hours]] = {}
        self._touched: dict[str, set[str]] = {}
        self._gone: dict[tuple[str, str], tuple[float, dict[str, Hours]]] = {}

    def touched(self, namespace: str, uid: str) -> None:
        """The copy of an allocation changed, or it is gone."""
        if namespace in self._held:
            self._touched.setdefault(namespace, set()).add(uid)

    def of(self, namespace: str, cluster: str, pools: Collection[str]) -> Hours:
        """What the project of a namespace holds of these leaf pools of a cluster."""
        if namespace not in self._held:
            self._held[namespace], self._totals[namespace] = {}, {}
            for row in self._rows_in(namespace):
                self._count(namespace, row.uid, row)
        for uid in self._touched.pop(namespace, ()):
            self._count(namespace, uid, self._row(uid))
        sums = (self._totals[namespace], self._used_by_gone(namespace, cluster))
        return hours.total([sum_[pool] for sum_ in sums for pool in pools if pool in sum_])

    def _count(self, namespace: str, uid: str, row: Row | None) -> None:
        held, totals = self._held[namespace], self._totals[namespace]
        before = held.pop(uid, None)
        if before is not None:
            totals[before[0]] = hours.minus(totals[before[0]], before[1])
        if row is None:
            for key in [key for key in self._gone if key[0] == namespace]:
                del self._gone[key]
            return
        charged = row.state.charged
        if row.deleting:
            charged = hours.upper(charged, self._ledger.used_hours(uid))
        if row.leaf and not hours.is_zero(charged):
            held[uid] = row.leaf, charged
            totals[row.leaf] = hours.plus(totals.get(row.leaf, {}), charged)

    def _used_by_gone(self, namespace: str, cluster: str) -> dict[str, Hours]:
        until, used = self._gone.get((namespace, cluster), (0.0, {}))
        if time.monotonic() < until:
            return used
        owner, used = self._directory.of_namespace(namespace), {}
        for uid, pool, amounts in self._ledger.uses(cluster, owner.account) if owner else ():
            if self._row(uid) is None:
                used[pool] = hours.plus(used.get(pool, {}), amounts)
        self._gone[namespace, cluster] = time.monotonic() + GONE_SECONDS, used
        return used

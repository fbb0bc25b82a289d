"""Attribution: one account's use put down to its allocations, earliest end first.

Boundaries lie on quarter hours, so the active set is fixed inside a quarter and the fold is exact.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

UNFUNDED = ""


@dataclass(frozen=True, slots=True)
class Share:
    """One allocation's claim on one resource: active in ``[start, end)``, ``room`` and ``grace`` in unit-seconds."""

    uid: str
    start: int
    end: int
    room: int
    grace: int = 0


@dataclass(frozen=True, slots=True)
class Attributed:
    """Unit-seconds per allocation uid; ``overdraft`` holds what found no room (uid of the last-ending one, or `UNFUNDED`)."""

    used: Mapping[str, int]
    overdraft: Mapping[str, int]


def attribute(shares: Sequence[Share], quarters: Iterable[tuple[int, int]]) -> Attributed:
    """Fold ``quarters`` (first second, unit-seconds), in order of time, over the active shares: room first, then grace.

    Conserves: the sum of ``used`` and ``overdraft`` is the sum of the quarters.
    """
    ordered = sorted(shares, key=lambda share: (share.end, share.uid))
    used = {share.uid: 0 for share in ordered}
    overdraft: dict[str, int] = {}
    for at, amount in sorted(quarters):
        active = [share for share in ordered if share.start <= at < share.end]
        rest = _fill(active, used, amount, with_grace=False)
        rest = _fill(active, used, rest, with_grace=True)
        if rest:
            owner = active[-1].uid if active else UNFUNDED
            overdraft[owner] = overdraft.get(owner, 0) + rest
    return Attributed(used, overdraft)


def _fill(active: Sequence[Share], used: dict[str, int], amount: int, *, with_grace: bool) -> int:
    for share in active:
        if amount <= 0:
            break
        limit = share.room + (share.grace if with_grace else 0)
        take = min(amount, max(0, limit - used[share.uid]))
        used[share.uid] += take
        amount -= take
    return amount

"""Postings: which Grant entries an allocation needs now, so that its usable total is what is granted and open. Pure.

The usable total of a resource is ``granted x opened percent // 100``. A dated tranche counts from its date on, a gate from
the quarter in which it is first seen open; without tranches all of it counts. Entries that are booked say the total from a
quarter on, so nothing is planned while they say the same for now and for later.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bursar_domain.closing import AUTHOR
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.units import QUARTER, UNSCALED, Scales

WHOLE: Final = 100
TAKEN_BACK: Final = "taken back"
Totals = Mapping[str, int]
Posting = tuple[int, Totals]


@dataclass(frozen=True, slots=True)
class Share:
    """A tranche: ``percent`` that open at a second, or with a gate."""

    percent: int
    at: int | None = None
    gate: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """What is granted to one allocation, ``hours`` whole hours by resource; times in epoch seconds.

    ``open_until``: after this second nothing acts any more. ``opened``: the gates that are open. ``pool``: what it draws on.
    """

    uid: str
    cluster: str
    account: str
    namespace: str
    name: str
    start: int
    open_until: int
    hours: Mapping[str, int]
    shares: Sequence[Share] = ()
    opened: frozenset[str] = frozenset()
    pool: str = ""
    scales: Scales = UNSCALED


def acts_from(grant: Grant, now: int | None, *, from_start: bool) -> int:
    """The quarter from which a posting of ``now`` (the cluster's time; None: unknown) acts."""
    return grant.start if now is None or from_start else max(grant.start, now // QUARTER * QUARTER)


def planned(grant: Grant, booked: Iterable[Entry], now: int | None, *, has_use: bool) -> list[Entry]:
    """Entries to book now, in order; ``booked`` are the allocation's entries in order of their numbers.

    Keys count on from the Grants that are booked: planning again before they are known gives the same keys.
    """
    grants = [entry for entry in booked if entry.kind is EntryKind.GRANT]
    # While the account has no use, nobody loses hours by having them from the start. What comes after the first posting acts
    # from now on, for use that is not reported yet must find what there was.
    at = acts_from(grant, now, from_start=not grants and not has_use)
    if grants and not any(grant.hours.values()) and now is not None:
        # What was used in this quarter before stays with it; the agent lets nothing start from the moment it hears of it.
        at = at + QUARTER if _ends(grant, grants) else grants[-1].at
    if at >= grant.open_until:
        return []
    wanted, known = _wanted(grant, at), _in_force(grants, at)
    # The first one is booked whatever it comes to: until then nobody's fold knows of the allocation, nor that it is gone.
    if grants and _changes(wanted) == _changes(known) and not _ends(grant, grants):
        return []
    reason = _reason(grant, grants, wanted[0][1], known)
    return [
        _entry(grant, len(grants) + number, second, totals, reason if number == 1 else "a tranche opens")
        for number, (second, totals) in enumerate(wanted, start=1)
    ]


def _ends(grant: Grant, grants: Sequence[Entry]) -> bool:
    """Whether nothing is granted any more and no entry says so: where tranches came to 0 before, the end is booked still."""
    return bool(grants) and not any(grant.hours.values()) and grants[-1].reason != TAKEN_BACK


def _wanted(grant: Grant, at: int) -> list[Posting]:
    """The usable totals from ``at`` on, and at each dated opening after it."""
    later = {share.at for share in grant.shares if share.at is not None and at < share.at < grant.open_until}
    postings = [(second, _totals(grant, second)) for second in [at, *sorted(later)]]
    return [item for number, item in enumerate(postings) if number == 0 or item[1] != postings[number - 1][1]]


def _totals(grant: Grant, second: int) -> Totals:
    percent = _opened(grant, second)
    return {
        name: grant.scales.seconds_from_hours(name, hours) * percent // WHOLE for name, hours in sorted(grant.hours.items())
    }


def _opened(grant: Grant, second: int) -> int:
    if not grant.shares:
        return WHOLE
    return sum(share.percent for share in grant.shares if _is_open(share, grant.opened, second))


def _is_open(share: Share, gates: frozenset[str], second: int) -> bool:
    return share.gate in gates if share.at is None else share.at <= second


def _in_force(grants: Iterable[Entry], at: int) -> list[Posting]:
    """What the booked entries say from ``at`` on; a later entry replaces what was posted for its quarter and after."""
    found: list[Posting] = []
    for entry in grants:
        found = [item for item in found if item[0] < entry.at]
        found.append((entry.at, entry.amounts))
    before = [totals for second, totals in found if second <= at]
    return [(at, before[-1] if before else {}), *(item for item in found if item[0] > at)]


def _changes(postings: Iterable[Posting]) -> list[tuple[int, dict[str, int]]]:
    """The postings without those that change nothing; an absent resource is 0."""
    found: list[tuple[int, dict[str, int]]] = []
    for second, totals in postings:
        positive = {name: amount for name, amount in totals.items() if amount}
        if not found or found[-1][1] != positive:
            found.append((second, positive))
    return found


def _reason(grant: Grant, booked: Sequence[Entry], totals: Totals, known: Sequence[Posting]) -> str:
    before = known[0][1]
    if not any(grant.hours.values()):
        return TAKEN_BACK
    if not booked:
        return "granted"
    if totals == before:
        return "the dates of the tranches were changed"
    falls = any(totals.get(name, 0) < amount for name, amount in before.items())
    return "lowered" if falls else "raised"


def _entry(grant: Grant, number: int, at: int, totals: Totals, reason: str) -> Entry:
    return Entry(
        key=f"grant/{grant.uid}/{number}",
        kind=EntryKind.GRANT,
        cluster=grant.cluster,
        account=grant.account,
        at=at,
        author=AUTHOR,
        reason=reason,
        uid=grant.uid,
        namespace=grant.namespace,
        name=grant.name,
        amounts=totals,
        reference=grant.pool,
    )

"""What an allocation's object says about its windows, in the words of the shared arithmetic. Pure."""

from collections.abc import Mapping
from typing import Any

from bursar_crds.instants import parse_instant
from bursar_domain.closing import Carry
from bursar_domain.ladder import Action, Basis, Rule
from bursar_domain.published import terms_of
from bursar_domain.terms import Rules
from bursar_domain.units import DAY, Scales
from bursar_domain.windows import Span, WindowError, cut
from bursar_domain.wire import AllocationEntry
from bursar_operator.domain import hours, postings

Obj = Mapping[str, Any]


def period_of(allocation: Obj) -> Span:
    """``[start, end)`` in epoch seconds."""
    period = allocation["spec"]["period"]
    return Span(*(int(parse_instant(period[at]).timestamp()) for at in ("start", "end")))


def after_end_seconds(allocation: Obj) -> int:
    """Grace after the end."""
    return int((allocation["spec"].get("grace") or {}).get("afterEndDays", 0)) * DAY


def rules_of(allocation: Obj) -> Rules:
    """Rules of a stored allocation. A recurrence that can't be cut, which admission refuses, leaves one window."""
    spec, status = allocation["spec"], allocation.get("status") or {}
    recurrence, period = spec.get("recurrence") or {}, period_of(allocation)
    try:
        windows = cut(*period, recurrence.get("every"), recurrence.get("timeZone"))
    except WindowError:
        windows = (period,)
    # As the agent knows them: by what is granted.
    names = set(hours.of(status.get("granted"))) or {item["name"] for item in spec["resources"]}
    return Rules(
        uid=allocation["metadata"]["uid"],
        resources=tuple(sorted(names)),
        windows=windows,
        after_end_seconds=after_end_seconds(allocation),
        overuse_percent=int((spec.get("grace") or {}).get("overusePercent", 0)),
        carries_debt=spec.get("debt") != "Absorb",
        is_deleted="deletionTimestamp" in allocation["metadata"],
    )


def rules_of_entry(entry: AllocationEntry) -> Rules:
    """Rules of an allocation whose object is gone, as they were published last."""
    end = entry.windows[-1].end if entry.windows else entry.end
    return Rules(
        uid=entry.uid,
        resources=tuple(sorted(entry.granted)),
        windows=tuple(Span(item.start, item.end) for item in entry.windows) or (Span(entry.start, entry.end),),
        after_end_seconds=max(0, entry.open_until - end),
        overuse_percent=entry.overuse_percent,
        carries_debt=entry.carries_debt,
        is_deleted=True,
        past_ends=terms_of(entry).past_ends,
    )


def grant_of(allocation: Obj, account: str, scales: Scales) -> postings.Grant:
    """What postings are planned from."""
    spec, status, metadata = allocation["spec"], allocation.get("status") or {}, allocation["metadata"]
    period = period_of(allocation)
    return postings.Grant(
        uid=metadata["uid"],
        cluster=spec["clusterRef"]["name"],
        account=account,
        namespace=metadata["namespace"],
        name=metadata["name"],
        start=period.start,
        open_until=period.end + after_end_seconds(allocation),
        hours=hours.of(status.get("granted")),
        shares=tuple(_share(item) for item in spec.get("tranches") or ()),
        opened=frozenset(spec.get("openedGates") or ()),
        pool=str(status.get("pool") or ""),
        scales=scales,
    )


def _share(tranche: Obj) -> postings.Share:
    at = tranche.get("from")
    return postings.Share(tranche["percent"], int(parse_instant(at).timestamp()) if at else None, tranche.get("gate"))


def grant_of_entry(entry: AllocationEntry, cluster: str, account: str) -> postings.Grant:
    """The same of an allocation whose object is gone: nothing is granted to it any more."""
    until = entry.open_until or entry.end
    return postings.Grant(entry.uid, cluster, account, entry.namespace, entry.name, entry.start, until, {})


def carry_of(allocation: Obj, scales: Scales) -> Carry:
    """What a window leaves to the next."""
    found = allocation["spec"].get("carryOver") or {}
    return Carry(int(found.get("percent", 0)), found.get("maximumHours"), scales)


def thresholds_of(allocation: Obj) -> tuple[Rule, ...]:
    """The thresholds."""
    return tuple(
        Rule(item["percent"], Action(item["action"]), item.get("clearBelowPercent"), Basis(item.get("basis") or "Used"))
        for item in allocation["spec"].get("thresholds") or ()
    )

"""Use and balances: the ledger sums, the shared arithmetic attributes, this only shows."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from bursar_api import visibility
from bursar_api.features.common import Filter, State
from bursar_api.identity import Caller
from bursar_api.state import Gateway
from bursar_crds.instants import parse_instant
from bursar_domain.balance import Balance, Grant, balance
from bursar_domain.thresholds import used_percent
from bursar_domain.units import hours_left, hours_used

router = APIRouter(tags=["usage"])
Obj = dict[str, Any]
DAY = 86_400
BURN_SECONDS = 14 * DAY
FAR_SECONDS = 3650 * DAY
By = Literal["account", "user", "resource", "month"]


@router.get("/usage")
async def usage(
    gateway: State,
    caller: Caller,
    cluster: Filter = None,
    project: Filter = None,
    user: Filter = None,
    by: Annotated[By, Query(description="What the rows are grouped by, beside cluster, account and resource.")] = "user",
) -> Response:
    """Booked use in unit-seconds of every project the caller may see, with the time each cluster's books are complete up to."""
    seen = await visibility.projects(gateway, caller)
    wanted = [p for p in seen if project is None or p["metadata"]["name"] == project]
    names = sorted(c["metadata"]["name"] for c in gateway.caches.clusters.items())
    rows: list[Obj] = []
    for name in names:
        if cluster is not None and name != cluster:
            continue
        for obj in wanted:
            found = await gateway.ledger.usage(name, account=visibility.account_of(obj), by=by)
            rows += [{"cluster": name, "project": obj["metadata"]["name"], **row} for row in map(dict, found)]
    shown = [row for row in rows if user is None or row.get("user") == user]
    marks = {name: await gateway.ledger.watermark(name) for name in names if cluster is None or name == cluster}
    as_of = {name: instant(mark) for name, mark in marks.items() if mark is not None}
    return Response(orjson.dumps({"items": shown, "asOf": as_of}), media_type="application/json")


@router.get("/balances")
async def balances(gateway: State, caller: Caller, project: Filter = None, cluster: Filter = None) -> Response:
    """Granted, used and left of every allocation the caller may see."""
    owners = {visibility.namespace_of(p): p for p in await visibility.projects(gateway, caller)}
    groups: dict[tuple[str, str], list[Obj]] = {}
    for allocation in await visibility.allocations(gateway, caller):
        owner = owners.get(allocation["metadata"]["namespace"])
        at = allocation["spec"]["clusterRef"]["name"]
        if owner is None or (project is not None and owner["metadata"]["name"] != project) or (cluster not in (None, at)):
            continue
        groups.setdefault((at, allocation["metadata"]["namespace"]), []).append(allocation)
    rows = [
        row
        for (at, namespace), found in sorted(groups.items())
        for row in await _account(gateway, at, owners[namespace], found)
    ]
    return Response(orjson.dumps({"items": rows}), media_type="application/json")


async def _account(gateway: Gateway, cluster: str, project: Obj, allocations: list[Obj]) -> list[Obj]:
    quarters = await gateway.ledger.quarters(cluster, visibility.account_of(project))
    watermark = await gateway.ledger.watermark(cluster)
    books = balance([grant_of(a) for a in allocations], quarters)
    rates = {name: burn_rate(found, watermark) for name, found in quarters.items()}
    return [_row(cluster, project, a, books.allocations[a["metadata"]["uid"]], watermark, rates) for a in allocations]


def burn_rate(quarters: Sequence[tuple[int, int]], now: int | None) -> int:
    """Unit-seconds per day of the account: the mean over the last 14 days, or since its first use where that is shorter."""
    if now is None or not quarters:
        return 0
    since = max(now - BURN_SECONDS, min(at for at, _ in quarters))
    return sum(amount for at, amount in quarters if at >= since) * DAY // max(DAY, now - since)


def grant_of(allocation: Obj) -> Grant:
    """An allocation as the balance needs it: what is granted, not what is asked."""
    period = allocation["spec"]["period"]
    granted = {entry["name"]: int(entry["hours"]) for entry in allocation.get("status", {}).get("granted", [])}
    asked = {entry["name"]: granted.get(entry["name"], 0) for entry in allocation["spec"]["resources"]}
    return Grant(
        allocation["metadata"]["uid"],
        int(parse_instant(period["start"]).timestamp()),
        int(parse_instant(period["end"]).timestamp()),
        {**asked, **granted},
    )


def _row(cluster: str, project: Obj, allocation: Obj, books: Balance, watermark: int | None, rates: Mapping[str, int]) -> Obj:
    booked = books.booked()
    period = allocation["spec"]["period"]
    return {
        "cluster": cluster,
        "project": project["metadata"]["name"],
        "account": visibility.account_of(project),
        "allocation": allocation["metadata"]["name"],
        "start": period["start"],
        "end": period["end"],
        "usedPercent": used_percent(booked, books.granted),
        "enforcement": allocation.get("status", {}).get("enforcement", "None"),
        "asOf": instant(watermark) if watermark is not None else None,
        "resources": [_resource(name, books, watermark, rates.get(name, 0)) for name in sorted(books.granted)],
    }


def _resource(name: str, books: Balance, now: int | None, rate: int) -> Obj:
    left = max(0, books.left(name))
    return {
        "name": name,
        "grantedHours": hours_left(name, books.granted[name]),
        "usedHours": hours_used(name, books.booked()[name]),
        "leftHours": books.available_hours()[name],
        "usedSeconds": books.booked()[name],
        "leftSeconds": left,
        "burnPerDayHours": hours_used(name, rate),
        "runsOut": instant(now + left * DAY // rate) if now is not None and rate and left * DAY // rate < FAR_SECONDS else None,
    }


def instant(seconds: int) -> str:
    """RFC 3339 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")

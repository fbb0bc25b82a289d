"""Use: the ledger sums, the shared arithmetic puts down to allocations, this only shows."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from bursar_api import visibility
from bursar_api.balance import attributed, instant
from bursar_api.features.balances import check_cluster
from bursar_api.features.common import Filter, State
from bursar_api.identity import Caller, Person
from bursar_api.periods import AskedSpan, Span, refusal
from bursar_api.sheets import sheet
from bursar_api.state import Gateway
from bursar_domain.units import Scales

router = APIRouter(tags=["usage"])
Obj = dict[str, Any]
By = Literal["account", "user", "resource", "month", "day", "allocation"]
AskedBy = Annotated[By, Query(description="What the rows are grouped by, beside cluster, account and resource.")]
Form = Annotated[Literal["json", "csv"], Query(alias="format", description="Form of the answer.")]
# Below so many projects one question each; above, one for the whole cluster.
FEW_PROJECTS: Final = 20


@router.get("/usage")
async def usage(
    gateway: State,
    caller: Caller,
    span: AskedSpan,
    cluster: Filter = None,
    project: Filter = None,
    user: Filter = None,
    by: AskedBy = "user",
    form: Form = "json",
) -> Response:
    """Booked use in unit-seconds of every project the caller may see, with the time each cluster's books are complete up to."""
    if user is not None and by == "allocation":
        raise refusal("by", "use is put down to allocations account by account, not person by person; leave `user` out")
    owners = await _owners(gateway, caller, project)
    await check_cluster(gateway, caller, cluster)
    names = [name for name in await gateway.cluster_names() if cluster in (None, name)]
    rows = [row for name in names for row in await _rows(gateway, name, owners, span, by, user)]
    if form == "csv":
        return sheet(columns(by), rows, "usage")
    seen = await visibility.cluster_names(gateway, caller) | {row["cluster"] for row in rows}
    body = {"items": rows, "asOf": await _as_of(gateway, seen.intersection(names)), **_edges(span)}
    return Response(orjson.dumps(body), media_type="application/json")


def columns(by: By) -> list[str]:
    """Titles of the CSV."""
    grouped = [by] if by in ("user", "month", "day", "allocation") else []
    return ["cluster", "project", "account", "resource", *grouped, "hours", "charged", "allocated", "refunded"]


async def _owners(gateway: Gateway, person: Person, project: str | None) -> dict[str, Obj]:
    """Account -> project."""
    if project is not None:
        found = [await visibility.project(gateway, person, project)]
    else:
        found = await visibility.projects(gateway, person)
    return {visibility.account_of(owner): owner for owner in found}


async def _rows(gateway: Gateway, cluster: str, owners: dict[str, Obj], span: Span, by: By, user: str | None) -> list[Obj]:
    found: list[Obj] = []
    if by == "allocation":
        for account in sorted(owners):
            found += await _by_allocation(gateway, cluster, account, span)
    else:
        asked: Sequence[str | None] = sorted(owners) if len(owners) <= FEW_PROJECTS else (None,)
        for one in asked:
            sums = await gateway.ledger.usage(cluster, account=one, start=span.start, end=span.end, by=by, user=user)
            found += (dict(row) for row in sums if row["account"] in owners)
    scales = await gateway.scales(cluster)
    return [_shown(cluster, owners[row["account"]], row, scales) for row in found]


async def _by_allocation(gateway: Gateway, cluster: str, account: str, span: Span) -> Iterable[Obj]:
    edges = [at for at in span if at is not None]
    reading = await gateway.ledger.account_reading(cluster, account, edges)
    return [
        {"account": account, "resource": resource, "allocation": name, "charged": amount}
        for name, amounts in attributed(reading, span.start, span.end).items()
        for resource, amount in amounts.items()
    ]


def _shown(cluster: str, owner: Obj, row: Obj, scales: Scales) -> Obj:
    """Hours rounded up, and the unit-seconds of one such hour for whoever adds rows up."""
    resource = str(row["resource"])
    figures = {"hours": scales.hours_used(resource, int(row["charged"])), "secondsPerHour": scales.seconds_per_hour(resource)}
    return {"cluster": cluster, "project": owner["metadata"]["name"], **row, **figures}


async def _as_of(gateway: Gateway, names: Iterable[str]) -> dict[str, str]:
    marks = {name: await gateway.ledger.watermark(name) for name in sorted(names)}
    return {name: instant(mark) for name, mark in marks.items() if mark is not None}


def _edges(span: Span) -> Obj:
    return {
        "start": None if span.start is None else instant(span.start),
        "end": None if span.end is None else instant(span.end),
    }

"""Statements: one project's books of a month or any other time, cluster by cluster. Only its own rows are read."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from bursar_api import statement, visibility
from bursar_api.balance import instant
from bursar_api.features.balances import check_cluster
from bursar_api.features.common import Filter, State
from bursar_api.features.usage import Form
from bursar_api.identity import Caller
from bursar_api.periods import AskedSpan, Span
from bursar_api.sheets import sheet
from bursar_api.state import Gateway
from bursar_api.statement import Line, Period
from bursar_domain.terms import BY_HAND
from bursar_domain.units import QUARTER, hours_left, hours_used
from bursar_ledger.accounts import AccountReading

router = APIRouter(tags=["usage"])
Obj = dict[str, Any]
By = Literal["user", "allocation", "month"]
USE: Final = ("allocated", "refundedAutomatically", "charged")
ACCOUNT: Final = ("corrections", "unfunded")
BALANCE: Final = (
    *("opening", "granted", "carried", "adjusted", "transferred", "refunded"),
    *("booked", "expired", "debt", "closing"),
)
TAKEN: Final = frozenset({*USE, *ACCOUNT, "booked", "debt"})


@router.get("/statements")
async def statements(
    gateway: State,
    caller: Caller,
    project: Annotated[str, Query(min_length=1, max_length=253, description="Whose books.")],
    span: AskedSpan,
    cluster: Filter = None,
    by: Annotated[By, Query(description="What the lines below each total are for.")] = "user",
    form: Form = "json",
) -> Response:
    """Opening and closing balance and everything in between, in hours and exact unit-seconds, and lines that add up to it."""
    owner = await visibility.project(gateway, caller, project)
    await check_cluster(gateway, caller, cluster)
    names = sorted(c["metadata"]["name"] for c in gateway.caches.clusters.items() if cluster in (None, c["metadata"]["name"]))
    parts = [await _cluster(gateway, name, owner, span, by) for name in names]
    found = [part for part in parts if part["totals"]]
    if form == "csv":
        return sheet(columns(by), _rows(project, found, by), f"statement-{project}")
    body = {"project": project, "by": by, "items": found, "start": _edge(span.start), "end": _edge(span.end)}
    return Response(orjson.dumps(body), media_type="application/json")


def columns(by: By) -> list[str]:
    """Titles of the CSV: a total has an empty label."""
    return ["cluster", "project", "resource", by, *(f"{name}Seconds" for name in (*BALANCE, *USE, *ACCOUNT))]


def _edge(at: int | None) -> str | None:
    return None if at is None else instant(at)


def _rows(project: str, parts: Iterable[Obj], by: By) -> Iterable[Obj]:
    for part in parts:
        for row in (*part["totals"], *part["lines"]):
            yield {"cluster": part["cluster"], "project": project, **row}


async def _cluster(gateway: Gateway, cluster: str, owner: Obj, span: Span, by: By) -> Obj:
    """Gather, then decide: the account on one cluster."""
    account = visibility.account_of(owner)
    edges = [at for at in span if at is not None]
    reading = await gateway.ledger.account_reading(cluster, account, edges)
    made = await gateway.ledger.entries(cluster, account, kinds=BY_HAND)
    used = {name: _use(row) for name, row in (await _sums(gateway, cluster, account, span, None)).items()}
    lines = statement.lines(reading, [item.entry for item in made], _period(span, reading, int(time.time())))
    totals = statement.totals(lines)
    grouped = (
        _by_allocation(reading, lines)
        if by == "allocation"
        else [
            _shown(name, _use(row)) | {by: label}
            for (name, label), row in (await _sums(gateway, cluster, account, span, by)).items()
        ]
    )
    return {
        "cluster": cluster,
        "account": account,
        "asOf": _edge(reading.watermark),
        "totals": [_total(name, totals.get(name, Line()), used.get(name, {})) for name in sorted({*totals, *used})],
        "lines": grouped,
    }


def _period(span: Span, reading: AccountReading, wall: int) -> Period:
    """Up to the end of the quarter that runs on the cluster's clock: what opens later has not come yet."""
    now = ((reading.clock or wall) // QUARTER + 1) * QUARTER
    return Period(span.start, now if span.end is None else min(span.end, now))


async def _sums(gateway: Gateway, cluster: str, account: str, span: Span, by: By | None) -> dict[Any, Mapping[str, Any]]:
    """Use by resource, or by resource and label."""
    kind: Literal["account", "user", "month"] = (
        "account" if by in (None, "allocation") else "month" if by == "month" else "user"
    )
    rows = await gateway.ledger.usage(cluster, account=account, start=span.start, end=span.end, by=kind)
    return {row["resource"] if by is None else (row["resource"], row[kind]): row for row in rows}


def _use(row: Mapping[str, Any]) -> dict[str, int]:
    return {"allocated": row["allocated"], "refundedAutomatically": row["refunded"], "charged": row["charged"]}


def _total(resource: str, line: Line, use: Mapping[str, int]) -> Obj:
    """Use beside the balance; what they differ by are corrections of closed hours."""
    charged = use.get("charged", 0)
    more = {name: use.get(name, 0) for name in USE} | {"corrections": line.booked + line.unfunded - charged}
    return _shown(resource, asdict(line) | more)


def _by_allocation(reading: AccountReading, lines: Mapping[statement.Key, Line]) -> list[Obj]:
    return [_shown(name, asdict(line)) | {"allocation": reading.names.get(uid, uid)} for (uid, name), line in lines.items()]


def _shown(resource: str, figures: Mapping[str, int]) -> Obj:
    """Hours, what was taken rounded up and what there is rounded down, and the exact unit-seconds."""
    shown: Obj = {"resource": resource}
    for name, amount in figures.items():
        shown[f"{name}Hours"] = hours_used(resource, amount) if name in TAKEN else hours_left(resource, amount)
        shown[f"{name}Seconds"] = amount
    return shown

"""Statements: one project's books of a month or any other time, cluster by cluster. Only its own rows are read."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any, Final

import orjson
from fastapi import APIRouter, Query
from starlette.responses import Response

from bursar_api import printed, statement, visibility
from bursar_api.balance import instant
from bursar_api.features.balances import check_cluster
from bursar_api.features.common import Filter, State
from bursar_api.features.usage import Form
from bursar_api.identity import Caller
from bursar_api.periods import AskedSpan, Span
from bursar_api.printed import By, Used
from bursar_api.sheets import sheet
from bursar_api.statement import Line, Period
from bursar_domain.units import QUARTER, UNSCALED, Scales
from bursar_domain.wire import BillingEntry
from bursar_ledger.accounts import AccountReading
from bursar_ledger.statements import StatementReading

router = APIRouter(tags=["usage"])
Obj = dict[str, Any]
USE: Final = ("allocated", "refundedAutomatically", "charged", "corrections")
ACCOUNT: Final = ("kept", "unfunded")
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
    names = [name for name in await gateway.cluster_names() if cluster in (None, name)]
    account = visibility.account_of(owner)
    readings = await gateway.ledger.statement_readings(names, account, *span, printed.STORED[by])
    wall = int(time.time())
    parts = [_part(item, account, span, by, wall, await gateway.billing(item.cluster)) for item in readings]
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


def _part(reading: StatementReading, account: str, span: Span, by: By, wall: int, billing: BillingEntry | None) -> Obj:
    """The account on one cluster; hours of billing in its service units."""
    known, scales = reading.account, UNSCALED if billing is None else billing.scales
    used = printed.used(reading, span, by)
    lines = statement.lines(known, reading.made, _period(span, known, wall))
    sums, balances = printed.totals(used), statement.totals(lines)
    names = sorted({*balances, *sums})
    return {
        "cluster": reading.cluster,
        "account": account,
        "billing": None if billing is None else {"version": billing.version, "scale": billing.scale},
        "asOf": _edge(known.watermark),
        "final": printed.is_final(reading, span.end),
        "totals": [_total(name, balances.get(name, Line()), sums.get(name, Used()), scales) for name in names],
        "lines": _by_allocation(known, lines, scales) if by == "allocation" else _by_label(used, by, scales),
    }


def _period(span: Span, reading: AccountReading, wall: int) -> Period:
    """Up to the end of the quarter that runs on the cluster's clock: what opens later has not come yet."""
    now = ((reading.clock or wall) // QUARTER + 1) * QUARTER
    return Period(span.start, now if span.end is None else min(span.end, now))


def _use(used: Used) -> dict[str, int]:
    figures = (used.allocated, used.refunded, used.charged, used.corrections)
    return dict(zip(USE, figures, strict=True))


def _total(resource: str, line: Line, used: Used, scales: Scales) -> Obj:
    """Use beside the balance; ``kept``: what corrections took off that stays with allocations that were over."""
    kept = line.booked + line.unfunded - used.charged - used.corrections
    return _shown(resource, asdict(line) | _use(used) | {"kept": kept}, scales)


def _by_label(found: Mapping[printed.Key, Used], by: By, scales: Scales) -> list[Obj]:
    return [_shown(resource, _use(used), scales) | {by: label} for (resource, label), used in found.items()]


def _by_allocation(reading: AccountReading, lines: Mapping[statement.Key, Line], scales: Scales) -> list[Obj]:
    names = reading.names
    return [_shown(name, asdict(line), scales) | {"allocation": names.get(uid, uid)} for (uid, name), line in lines.items()]


def _shown(resource: str, figures: Mapping[str, int], scales: Scales) -> Obj:
    """Hours, what was taken rounded up and what there is rounded down, and the exact unit-seconds."""
    shown: Obj = {"resource": resource}
    for name, amount in figures.items():
        rounded = scales.hours_used if name in TAKEN else scales.hours_left
        shown[f"{name}Hours"] = rounded(resource, amount)
        shown[f"{name}Seconds"] = amount
    return shown

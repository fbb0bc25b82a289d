"""Entries: what was given or taken beside use. Read by whoever sees the project, made by hand by who may adjust it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import uuid4

import orjson
from fastapi import APIRouter, Header, Query
from starlette.responses import Response

from bursar_api import visibility
from bursar_api.byhand import NewEntry, Side, drafts, once, seconds_of, suits
from bursar_api.entryviews import columns, view
from bursar_api.errors import Clash, Forbidden, NotFound, Problem
from bursar_api.features.balances import check_cluster
from bursar_api.features.common import Cursor, DryRun, Filter, Limit, State
from bursar_api.features.usage import Form
from bursar_api.identity import Caller, Person
from bursar_api.sheets import sheet
from bursar_api.state import Gateway
from bursar_api.views import paged
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.terms import BY_HAND
from bursar_domain.units import QUARTER
from bursar_ledger.entries import Booked
from bursar_ledger.errors import EntryConflict, Moved

router = APIRouter(tags=["entries"])
Obj = dict[str, Any]
ATTEMPTS: Final = 8
WORD: Final = r"^[A-Za-z0-9_.:-]{1,80}$"
Key = Annotated[str | None, Header(pattern=WORD, description="The same key is booked once; repeat with it after an error.")]
RequestId = Annotated[str | None, Header(alias="X-Request-Id", pattern=WORD, description="Kept with the entry.")]


@router.get("/entries")
async def list_entries(
    gateway: State,
    caller: Caller,
    project: Filter = None,
    cluster: Filter = None,
    allocation: Filter = None,
    kind: Annotated[EntryKind | None, Query(description="Only this kind.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    form: Form = "json",
) -> Response:
    """Entries of every project the caller may see, in order of their numbers."""
    await check_cluster(gateway, caller, cluster)
    owners = await _owners(gateway, caller, project)
    kinds, after = None if kind is None else [kind], _number(cursor)
    found: list[Booked] = []
    for place, account in await _asked(gateway, caller, owners, project, cluster):
        found += await gateway.ledger.entries(place, account, None, kinds, after, limit + 1, allocation)
    found.sort(key=lambda item: item.number)
    scales = {name: await gateway.scales(name) for name in {item.entry.cluster for item in found[:limit]}}
    rows = [view(item, owners.get(item.entry.account), scales[item.entry.cluster]) for item in found[:limit]]
    if form == "csv":
        return sheet(columns(), (flat for row in rows for flat in _flat(row)), "entries")
    return paged(rows, str(found[limit - 1].number) if len(found) > limit else None)


async def _asked(
    gateway: Gateway, person: Person, owners: Mapping[str, str], project: str | None, cluster: str | None
) -> list[tuple[str | None, str | None]]:
    """(cluster, account) of each question: one for everything, else one per account and cluster, which an index answers."""
    if project is None and await gateway.access.may(person, "list", "projects"):
        return [(cluster, None)]
    places = [cluster] if cluster else await gateway.cluster_names()
    return [(place, account) for place in places for account in sorted(owners)]


def _flat(row: Obj) -> list[Obj]:
    """One line per resource."""
    return [{**row, "resource": item["name"], "hours": item["hours"], "seconds": item["seconds"]} for item in row["amounts"]]


def _number(cursor: str | None) -> int:
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdigit() and len(cursor) <= 18):
        raise Problem("`continue` is not a cursor of this listing; leave it out to start again")
    return int(cursor)


async def _owners(gateway: Gateway, person: Person, project: str | None) -> dict[str, str]:
    """Account -> name of the project."""
    if project is not None:
        found = [await visibility.project(gateway, person, project)]
    else:
        found = await visibility.projects(gateway, person)
    return {visibility.account_of(owner): str(owner["metadata"]["name"]) for owner in found}


@router.post("/entries", status_code=201)
async def make_entry(
    body: NewEntry,
    gateway: State,
    caller: Caller,
    dry_run: DryRun = False,
    idempotency_key: Key = None,
    request_id: RequestId = None,
) -> Response:
    """Adjust, refund or transfer whole hours from the present quarter hour on. A Transfer is two entries, booked together."""
    owner = await visibility.project(gateway, caller, body.project)
    await _check_right(gateway, caller, owner)
    body.check()
    request = request_id or uuid4().hex
    key = f"adjust/{caller.name}/{idempotency_key or request}"
    booked = await _book(gateway, caller, owner, body, key, request, dry_run=dry_run)
    items = [view(item, body.project, await gateway.scales(item.entry.cluster)) for item in booked]
    answer = {"items": items, "dryRun": dry_run}
    return Response(orjson.dumps(answer), status_code=201, media_type="application/json", headers={"X-Request-Id": request})


async def _check_right(gateway: Gateway, person: Person, owner: Obj) -> None:
    namespace = visibility.namespace_of(owner)
    if not await gateway.access.may(person, "create", "allocations", namespace=namespace, subresource="adjust"):
        raise Forbidden(
            f"{person.name} may not adjust allocations of project {owner['metadata']['name']}: that takes the right to create"
            f" allocations/adjust in namespace {namespace}; ask somebody with the role bursar-allocator"
        )


def _allocation(gateway: Gateway, owner: Obj, name: str) -> Obj:
    found = gateway.caches.allocations.get(visibility.namespace_of(owner), name)
    if found is None:
        project = owner["metadata"]["name"]
        raise NotFound(f"project {project} has no allocation {name}; `bursar get allocations --project {project}` lists them")
    return found


async def _book(
    gateway: Gateway, person: Person, owner: Obj, body: NewEntry, key: str, request: str, *, dry_run: bool
) -> Sequence[Booked]:
    """Decide over what is known and book it; again where the books moved in between."""
    names = [body.allocation] if body.to is None else [body.allocation, body.to]
    allocations = [_allocation(gateway, owner, name) for name in names]
    for attempt in range(ATTEMPTS):
        entries, newest = await _decide(gateway, person, owner, allocations, body, key)
        known = await gateway.ledger.booked([entry.key for entry in entries])
        if known:
            return _repeated(entries, known)
        if dry_run:
            return [Booked(entry, 0, int(time.time()), request, "") for entry in entries]
        expect = entries[0].cluster, entries[0].account, newest
        try:
            return await gateway.ledger.append(entries, int(time.time()), request=request, expect=expect)
        except (Moved, EntryConflict):
            if attempt == ATTEMPTS - 1:
                break
    raise Clash("the account's books moved while this was decided, again and again; nothing was booked, so repeat the call")


def _repeated(entries: Sequence[Entry], known: Sequence[Booked]) -> Sequence[Booked]:
    """The same call again is answered with what it booked, whatever the clock says now."""
    stored = {item.entry.key: item.entry for item in known}
    if all(entry.key in stored and replace(stored[entry.key], at=entry.at) == entry for entry in entries):
        return known
    raise Clash(
        f"this key was used for entry {known[0].number}, which says something else; entries never change: take a new key"
    )


async def _decide(
    gateway: Gateway, person: Person, owner: Obj, allocations: Sequence[Obj], body: NewEntry, key: str
) -> tuple[list[Entry], int]:
    """What would be booked, and the newest entry of the account that it rests on."""
    cluster, account = allocations[0]["spec"]["clusterRef"]["name"], visibility.account_of(owner)
    sides = [Side.of(item) for item in allocations]
    newest = await gateway.ledger.last_entry(cluster, account)
    made = await gateway.ledger.entries(cluster, account, kinds=BY_HAND)
    reading = await gateway.ledger.account_reading(cluster, account)
    now, scales = reading.scheduler_time or int(time.time()), await gateway.scales(cluster)
    amount, at = seconds_of(body, scales), now // QUARTER * QUARTER
    entries = drafts(body, sides, amount, cluster, account, at=at, author=person.name, key=key)
    if not await gateway.ledger.booked([entry.key for entry in entries]):
        suits(body, sides, reading, now, made, scales)
        if body.job is not None:
            once(body, await gateway.ledger.entries(cluster, kinds=[EntryKind.REFUND], reference=body.job))
    return entries, newest

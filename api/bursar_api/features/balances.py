"""Balances: the ledger sums, the shared arithmetic attributes, this only shows."""

import time
from collections.abc import Iterable, Sequence
from typing import Any

from fastapi import APIRouter
from starlette.responses import Response

from bursar_api import views, visibility
from bursar_api.balance import Standings, row
from bursar_api.errors import NotFound
from bursar_api.features.common import Cursor, Filter, Limit, State
from bursar_api.identity import Caller, Person
from bursar_api.state import Gateway

router = APIRouter(tags=["usage"])
Obj = dict[str, Any]
Key = tuple[str, str]
"""Cluster and account."""


@router.get("/balances")
async def balances(
    gateway: State,
    caller: Caller,
    project: Filter = None,
    cluster: Filter = None,
    allocation: Filter = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Response:
    """Granted, used and left in the window that runs, of every allocation the caller may see."""
    found = await _found(gateway, caller, project)
    await check_cluster(gateway, caller, cluster)
    shown, following = views.cut(_picked(found, cluster, allocation), limit, cursor)
    return views.paged(await _rows(gateway, shown), following)


@router.get("/me/balance")
async def my_balance(gateway: State, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """The same for the projects that the caller is a member of, whatever else the caller may see."""
    mine = {m["metadata"]["namespace"] for m in gateway.caches.memberships.items() if m["spec"].get("user") == caller.name}
    found = [item for item in await _found(gateway, caller, None) if item["namespace"] in mine]
    shown, following = views.cut(found, limit, cursor)
    return views.paged(await _rows(gateway, shown), following)


async def check_cluster(gateway: Gateway, person: Person, name: str | None) -> None:
    """A cluster that is asked for has to be one that the person may see."""
    if name is not None and name not in await visibility.cluster_names(gateway, person):
        raise NotFound(f"there is no cluster {name} that you may see; `bursar get clusters` lists those that you may")


async def _found(gateway: Gateway, person: Person, project: str | None) -> list[Obj]:
    """Allocations with their projects, by namespace and name."""
    if project is not None:
        owner = await visibility.project(gateway, person, project)
        return [_item(owner, found) for found in await visibility.allocations_of(gateway, person, owner)]
    owners = {visibility.namespace_of(p): p for p in await visibility.projects(gateway, person)}
    seen = await visibility.allocations(gateway, person)
    return [_item(owners[a["metadata"]["namespace"]], a) for a in seen if a["metadata"]["namespace"] in owners]


def _item(owner: Obj, allocation: Obj) -> Obj:
    meta = allocation["metadata"]
    return {"namespace": meta["namespace"], "name": meta["name"], "owner": owner, "allocation": allocation}


def _picked(items: Iterable[Obj], cluster: str | None, allocation: str | None) -> list[Obj]:
    return [
        item
        for item in items
        if cluster in (None, item["allocation"]["spec"]["clusterRef"]["name"]) and allocation in (None, item["name"])
    ]


async def _rows(gateway: Gateway, items: Sequence[Obj]) -> list[Obj]:
    """One reading per account, however many allocations it has."""
    wall = int(time.time())
    known: dict[Key, Standings] = {}
    rows: list[Obj] = []
    for item in items:
        owner, allocation = item["owner"], item["allocation"]
        key = (allocation["spec"]["clusterRef"]["name"], visibility.account_of(owner))
        if key not in known:
            known[key] = Standings.of(await gateway.ledger.account_reading(*key), wall, await gateway.scales(key[0]))
        names = {"project": owner["metadata"]["name"], "account": key[1]}
        rows.append(names | row(allocation, known[key]))
    return rows

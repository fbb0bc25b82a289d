"""Clusters, projects, pools: reads."""

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from bursar_api import views, visibility
from bursar_api.errors import NotFound
from bursar_api.features.common import Cursor, Limit, State
from bursar_api.identity import Caller

router = APIRouter(tags=["clusters"])
Obj = dict[str, Any]


def _named(found: list[Obj], kind: str, name: str) -> Obj:
    for obj in found:
        if obj["metadata"]["name"] == name:
            return obj
    raise NotFound(f"there is no {kind} {name} that you may see")


def _project(obj: Obj) -> Obj:
    return views.view(obj, namespace=visibility.namespace_of(obj), account=visibility.account_of(obj))


@router.get("/clusters")
async def list_clusters(gateway: State, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Clusters with readiness and agent."""
    return views.page([views.view(c) for c in await visibility.clusters(gateway, caller)], limit, cursor)


@router.get("/clusters/{name}")
async def get_cluster(name: str, gateway: State, caller: Caller) -> Response:
    """One cluster."""
    return views.one(views.view(_named(await visibility.clusters(gateway, caller), "cluster", name)))


@router.get("/clusters/{name}/accounts")
async def list_accounts(name: str, gateway: State, caller: Caller) -> Response:
    """Limits, counters (TRES-minutes) and drift of every account as its agent last read them back; for who lists clusters."""
    _named(await visibility.clusters(gateway, caller), "cluster", name)
    if not await gateway.access.may(caller, "list", "clusters"):
        raise NotFound(f"there is no account of cluster {name} that you may see")
    states = await gateway.ledger.account_states(name)
    read_backs = await gateway.ledger.read_backs(name)
    body = {
        "items": [state.model_dump(mode="json", by_alias=True) for state in states.values()],
        "acknowledgements": {uid: {"revision": found.revision, "at": found.at} for uid, found in read_backs.items()},
    }
    return Response(orjson.dumps(body), media_type="application/json")


@router.get("/projects")
async def list_projects(gateway: State, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Projects with account and namespace."""
    return views.page(sorted(map(_project, await visibility.projects(gateway, caller)), key=views.key_of), limit, cursor)


@router.get("/projects/{name}")
async def get_project(name: str, gateway: State, caller: Caller) -> Response:
    """One project with its members."""
    project = _project(_named(await visibility.projects(gateway, caller), "project", name))
    members = [m for m in gateway.caches.memberships.items() if m["metadata"]["namespace"] == project["namespace"]]
    listed = [{"user": m["spec"]["user"], "role": m["spec"]["role"], "until": m["spec"].get("until")} for m in members]
    return views.one({**project, "members": sorted(listed, key=lambda m: str(m["user"]))})


@router.get("/pools")
async def list_pools(gateway: State, caller: Caller, limit: Limit = 100, cursor: Cursor = None) -> Response:
    """Quota pools with what is granted."""
    return views.page([views.view(p) for p in await visibility.pools(gateway, caller)], limit, cursor)


@router.get("/pools/{name}")
async def get_pool(name: str, gateway: State, caller: Caller) -> Response:
    """One pool."""
    return views.one(views.view(_named(await visibility.pools(gateway, caller), "pool", name)))

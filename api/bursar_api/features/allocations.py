"""Allocations: read from the cache, written with the person's own token."""

import asyncio
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from bursar_api import views, visibility
from bursar_api.errors import Invalid, NotFound, NotGranted, Problem
from bursar_api.features.common import Cursor, DryRun, Filter, Limit, State
from bursar_api.identity import Caller, Person
from bursar_api.state import Gateway
from bursar_crds.names import API_VERSION
from bursar_kube import resources
from bursar_kube.errors import Conflict

router = APIRouter(tags=["allocations"])
Obj = dict[str, Any]
WAIT_SECONDS = 2.0
POLL_SECONDS = 0.02
WRITE_ATTEMPTS = 5


class NewAllocation(BaseModel):
    """Body of a creation: `spec` is the custom resource's."""

    model_config = ConfigDict(extra="forbid")

    project: str = Field(max_length=63)
    name: str = Field(max_length=253)
    spec: dict[str, Any]


class ChangedAllocation(BaseModel):
    """Body of a change: the whole new `spec`."""

    model_config = ConfigDict(extra="forbid")

    spec: dict[str, Any]


def _flat(gateway: Gateway, obj: Obj) -> Obj:
    namespace = obj["metadata"]["namespace"]
    owner = next((p for p in gateway.caches.projects.items() if visibility.namespace_of(p) == namespace), None)
    return views.view(obj, project=owner["metadata"]["name"] if owner else None, namespace=namespace)


async def _namespace(gateway: Gateway, person: Person, project: str) -> str:
    for obj in await visibility.projects(gateway, person):
        if obj["metadata"]["name"] == project:
            return visibility.namespace_of(obj)
    raise NotFound(f"there is no project {project} that you may see")


async def _find(gateway: Gateway, person: Person, project: str, name: str) -> Obj:
    namespace = await _namespace(gateway, person, project)
    found = gateway.caches.allocations.get(namespace, name)
    if found is None or not await visibility.sees_namespace(gateway, person, namespace):
        raise NotFound(f"project {project} has no allocation {name}")
    return found


@router.get("/allocations")
async def list_allocations(
    gateway: State, caller: Caller, limit: Limit = 100, cursor: Cursor = None, project: Filter = None, cluster: Filter = None
) -> Response:
    """Allocations, filtered by project and cluster."""
    found = [_flat(gateway, a) for a in await visibility.allocations(gateway, caller)]
    shown = [
        a
        for a in found
        if (project is None or a["project"] == project) and (cluster is None or a["spec"]["clusterRef"]["name"] == cluster)
    ]
    return views.page(shown, limit, cursor)


@router.get("/allocations/{project}/{name}")
async def get_allocation(project: str, name: str, gateway: State, caller: Caller) -> Response:
    """One allocation."""
    return views.one(_flat(gateway, await _find(gateway, caller, project, name)))


@router.post("/allocations", status_code=201)
async def create_allocation(
    body: NewAllocation,
    gateway: State,
    caller: Caller,
    dry_run: DryRun = False,
    wait: Annotated[Literal["granted"] | None, Query()] = None,
) -> Response:
    """Create with the caller's token. `wait=granted`: 201 granted, 202 undecided after 2 s, 409 refused (it waits)."""
    namespace = await _namespace(gateway, caller, body.project)
    metadata = {"name": body.name, "namespace": namespace}
    obj = {"apiVersion": API_VERSION, "kind": "Allocation", "metadata": metadata, "spec": body.spec}
    made = await gateway.kube.as_token(caller.token).create(resources.ALLOCATIONS, obj, dry_run=dry_run)
    if wait is None or dry_run:
        return views.one(_flat(gateway, made), 201)
    return await _decided(gateway, made)


async def _decided(gateway: Gateway, made: Obj) -> Response:
    namespace, name = made["metadata"]["namespace"], made["metadata"]["name"]
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while asyncio.get_running_loop().time() < deadline:
        now = gateway.caches.allocations.get(namespace, name)
        if now is not None and now["metadata"]["uid"] == made["metadata"]["uid"]:
            granted = next((c for c in now.get("status", {}).get("conditions", []) if c["type"] == "Granted"), None)
            if granted is not None and granted["status"] == "True":
                return views.one(_flat(gateway, now), 201)
            if granted is not None and granted["status"] == "False":
                raise NotGranted(granted["message"], violations=[{"reason": granted["reason"], "message": granted["message"]}])
        await asyncio.sleep(POLL_SECONDS)
    return views.one(_flat(gateway, made), 202)


@router.put("/allocations/{project}/{name}")
async def change_allocation(
    project: str,
    name: str,
    body: ChangedAllocation,
    gateway: State,
    caller: Caller,
    dry_run: DryRun = False,
    if_match: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Replace the spec. With `If-Match` (the ETag read before) a change in between is refused with 409."""
    namespace = await _namespace(gateway, caller, project)
    kube = gateway.kube.as_token(caller.token)
    for attempt in range(WRITE_ATTEMPTS):
        stored = await kube.get(resources.ALLOCATIONS, name, namespace)
        try:
            changed = await kube.replace(resources.ALLOCATIONS, _with_spec(stored, body.spec, if_match), dry_run=dry_run)
            return views.one(_flat(gateway, changed))
        except Conflict:
            # A status moved between our read and our write; only who named a version cares.
            if if_match is not None or attempt == WRITE_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _with_spec(stored: Obj, spec: Obj, if_match: str | None) -> Obj:
    """The stored object with the new spec; who asked first stays stamped."""
    metadata = dict(stored["metadata"]) | ({"resourceVersion": if_match.strip('"')} if if_match is not None else {})
    stamped = {key: stored["spec"][key] for key in ("requestedBy",) if key in stored["spec"]}
    return {**stored, "metadata": metadata, "spec": {**stamped, **spec}}


@router.delete("/allocations/{project}/{name}", status_code=202)
async def delete_allocation(project: str, name: str, gateway: State, caller: Caller, dry_run: DryRun = False) -> Response:
    """Ask for deletion: the limit goes first, then the pool gets back what was not used."""
    namespace = await _namespace(gateway, caller, project)
    kube = gateway.kube.as_token(caller.token)
    await kube.delete(resources.ALLOCATIONS, name, namespace, dry_run=dry_run)
    return Response(status_code=202)


@router.post("/allocations/{project}/{name}/gates/{gate}")
async def open_gate(project: str, name: str, gate: str, gateway: State, caller: Caller, dry_run: DryRun = False) -> Response:
    """Open a gate with the caller's token: the tranches that wait for it become usable. An open gate stays open."""
    namespace = await _namespace(gateway, caller, project)
    kube = gateway.kube.as_token(caller.token)
    for attempt in range(WRITE_ATTEMPTS):
        stored = await kube.get(resources.ALLOCATIONS, name, namespace)
        opened = stored["spec"].get("openedGates", [])
        _check_gate(stored, gate)
        if gate in opened:
            return views.one(_flat(gateway, stored))
        try:
            spec = {**stored["spec"], "openedGates": [*opened, gate]}
            return views.one(
                _flat(gateway, await kube.replace(resources.ALLOCATIONS, {**stored, "spec": spec}, dry_run=dry_run))
            )
        except Conflict:
            if attempt == WRITE_ATTEMPTS - 1:
                raise
    raise AssertionError("unreachable")


def _check_gate(allocation: Obj, gate: str) -> None:
    gates = sorted({item["gate"] for item in allocation["spec"].get("tranches", ()) if item.get("gate")})
    if gate not in gates:
        has = f"its tranches wait for {', '.join(gates)}" if gates else "no tranche of it waits for a gate"
        message = f"allocation {allocation['metadata']['name']} has no gate {gate}: {has}"
        raise Invalid(message, violations=[{"field": "gate", "reason": "Unknown", "message": message}])


KINDS = {
    rt.kind: rt
    for rt in (resources.CLUSTERS, resources.PROJECTS, resources.MEMBERSHIPS, resources.QUOTAPOOLS, resources.ALLOCATIONS)
}


class Manifest(BaseModel):
    """One manifest of a Bursar kind, as `kubectl apply` takes it."""

    model_config = ConfigDict(extra="forbid")

    apiVersion: Literal["bursar.dev/v1alpha1"]  # noqa: N815 - the manifest's own name
    kind: str
    metadata: dict[str, Any]
    spec: dict[str, Any]


@router.post("/apply")
async def apply_manifest(body: Manifest, gateway: State, caller: Caller, dry_run: DryRun = False) -> Response:
    """Server-side apply with the caller's own token."""
    resource = KINDS.get(body.kind)
    if resource is None:
        raise Problem(f"{body.kind} is not a kind of Bursar; there are {', '.join(sorted(KINDS))}")
    for field in ("name", "namespace") if resource.namespaced else ("name",):
        if not isinstance(body.metadata.get(field), str) or not body.metadata[field]:
            raise Problem(f"metadata.{field} is missing or no text; say which {body.kind} is meant")
    kube = gateway.kube.as_token(caller.token)
    applied = await kube.apply(resource, body.model_dump(), field_manager="bursar", dry_run=dry_run)
    return views.one(applied)

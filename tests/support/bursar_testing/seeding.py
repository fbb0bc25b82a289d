"""Thousands of allocations in seconds: copies of one that the operator granted, written to etcd past the API server.

Each copy is what the operator would have stored, figures and conditions included. The operator itself then counts the pool and
publishes them to the ledger, as it does with whatever it finds granted.
"""

import base64
import sqlite3
import ssl
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import orjson

from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, PROJECTS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_testing import manifests
from bursar_testing.benchstage import PROJECTS_COUNT, Stage, is_granted, until
from bursar_testing.operatorprocess import OperatorProcess

Obj = dict[str, Any]
PREFIX = "/registry/bursar.dev/allocations/"
PER_TRANSACTION = 100
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


async def granted_many(stage: Stage, count: int, projects: int = PROJECTS_COUNT) -> None:
    """Have so many allocations granted, published and counted, the new ones in so many projects."""
    present = len(await stage.kube.list(ALLOCATIONS))
    if not present:
        await _grant_one(stage)
        present = 1
    if projects > PROJECTS_COUNT:
        await _make_projects(stage, projects)
    places = [_place(number, projects) for number in range(present, count)]
    async with _etcd(stage.plane) as etcd:
        template = await _stored(etcd, "project-p0/a0")
        await _put(etcd, (_copy(template, number, *place) for number, place in enumerate(places, present)))
    await until(lambda: _is_served(stage, *places[-1]))
    # A pool without a total is counted; its sequence is past every operation.
    uncounted = {"status": {"granted": None, "sequence": count + 1}}
    await stage.kube.merge_patch(QUOTAPOOLS, "bench", uncounted, subresource="status")
    operator = await OperatorProcess.spawn(stage.kubeconfig, stage.folder / "ledger.db", stage.folder)
    try:
        await until(lambda: _is_told(stage, count))
    finally:
        await operator.stop()


async def _grant_one(stage: Stage) -> None:
    operator = await stage.operator()
    try:
        await stage.furnish()
        made = await stage.kube.create(ALLOCATIONS, stage.allocation(0))
        name, namespace = made["metadata"]["name"], made["metadata"]["namespace"]

        async def settled() -> bool:
            return is_granted(await stage.kube.get(ALLOCATIONS, name, namespace))

        await until(settled)
    finally:
        await operator.stop()


def _etcd(plane: ControlPlane) -> httpx.AsyncClient:
    """etcd by the way of its JSON gateway, as the API server's client."""
    keys = plane.credentials
    tls = ssl.create_default_context(cafile=keys.etcd_authority_file)
    tls.load_cert_chain(keys.etcd_client.certificate, keys.etcd_client.key)
    return httpx.AsyncClient(base_url=plane.addresses["etcd"], verify=tls, timeout=60, trust_env=False)


async def _stored(etcd: httpx.AsyncClient, name: str) -> Obj:
    answer = (await etcd.post("/v3/kv/range", json={"key": _coded((PREFIX + name).encode())})).raise_for_status()
    found: Obj = orjson.loads(base64.b64decode(answer.json()["kvs"][0]["value"]))
    return found


async def _make_projects(stage: Stage, count: int) -> None:
    operator = await stage.operator()
    try:
        for number in range(PROJECTS_COUNT, count):
            await stage.kube.create(PROJECTS, manifests.project(f"p{number}", "alice"))
        await until(lambda: _have_accounts(stage))
    finally:
        await operator.stop()


async def _have_accounts(stage: Stage) -> bool:
    return all((obj.get("status") or {}).get("account") for obj in await stage.kube.list(PROJECTS))


def _place(number: int, projects: int) -> tuple[str, str]:
    """Namespace and name."""
    return f"project-p{number % projects}", f"a{number}"


def _copy(template: Obj, number: int, namespace: str, name: str) -> tuple[str, bytes]:
    """The key and the object of one more, made and granted some seconds after the one before."""
    at = (BEGINNING + timedelta(seconds=7 * number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    metadata = {**template["metadata"], "namespace": namespace, "name": name, "uid": str(uuid4()), "creationTimestamp": at}
    status = {
        **template["status"],
        "account": namespace.removeprefix("project-"),
        "chargeSequence": number + 1,
        "grantSequence": number + 1,
        "conditions": [{**item, "lastTransitionTime": at} for item in template["status"]["conditions"]],
    }
    return f"{namespace}/{name}", orjson.dumps({**template, "metadata": metadata, "status": status})


async def _put(etcd: httpx.AsyncClient, objects: Iterable[tuple[str, bytes]]) -> None:
    for some in _chunks(objects):
        puts = [{"requestPut": {"key": _coded((PREFIX + key).encode()), "value": _coded(value)}} for key, value in some]
        (await etcd.post("/v3/kv/txn", json={"success": puts})).raise_for_status()


def _chunks(objects: Iterable[tuple[str, bytes]]) -> Iterator[Sequence[tuple[str, bytes]]]:
    some: list[tuple[str, bytes]] = []
    for item in objects:
        some.append(item)
        if len(some) == PER_TRANSACTION:
            yield some
            some = []
    if some:
        yield some


def _coded(data: bytes) -> str:
    return base64.b64encode(data).decode()


async def _is_served(stage: Stage, namespace: str, name: str) -> bool:
    """Whether the API server's own copies hold the last one: they lag behind etcd."""
    try:
        await stage.kube.raw("GET", ALLOCATIONS.path(name, namespace), query={"resourceVersion": "0"})
    except NotFound:
        return False
    return True


async def _is_told(stage: Stage, count: int) -> bool:
    """Whether the ledger holds them all, as granted and as booked, and the pool is counted."""
    status = (await stage.kube.get(QUOTAPOOLS, "bench")).get("status") or {}
    held = {item["name"]: item["hours"] for item in status.get("granted", ())}
    with sqlite3.connect(f"file:{stage.folder / 'ledger.db'}?mode=ro", uri=True) as ledger:
        (published,) = ledger.execute("SELECT count(*) FROM desired_grants").fetchone()
        (booked,) = ledger.execute("SELECT count(DISTINCT uid) FROM entries").fetchone()
    return bool(held.get("cpu") == count and published == booked == count)

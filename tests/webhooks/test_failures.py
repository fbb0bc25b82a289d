"""What each failure does, on a real API server: the rows of docs/explanation/admission.md, each with its proof."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, MEMBERSHIPS, PROJECTS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_local.ports import free_ports
from bursar_testing.manifests import resource
from bursar_testing.relay import Relay
from bursar_testing.replicas import Replicas
from bursar_testing.steadywrites import steady_writes
from bursar_testing.waiting import eventually
from bursar_testing.webhooks import (
    NAMESPACE,
    SYSTEM,
    YEAR,
    Webhook,
    fitting_allocation,
    fresh,
    hours,
    launch,
    point_to,
    ready,
    register,
)
from bursar_webhooks.app import make_app
from bursar_webhooks.server import listen, serve
from bursar_webhooks.tls import ServingCertificate
from bursar_webhooks.view import View

WRITERS = 4


@pytest.fixture
async def behind(webhook: Webhook, kube: Kube) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Has the API server call another port, which shows the webhook's certificate; afterwards the webhook itself again."""

    async def call(port: int) -> None:
        await point_to(kube, replace(webhook, url=f"https://127.0.0.1:{port}"))

    yield call
    await register(kube, webhook)


async def replica(plane: ControlPlane, webhook: Webhook, directory: Path) -> Webhook:
    """One more, with the same certificate from the same Secret."""
    directory.mkdir()
    second = replace(await launch(plane, directory), issued=webhook.issued)
    await ready(second)
    return second


def port_of(webhook: Webhook) -> int:
    return urlsplit(webhook.url).port or 0


async def test_one_replica_may_end_or_die(
    plane: ControlPlane, kube: Kube, webhook: Webhook, tmp_path: Path, behind: Callable[[int], Awaitable[None]]
) -> None:
    """One that is told to end fails nobody; one that is killed takes along what it was asked in that moment, no more."""
    first, second = [await replica(plane, webhook, tmp_path / name) for name in ("first", "second")]
    service = await Replicas.start(port_of(webhook), port_of(first), port_of(second))
    try:
        await behind(service.port)
        async with steady_writes(kube, WRITERS) as written:
            await written.more(50)
            service.ports.remove(port_of(first))  # as Kubernetes does before it sends SIGTERM to a pod with a preStop pause
            os.kill(first.process.pid, signal.SIGTERM)
            assert await first.process.wait() == 0
            await written.more(50)
            assert written.failures == []
            os.kill(second.process.pid, signal.SIGKILL)
            await second.process.wait()
            await written.more(50)
            assert len(written.failures) <= WRITERS, written.failures
    finally:
        for process in (first.process, second.process):
            await process.stop()
        await service.stop()


async def test_with_all_replicas_down_nothing_is_stored_and_nothing_is_stuck(
    kube: Kube, operator: Kube, webhook: Webhook, behind: Callable[[int], Awaitable[None]]
) -> None:
    held = (await kube.create(ALLOCATIONS, fitting_allocation()))["metadata"]["name"]
    member = resource("Membership", fresh("m"), {"user": "zoe", "role": "Member"}, NAMESPACE)
    await kube.create(MEMBERSHIPS, member)
    spec = {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(cpu=1)}
    pool = (await kube.create(QUOTAPOOLS, resource("QuotaPool", fresh("pool"), spec)))["metadata"]["name"]
    (nobody,) = free_ports(1)
    await behind(nobody)
    assert "connection refused" in await refused(kube)
    await kube.merge_patch(QUOTAPOOLS, pool, {"metadata": {"annotations": {"bursar.dev/confirm-delete": pool}}})
    await still_released(kube, held)
    for rt, name, namespace in ((MEMBERSHIPS, member["metadata"]["name"], NAMESPACE), (QUOTAPOOLS, pool, None)):
        await kube.delete(rt, name, namespace)
    await still_works(operator)


async def test_a_slow_webhook_is_given_up_after_its_time(
    kube: Kube, operator: Kube, webhook: Webhook, behind: Callable[[int], Awaitable[None]]
) -> None:
    held = (await kube.create(ALLOCATIONS, fitting_allocation()))["metadata"]["name"]
    relay = await Relay.start("127.0.0.1", port_of(webhook))
    relay.freeze()
    try:
        await behind(relay.port)
        assert "timeout=3s" in (said := await refused(kube))
        assert "context deadline exceeded" in said
        await still_released(kube, held)
        await still_works(operator)
    finally:
        await relay.stop()


async def test_a_webhook_that_answers_nonsense_refuses(kube: Kube, behind: Callable[[int], Awaitable[None]]) -> None:
    """No answer is never a yes."""

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        await behind(server.sockets[0].getsockname()[1])
        assert "failed calling webhook" in await refused(kube)


@dataclass(frozen=True)
class Cut:
    """A webhook in this process, whose line to the API server is the relay's; asked by the API server as any other."""

    relay: Relay
    view: View
    face: Webhook


@pytest.fixture
async def cut(
    plane: ControlPlane, kube: Kube, webhook: Webhook, tmp_path: Path, behind: Callable[[int], Awaitable[None]]
) -> AsyncIterator[Cut]:
    """After five seconds without a word of some kind it stops to decide."""
    address = urlsplit(plane.url)
    relay = await Relay.start(address.hostname or "", address.port or 0)
    document = yaml.safe_load(plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    (tmp_path / "relayed").write_text(yaml.safe_dump(document))
    relayed = await Kube.connect(str(tmp_path / "relayed"))
    view = View(relayed, stale_seconds=5, now=lambda: datetime.now(UTC))
    certificate = ServingCertificate(kube, "bursar-webhook-tls", SYSTEM)
    await certificate.start()
    await certificate.wait()
    (port,) = free_ports(1)
    stop = asyncio.Event()
    await view.start()
    server = asyncio.create_task(serve(make_app(view), listen("127.0.0.1", port), certificate, stop))
    try:
        await eventually(lambda: view.problem() is None, "it has a copy of everything")
        await behind(port)
        yield Cut(relay, view, replace(webhook, url=f"https://127.0.0.1:{port}"))
    finally:
        stop.set()
        await server
        await view.stop()
        await certificate.stop()
        await relayed.close()
        await relay.stop()


@pytest.mark.parametrize("how", ["silent", "unreachable"])
async def test_a_copy_that_may_be_old_decides_nothing_and_comes_back(cut: Cut, kube: Kube, how: str) -> None:
    async with chatter(kube):
        await eventually(lambda: cut.view.problem() is None, "it has heard of everything")
        if how == "silent":
            cut.relay.freeze()
        else:
            cut.relay.refuse()
            cut.relay.cut()
        await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)  # a short silence is bridged
        await eventually(lambda: cut.view.problem() is not None, "the silence is noticed")
        answer = await asyncio.to_thread(cut.face.get, "/readyz")
        assert (answer.status_code, "it has heard nothing of" in answer.text) == (503, True)
        assert "webhook is not ready and decides nothing: it has heard nothing of" in await refused(kube)
        cut.relay.thaw()
        cut.relay.refuse(False)
        await eventually(lambda: cut.view.problem() is None, "it has heard of everything again")
        await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)


@asynccontextmanager
async def chatter(kube: Kube) -> AsyncIterator[None]:
    """Something to hear of each kind: where nothing changes the API server speaks once a minute only."""
    allocation = await kube.create(ALLOCATIONS, fitting_allocation())
    member = await kube.create(MEMBERSHIPS, resource("Membership", fresh("m"), {"user": "zoe", "role": "Member"}, NAMESPACE))
    objects = [
        (CLUSTERS, "alpha", None),
        (PROJECTS, "climate", None),
        (QUOTAPOOLS, "alpha-2026", None),
        (ALLOCATIONS, allocation["metadata"]["name"], NAMESPACE),
        (MEMBERSHIPS, member["metadata"]["name"], NAMESPACE),
    ]

    async def talk() -> None:
        for beat in count():
            for rt, name, namespace in objects:
                await kube.merge_patch(rt, name, {"metadata": {"labels": {"beat": str(beat)}}}, namespace)
            await asyncio.sleep(0.3)

    task = asyncio.create_task(talk())
    try:
        yield
    finally:
        assert not task.done(), "labels may change whether the webhook is ready or not"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await kube.delete(MEMBERSHIPS, member["metadata"]["name"], NAMESPACE)
        await still_released(kube, allocation["metadata"]["name"])


async def refused(kube: Kube) -> str:
    """Until nothing is stored any more, and what is said then."""
    async with asyncio.timeout(60):
        while True:
            try:
                await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)
            except KubeError as error:
                return error.message
            await asyncio.sleep(0.02)


async def still_released(kube: Kube, name: str) -> None:
    """Deleted, and let go as the operator does, with what it writes in between."""
    await kube.delete(ALLOCATIONS, name, NAMESPACE)
    await kube.merge_patch(ALLOCATIONS, name, {"status": {"granted": []}}, NAMESPACE, subresource="status")
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)
    assert name not in [item["metadata"]["name"] for item in await kube.list(ALLOCATIONS, NAMESPACE)]


async def still_works(operator: Kube) -> None:
    """What the operator writes besides status: memberships, and marks on objects that live."""
    member = resource("Membership", fresh("m"), {"user": "zoe", "role": "Member"}, NAMESPACE)
    await operator.create(MEMBERSHIPS, member)
    labels = {"metadata": {"labels": {"bursar.dev/seen": "yes"}}}
    await operator.merge_patch(MEMBERSHIPS, member["metadata"]["name"], labels, NAMESPACE)
    await operator.delete(MEMBERSHIPS, member["metadata"]["name"], NAMESPACE)

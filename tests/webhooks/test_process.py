"""The process: bad settings, its certificate and a new one, what it says when it cannot decide, and its end."""

import asyncio
import os
import signal
import ssl
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import orjson
import pytest
import yaml

from bursar_kube.client import Kube
from bursar_kube.errors import Forbidden, Unavailable
from bursar_kube.resources import ALLOCATIONS, SECRETS
from bursar_local.controlplane import ControlPlane
from bursar_operator.certificates import issue
from bursar_testing.relay import Relay
from bursar_testing.waiting import eventually
from bursar_testing.webhooks import (
    NAMESPACE,
    Webhook,
    fitting_allocation,
    hours,
    launch,
    point_to,
    put_certificate,
    ready,
    register,
)
from bursar_webhooks.view import View

BAD_SETTINGS = {
    "no port": ({}, "BURSAR_WEBHOOKS_PORT: is not set"),
    "no number": ({"BURSAR_WEBHOOKS_PORT": "many"}, "BURSAR_WEBHOOKS_PORT: Input should be a valid integer"),
    "misspelt": ({"BURSAR_WEBHOOKS_PORT": "1", "BURSAR_WEBHOOKS_PROT": "1"}, "BURSAR_WEBHOOKS_PROT: there is no such setting"),
    "no such file": (
        {"BURSAR_WEBHOOKS_PORT": "1", "BURSAR_WEBHOOKS_KUBECONFIG": "/nowhere"},
        "BURSAR_WEBHOOKS_KUBECONFIG: Path does not point to a file",
    ),
}


@pytest.mark.parametrize("case", BAD_SETTINGS)
def test_refuses_to_start_on_a_bad_setting(case: str) -> None:
    environment, words = BAD_SETTINGS[case]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_")}
    done = subprocess.run(
        (sys.executable, "-m", "bursar_webhooks"),
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


async def test_waits_for_its_certificate_and_takes_up_a_new_one(
    plane: ControlPlane, kube: Kube, webhook: Webhook, tmp_path: Path
) -> None:
    await kube.delete(SECRETS, "bursar-webhook-tls", "bursar-system")
    second = await launch(plane, tmp_path)
    try:
        await eventually(lambda: any("waiting for the serving certificate" in line for line in second.process.last_lines()))
        assert not second.answers("/healthz")
        await put_certificate(kube, second.issued)
        await ready(second)
        renewed = issue(["localhost"], datetime.now(UTC))
        await put_certificate(kube, renewed)
        await eventually(lambda: replace(second, issued=renewed).answers("/readyz"), "the new certificate is shown")
        os.kill(second.process.pid, signal.SIGTERM)
        assert await second.process.wait() == 0
    finally:
        await second.process.stop()
        await put_certificate(kube, webhook.issued)
        await eventually(lambda: webhook.answers("/readyz"), "the first one has its own certificate back")


async def test_a_taken_port_is_named(plane: ControlPlane, webhook: Webhook, tmp_path: Path) -> None:
    port = int(webhook.url.rsplit(":", 1)[1])
    second = await launch(plane, tmp_path, PORT=port)
    assert await second.process.wait() == 1
    assert any(f"cannot listen on 127.0.0.1 port {port}" in line for line in second.process.last_lines())


async def test_says_when_it_is_not_ready(plane: ControlPlane, kube: Kube, webhook: Webhook, tmp_path: Path) -> None:
    """Without the right to read pools it never has a copy of them, and says so instead of guessing."""
    role = "bursar-webhooks"
    await plane.kubectl("patch", "clusterrole", role, "--type=json", "-p", _rules(["clusters", "projects"]))
    blind = await launch(plane, tmp_path)
    await put_certificate(kube, blind.issued)
    try:
        await eventually(lambda: blind.answers("/readyz", 503), "it serves, and is not ready")
        await eventually(lambda: "forbidden" in blind.get("/readyz").text, "it says why")
        assert blind.get("/healthz").status_code == 200
        answer = _ask(blind, fitting_allocation())
        assert not answer["allowed"]
        assert (answer["status"]["code"], answer["status"]["details"]["retryAfterSeconds"]) == (503, 2)
        assert "webhook is not ready and decides nothing: its copy of" in answer["status"]["message"]
    finally:
        await blind.process.stop()
        await plane.kubectl("patch", "clusterrole", role, "--type=json", "-p", _rules(_PLURALS))
        await put_certificate(kube, webhook.issued)
        await eventually(lambda: webhook.answers("/readyz"))


async def test_without_the_webhook_nothing_is_stored_and_everything_can_be_released(
    plane: ControlPlane, kube: Kube, webhook: Webhook, tmp_path: Path
) -> None:
    made = await kube.create(ALLOCATIONS, fitting_allocation())
    name = made["metadata"]["name"]
    nobody = replace(webhook, url="https://127.0.0.1:1")
    await point_to(kube, nobody)
    try:
        await _until_unreachable(kube)
        await kube.delete(ALLOCATIONS, name, NAMESPACE)
        await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)
        assert name not in [item["metadata"]["name"] for item in await kube.list(ALLOCATIONS, NAMESPACE)]
    finally:
        await register(kube, webhook)


async def test_counts_what_it_judged(webhook: Webhook, kube: Kube) -> None:
    with pytest.raises(Forbidden):
        await kube.create(ALLOCATIONS, fitting_allocation(resources=hours(gpu=16_000)))
    text = webhook.get("/metrics").text
    assert 'bursar_webhook_reviews_total{answer="refused",kind="Allocation",operation="CREATE"}' in text
    assert 'bursar_webhook_copy_age_seconds{plural="quotapools"}' in text


@pytest.mark.parametrize(
    ("body", "status"), [(b"nonsense", 400), (b"{}", 400), (b'{"apiVersion":"admission.k8s.io/v1beta1","kind":"x"}', 400)]
)
async def test_a_body_that_is_no_review_is_a_bad_request(webhook: Webhook, body: bytes, status: int) -> None:
    with _client(webhook) as client:
        assert client.post("/validate", content=body).status_code == status


async def test_a_body_without_end_is_cut_off(webhook: Webhook) -> None:
    with _client(webhook) as client:
        assert client.post("/validate", content=b" " * (9 * 2**20)).status_code == 413


async def _until_unreachable(kube: Kube) -> None:
    """Until the API server has seen the change: then nothing is stored."""
    async with asyncio.timeout(30):
        while not await _is_unreachable(kube):  # noqa: ASYNC110 - nothing here knows when
            await asyncio.sleep(0.02)


async def _is_unreachable(kube: Kube) -> bool:
    try:
        await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)
    except Unavailable as error:
        return "failed calling webhook" in error.message
    return False


_PLURALS = ["clusters", "projects", "memberships", "quotapools", "allocations"]


def _rules(plurals: list[str]) -> str:
    rule = {"apiGroups": ["bursar.dev"], "resources": plurals, "verbs": ["get", "list", "watch"]}
    return orjson.dumps([{"op": "replace", "path": "/rules", "value": [rule]}]).decode()


def _client(webhook: Webhook) -> httpx.Client:
    context = ssl.create_default_context(cadata=webhook.issued.authorities.decode())
    return httpx.Client(base_url=webhook.url, verify=context, timeout=10)


def _ask(webhook: Webhook, obj: dict[str, Any]) -> dict[str, Any]:
    kind = {"group": "bursar.dev", "version": "v1alpha1", "kind": obj["kind"]}
    request = {"uid": "1", "kind": kind, "operation": "CREATE", "name": obj["metadata"]["name"], "object": obj}
    review = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    with _client(webhook) as client:
        answer: dict[str, Any] = client.post("/validate", json=review).json()["response"]
    return answer


async def test_decides_nothing_from_a_copy_that_may_be_old(plane: ControlPlane, seeded: None, tmp_path: Path) -> None:
    address = urlsplit(plane.url)
    relay = await Relay.start(address.hostname or "", address.port or 0)
    document = yaml.safe_load(plane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    (tmp_path / "relayed").write_text(yaml.safe_dump(document))
    kube = await Kube.connect(str(tmp_path / "relayed"))
    view = View(kube, stale_seconds=3, now=lambda: datetime.now(UTC))
    try:
        await view.start()
        await eventually(lambda: view.problem() is None, "it has a copy of everything")
        assert view.cluster("alpha")
        relay.freeze()
        await eventually(lambda: "it has heard nothing of" in (view.problem() or ""), "silence is noticed")
    finally:
        await view.stop()
        await kube.close()
        await relay.stop()

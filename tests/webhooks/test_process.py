"""The process: bad settings, its certificate and a new one, what it says when it cannot decide, and its end."""

import os
import signal
import ssl
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from bursar_kube.client import Kube
from bursar_kube.errors import Forbidden
from bursar_kube.resources import ALLOCATIONS, SECRETS
from bursar_local.controlplane import ControlPlane
from bursar_operator.certificates import issue
from bursar_testing.waiting import eventually
from bursar_testing.webhooks import (
    Webhook,
    fitting_allocation,
    hours,
    launch,
    put_certificate,
    ready,
)

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

"""Starts the webhook as in production, registers it, and makes the objects that it judges."""

import asyncio
import ssl
import sys
import uuid
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import yaml

from bursar_kube.client import Kube, Obj
from bursar_kube.errors import KubeError
from bursar_kube.resources import PROJECTS, QUOTAPOOLS, SECRETS, WEBHOOKCONFIGS
from bursar_local.controlplane import ControlPlane
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_local.manifests import by_url
from bursar_local.ports import free_ports
from bursar_local.process import Command, Process
from bursar_operator.certificates import Issued, issue
from bursar_testing.manifests import resource
from bursar_testing.waiting import eventually

SYSTEM: Final = "bursar-system"
SECRET: Final = "bursar-webhook-tls"
NAMESPACE: Final = "project-lattice-qcd"
YEAR: Final = {"start": "2026-01-01T00:00:00Z", "end": "2027-01-01T00:00:00Z"}
HALF: Final = {"start": "2026-01-01T00:00:00Z", "end": "2026-07-01T00:00:00Z"}


@dataclass(frozen=True)
class Webhook:
    """The running process and where it answers."""

    process: Process
    url: str
    issued: Issued

    def get(self, path: str) -> httpx.Response:
        """GET, trusting the webhook's own authority alone, over a fresh connection."""
        context = ssl.create_default_context(cadata=self.issued.authorities.decode())
        with httpx.Client(base_url=self.url, verify=context, timeout=5) as client:
            return client.get(path)

    def answers(self, path: str, status: int = 200) -> bool:
        """Whether GET `path` gives `status` now; AssertionError with its log once the process is dead."""
        if self.process.return_code is not None:
            raise AssertionError("\n".join(self.process.last_lines(40)))
        try:
            return self.get(path).status_code == status
        except httpx.TransportError:
            return False


def hours(**amounts: int) -> list[Obj]:
    """`hours(cpu=5)` as a list of resources."""
    return [{"name": name, "hours": amount} for name, amount in amounts.items()]


def fitting_allocation(name: str = "", namespace: str = NAMESPACE, **spec: Any) -> Obj:
    """An Allocation that fits; keyword arguments replace fields of the spec, None takes one out."""
    fitting: Obj = {
        "clusterRef": {"name": "alpha"},
        "poolRef": {"name": "alpha-lattice"},
        "period": HALF,
        "resources": hours(cpu=1000),
    }
    wanted = {key: value for key, value in (fitting | spec).items() if value is not None}
    return resource("Allocation", name or fresh("a"), wanted, namespace)


def fresh(prefix: str) -> str:
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


async def grant(kube: Kube, pool: str, granted: Mapping[str, int], spent: Mapping[str, int] | None = None) -> None:
    """Write a pool's book as the operator would."""
    status = {"granted": hours(**granted), "spent": hours(**(spent or {})), "sequence": 1, "epoch": 1}
    await kube.merge_patch(QUOTAPOOLS, pool, {"status": status}, subresource="status")


async def launch(plane: ControlPlane, directory: Path, **settings: object) -> Webhook:
    """Start `python -m bursar_webhooks` as its own ServiceAccount; its certificate is yours to put into the Secret."""
    (port,) = free_ports(1)
    kubeconfig = await service_account_kubeconfig(plane.kubectl, directory / "kubeconfig", SYSTEM, "bursar-webhooks")
    environment = {"KUBECONFIG": kubeconfig, "PORT": port, "CERTIFICATE_SECRET": SECRET} | settings
    command = Command(
        "webhooks",
        (sys.executable, "-P", "-m", "bursar_webhooks"),
        {f"BURSAR_WEBHOOKS_{name}": str(value) for name, value in environment.items()},
    )
    process = await Process.start(command, directory)
    return Webhook(process, f"https://127.0.0.1:{port}", issue(["localhost"], datetime.now(UTC)))


async def put_certificate(kube: Kube, issued: Issued) -> None:
    """Write the Secret as the operator does."""
    pairs = {"tls.crt": issued.certificate, "tls.key": issued.key, "ca.crt": issued.authorities}
    data = {name: b64encode(content).decode() for name, content in pairs.items()}
    body = {"metadata": {"name": SECRET, "namespace": SYSTEM}, "type": "kubernetes.io/tls", "data": data}
    await kube.apply(SECRETS, body, field_manager="test", force=True)


async def register(kube: Kube, webhook: Webhook) -> None:
    """Have the API server call the webhook, and wait until it does."""
    await point_to(kube, webhook)
    async with asyncio.timeout(30):
        while not await _is_called(kube):  # noqa: ASYNC110 - nothing here knows when
            await asyncio.sleep(0.05)


async def point_to(kube: Kube, webhook: Webhook) -> None:
    """Apply the manifest with the webhook's address, and `caBundle` as the operator adds it."""
    document = yaml.safe_load((share("webhook") / "webhook.yaml").read_text())
    configuration: Obj = by_url(document, f"{webhook.url}/validate")
    bundle = b64encode(webhook.issued.authorities).decode()
    for hook in configuration["webhooks"]:
        hook["clientConfig"]["caBundle"] = bundle
    await kube.apply(WEBHOOKCONFIGS, configuration, field_manager="test", force=True)


async def ready(webhook: Webhook) -> None:
    """Wait until it would decide."""
    await eventually(lambda: webhook.answers("/readyz"), "the webhook is ready")


async def _is_called(kube: Kube) -> bool:
    """The account of Bursar's own root is refused by nothing but the webhook."""
    probe = resource("Project", fresh("probe"), {"owner": "alice", "account": "bursar"})
    try:
        await kube.create(PROJECTS, probe, dry_run=True)
    except KubeError as error:
        return bool(error.causes)
    return False

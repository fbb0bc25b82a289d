"""Fixtures: a client of the real API server, a namespace of one's own, a bad network before the server."""

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from bursar_kube.client import Kube
from bursar_kube.resources import NAMESPACES
from bursar_local.controlplane import ControlPlane
from bursar_testing.relay import Relay


@pytest.fixture(scope="session")
async def kube(controlplane: ControlPlane) -> AsyncIterator[Kube]:
    """The administrator's client."""
    client = await Kube.connect(str(controlplane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def namespace(kube: Kube) -> str:
    """A fresh namespace."""
    name = f"kube-test-{uuid.uuid4().hex[:8]}"
    await kube.create(NAMESPACES, {"metadata": {"name": name}})
    return name


@pytest.fixture
async def relay(controlplane: ControlPlane) -> AsyncIterator[Relay]:
    """A relay before the API server."""
    address = urlsplit(controlplane.url)
    started = await Relay.start(address.hostname or "", address.port or 0)
    yield started
    await started.stop()


@pytest.fixture
async def relayed(controlplane: ControlPlane, relay: Relay, tmp_path: Path) -> AsyncIterator[Kube]:
    """A client whose every connection goes through the relay."""
    document = yaml.safe_load(controlplane.kubeconfig.read_text())
    document["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{relay.port}"
    path = tmp_path / "relayed.kubeconfig"
    path.write_text(yaml.safe_dump(document))
    client = await Kube.connect(str(path))
    yield client
    await client.close()

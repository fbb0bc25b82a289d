"""A client of the real API server, and a proxy before it that fails when it is told to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bursar_kube.client import Kube
from bursar_local.controlplane import ControlPlane
from bursar_testing.faultproxy import FaultProxy


@pytest.fixture(scope="session")
async def kube(controlplane: ControlPlane) -> AsyncIterator[Kube]:
    """The administrator's client, past every proxy."""
    client = await Kube.connect(str(controlplane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def proxy(controlplane: ControlPlane) -> AsyncIterator[FaultProxy]:
    """A proxy that injects nothing yet."""
    started = await FaultProxy.start(controlplane.kubeconfig)
    yield started
    await started.stop()


@pytest.fixture
async def proxied(controlplane: ControlPlane, proxy: FaultProxy, tmp_path: Path) -> AsyncIterator[Kube]:
    """The administrator's client through the proxy; faults know it as `client`."""
    client = await Kube.connect(str(proxy.kubeconfig(tmp_path / "proxied.kubeconfig", controlplane.kubeconfig, "client")))
    yield client
    await client.close()

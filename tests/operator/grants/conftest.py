"""One cluster with a project on the real API server, and terms of the grant core that follow each other on it."""

from collections.abc import AsyncIterator

import pytest

from bursar_kube.client import Kube
from bursar_local.controlplane import ControlPlane
from bursar_testing.grantterm import Site


@pytest.fixture(scope="session")
async def kube(controlplane: ControlPlane) -> AsyncIterator[Kube]:
    """A client as the administrator."""
    client = await Kube.connect(str(controlplane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture
async def site(kube: Kube) -> AsyncIterator[Site]:
    """A cluster and a settled project of their own for each test."""
    found = await Site.make(kube)
    try:
        yield found
    finally:
        await found.clear()

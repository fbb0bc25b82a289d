"""Fixtures of the resources' tests: a raw client of the real API server and the namespaces of the samples."""

from collections.abc import AsyncIterator

import httpx
import pytest
import yaml

from bursar_local.controlplane import ControlPlane
from bursar_testing.rawapi import Api, client_context
from bursar_testing.samples import sample_files

SAMPLE_NAMESPACES = ("project-lattice-qcd",)


@pytest.fixture(scope="session")
async def api(controlplane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """The API server as its administrator sees it."""
    context = client_context(controlplane, tmp_path_factory.mktemp("client"))
    async with httpx.AsyncClient(base_url=controlplane.url, verify=context, timeout=30) as client:
        yield Api(client)


@pytest.fixture(scope="session")
async def namespaces(controlplane: ControlPlane) -> None:
    """The namespaces that the samples live in."""
    for name in SAMPLE_NAMESPACES:
        manifest = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await controlplane.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(manifest))


@pytest.fixture(scope="module")
async def samples_applied(controlplane: ControlPlane, namespaces: None) -> AsyncIterator[None]:
    """Every sample applied as a person would, and taken away again: other parts' tests share the control plane."""
    files = [f"--filename={path}" for path in sample_files()]
    await controlplane.kubectl("apply", *files)
    yield
    await controlplane.kubectl("delete", "--ignore-not-found", "--timeout=60s", *files)

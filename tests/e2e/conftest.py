"""One whole stack for the session: control plane, operator, webhook, gateway with development identities."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import yaml

from bursar_client import BursarClient, Connection
from bursar_kube.client import Kube
from bursar_local import supervisor
from bursar_local.demo.kube import Kubectl
from bursar_local.endpoints import Endpoints
from bursar_testing import manifests as make
from bursar_testing.fullstack import Site


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Endpoints]:
    directory = tmp_path_factory.mktemp("stack")
    assert await asyncio.to_thread(supervisor.up, directory, detach=True) == 0, logs(directory)
    try:
        yield Endpoints.read(directory)
    finally:
        assert await asyncio.to_thread(supervisor.down, directory) == 0


def logs(directory: Path) -> str:
    """The last lines of every log, for whoever reads a failure."""
    parts = sorted(directory.rglob("*.log"))
    return "\n".join(f"== {p.name}\n" + "\n".join(p.read_text(errors="replace").splitlines()[-15:]) for p in parts)


@pytest.fixture(scope="session")
def admin(stack: Endpoints) -> Kubectl:
    return Kubectl(stack)


class As:
    """Clients by development user."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __call__(self, user: str) -> BursarClient:
        return BursarClient(Connection.local(self._directory, user))


@pytest.fixture(scope="session")
def as_user(stack: Endpoints) -> As:
    return As(stack.directory)


@pytest.fixture(scope="session")
async def site(admin: Kubectl) -> str:
    """A cluster `toy`, two projects of alice and bob, a pool of 1,000 cpu hours with a parent; returns the cluster's name."""
    documents = [
        make.cluster("toy"),
        make.project("optics", "alice"),
        make.project("plasma", "bob"),
        make.pool("toy-all", "toy", 2000),
        make.pool("toy-dept", "toy", 1000, "toy-all"),
    ]
    code, text = await admin.apply_text(yaml.safe_dump_all(documents))
    assert code == 0, text
    await admin.wait("Ready", "projects.bursar.dev")
    return "toy"


@pytest.fixture(scope="session")
async def people(stack: Endpoints, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """What people do with the session's stack."""
    kube = await Kube.connect(str(stack.kubeconfig))
    yield Site(stack, tmp_path_factory.mktemp("people"), kube)
    await kube.close()

"""Fixtures: one real control plane for the whole session, with Bursar's definitions applied and settled."""

from collections.abc import AsyncIterator

import pytest

from bursar_local.build import ensure_binary
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubectl import Kubectl


@pytest.fixture(scope="session")
async def bare_controlplane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A running control plane without Bursar's definitions; the one that `controlplane` adds them to."""
    plane = await ControlPlane.start(tmp_path_factory.mktemp("controlplane"))
    try:
        yield plane
    finally:
        await plane.stop()


@pytest.fixture(scope="session")
async def controlplane(bare_controlplane: ControlPlane) -> ControlPlane:
    """A running control plane (`.kubeconfig`, `.url`, `.ca_file`, `await .kubectl(...)`) that serves Bursar's kinds."""
    await apply_definitions(bare_controlplane.kubectl, share("crds"))
    return bare_controlplane


@pytest.fixture(scope="session")
def kubectl(controlplane: ControlPlane) -> Kubectl:
    """kubectl as the administrator: `await kubectl("get", "ns", check=False)` → return_code, stdout, stderr."""
    return controlplane.kubectl


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs the API server, so that `-m "not controlplane"` leaves it out."""
    for item in items:
        if "bare_controlplane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.controlplane)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the binary before the first test: a cold build takes minutes, which is not the test's own time."""
    if not session.config.option.collectonly and any(item.get_closest_marker("controlplane") for item in session.items):
        ensure_binary(print)

"""One gateway for all tests here, on a real control plane; tests keep apart by the names of clusters and projects."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from bursar_local.build import ensure_binary
from bursar_testing.gatewaystack import GatewayStack, running_gateway


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the control plane's binary before the first test: a cold build takes minutes, which is not the test's own time."""
    if not session.config.option.collectonly and any("running" in getattr(i, "fixturenames", ()) for i in session.items):
        ensure_binary(print)


@pytest.fixture(scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[GatewayStack]:
    """The running gateway."""
    async with running_gateway(tmp_path_factory.mktemp("gateway")) as stack:
        yield stack


@pytest.fixture
def fresh() -> str:
    """Six letters that no other test uses."""
    return uuid4().hex[:6]

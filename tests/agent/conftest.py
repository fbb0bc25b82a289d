"""One gateway for all tests here; they keep apart by cluster name."""

from collections.abc import AsyncIterator

import pytest

from bursar_testing.agentstack import Stack, running_stack


@pytest.fixture(scope="session")
async def stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """A gateway with a ledger behind it."""
    async with running_stack(tmp_path_factory.mktemp("gateway")) as running:
        yield running

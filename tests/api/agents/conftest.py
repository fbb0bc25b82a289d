"""One server for all tests here."""

from collections.abc import AsyncIterator

import pytest

from bursar_domain.keys import Signer
from bursar_testing.agentgateway import Gateway, running_gateway


@pytest.fixture(scope="session")
async def gateway() -> AsyncIterator[Gateway]:
    """A running server; tests keep apart by cluster name."""
    async with running_gateway() as running:
        yield running


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The operator's key."""
    return Signer.generate()

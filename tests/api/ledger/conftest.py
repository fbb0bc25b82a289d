"""One ledger file for the module; tests keep apart by cluster name, or open a file of their own."""

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from bursar_domain.keys import Signer
from bursar_ledger import Ledger
from bursar_testing.wires import new_ledger


@pytest.fixture(scope="module")
async def ledger() -> AsyncIterator[Ledger]:
    """A ledger that other tests of the module use too."""
    async with new_ledger() as opened:
        yield opened


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The operator's key."""
    return Signer.generate()


@pytest.fixture
def cluster() -> str:
    """A name that no other test uses."""
    return f"c{uuid4().hex[:12]}"

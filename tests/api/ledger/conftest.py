"""The whole suite on SQLite and on PostgreSQL; tests keep apart by cluster name, or take a database of their own."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from uuid import uuid4

import pytest

from bursar_domain.keys import Signer
from bursar_ledger import Ledger
from bursar_local.postgres import Postgres
from bursar_testing.postgres import own_database
from bursar_testing.wires import publish_accounts

NewUrl = Callable[[], AbstractAsyncContextManager[str]]


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def backend(request: pytest.FixtureRequest) -> str:
    """Which database."""
    return str(request.param)


@pytest.fixture(scope="session")
def new_url(backend: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NewUrl:
    """Makes URLs of empty databases."""
    if backend == "postgresql":
        server = request.getfixturevalue("postgres")
        assert isinstance(server, Postgres)
        return lambda: own_database(server)

    @asynccontextmanager
    async def new_file() -> AsyncIterator[str]:
        yield f"sqlite:///{tmp_path_factory.mktemp('ledger')}/ledger.db"

    return new_file


@pytest.fixture(scope="module")
async def ledger(new_url: NewUrl) -> AsyncIterator[Ledger]:
    """A ledger that other tests of the module use too."""
    async with new_url() as url:
        opened = await Ledger.connect(url)
        yield opened
        await opened.close()


@pytest.fixture
async def url(new_url: NewUrl) -> AsyncIterator[str]:
    """An empty database of the test's own."""
    async with new_url() as found:
        yield found


@pytest.fixture
async def own(url: str) -> AsyncIterator[Ledger]:
    """A ledger of the test's own."""
    opened = await Ledger.connect(url)
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def signer() -> Signer:
    """The operator's key."""
    return Signer.generate()


@pytest.fixture
def cluster() -> str:
    """A name that no other test uses."""
    return f"c{uuid4().hex[:12]}"


@pytest.fixture
async def site(ledger: Ledger, cluster: str) -> str:
    """A cluster with accounts `a`, `b` and one of its own name."""
    await publish_accounts(ledger, cluster, "a", "b", f"acc-{cluster}")
    return cluster

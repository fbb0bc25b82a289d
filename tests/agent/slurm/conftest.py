"""The plug-in, connected to the real Slurm."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bursar_agent.schedulers.base import Outcome
from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing.slurm import pytest_collection_modifyitems, slurm  # noqa: F401 - fixture and hook
from bursar_testing.slurm_accounts import OPEN, OpenAccount, cluster_settings, new, settings_of


@pytest.fixture(scope="session")
def cluster(slurm: Slurm) -> ClusterSettings:  # noqa: F811 - the fixture
    """The session's cluster."""
    return cluster_settings(slurm.cluster)


@pytest.fixture
async def scheduler(slurm: Slurm, tmp_path: Path) -> AsyncIterator[SlurmScheduler]:  # noqa: F811 - the fixture
    """The plug-in, connected to the session's Slurm."""
    connected = PLUGIN.connect(settings_of(slurm), tmp_path)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def fresh_name() -> Callable[[], str]:
    """Account names that no other test uses."""
    numbers = itertools.count(1)
    return lambda: f"proj-{next(numbers)}"


@pytest.fixture
def open_account(scheduler: SlurmScheduler, cluster: ClusterSettings, fresh_name: Callable[[], str]) -> OpenAccount:
    """Makes accounts of ours."""

    async def make(minutes: int = 1000, *members: str) -> str:
        name = fresh_name()
        assert await scheduler.apply(cluster, [new(name, {"cpu": minutes, **OPEN}, *(members or ("alice",)))]) == [
            Outcome(name, done=True)
        ]
        return name

    return make

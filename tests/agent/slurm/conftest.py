"""The plug-in, connected to the real Slurm."""

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bursar_agent.schedulers.base import AccountChange, Outcome
from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import OPEN, OpenAccount, cluster_settings, new, settings_of


@pytest.fixture(scope="session")
def cluster(slurm: Slurm) -> ClusterSettings:
    """The session's cluster."""
    return cluster_settings(slurm.cluster)


@pytest.fixture
async def scheduler(slurm: Slurm, tmp_path: Path) -> AsyncIterator[SlurmScheduler]:
    """The plug-in, connected to the session's Slurm."""
    connected = PLUGIN.connect(settings_of(slurm), tmp_path)
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def fresh_name() -> Callable[[], str]:
    """Account names that no other test uses."""
    numbers = itertools.count(1)
    return lambda: f"proj-{next(numbers)}"


@pytest.fixture(scope="session")
async def spare_accounts(
    slurm: Slurm, cluster: ClusterSettings, fresh_name: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Accounts made at once, with alice in them and 1000 CPU minutes: each command takes a while, however many it serves."""
    commands = PLUGIN.connect(settings_of(slurm), tmp_path_factory.mktemp("spare"))
    changes = [new(fresh_name(), {"cpu": 1000, **OPEN}, "alice") for _ in range(40)]
    assert all(outcome.done for outcome in await commands.apply(cluster, changes))
    return [change.account for change in changes]


@pytest.fixture
def open_account(scheduler: SlurmScheduler, cluster: ClusterSettings, spare_accounts: list[str]) -> OpenAccount:
    """Gives accounts of ours."""

    async def make(minutes: int = 1000, *members: str) -> str:
        name = spare_accounts.pop()
        change = AccountChange(
            name,
            limits={} if minutes == 1000 else {"cpu": minutes},
            add_members=frozenset(members or ("alice",)) - {"alice"},
            remove_members=frozenset({"alice"}) - set(members) if members else frozenset(),
        )
        assert await scheduler.apply(cluster, [change]) == [Outcome(name, done=True)]
        return name

    return make

"""Fixtures: one real throw-away Slurm for the whole session."""

from collections.abc import AsyncIterator

import pytest

from bursar_local.slurm import Slurm, SlurmUnavailable, can_run
from bursar_local.slurm.programs import obtain

USERS = ("alice", "bob", "carol", "dave", "erin", "frank")


async def need_slurm() -> None:
    """Skips the test, with the reason, where the machine can't run a throw-away Slurm."""
    if reason := can_run():
        pytest.skip(f"no throw-away Slurm: {reason}")
    try:
        await obtain()
    except SlurmUnavailable as error:
        pytest.skip(f"no throw-away Slurm: {error}")


@pytest.fixture(scope="session")
async def slurm(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Slurm]:
    """A running Slurm called `alpha`: two nodes of 512 CPUs, 8 GPUs, six users (`.run`, `.submit`, `.environment`, `.bin`)."""
    await need_slurm()
    running = await Slurm.start(tmp_path_factory.mktemp("slurm"), cluster="alpha", users=USERS, nodes=2)
    try:
        yield running
    finally:
        await running.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs Slurm, so that `-m "not slurm"` leaves it out."""
    for item in items:
        if "slurm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slurm)

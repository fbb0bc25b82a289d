"""The scenarios that are marked for it on one real Slurm, all at the same time, with a clock that skips what is between."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from bursar_local.slurm import Slurm, SlurmUnavailable, clock_at
from bursar_local.slurm.clock import why_no_clock
from bursar_testing.scenarios import Scenario, load_all
from bursar_testing.scenarios.engine import moments
from bursar_testing.scenarios.runners import run_slurm
from bursar_testing.slurm import need_slurm

SCENARIOS = [scenario for scenario in load_all(Path(__file__).parent) if scenario.is_for("slurm")]
LEAST = 6
LEAD_SECONDS = 3600
NEVER_DOWN = {"SlurmdTimeout": "0", "SlurmctldTimeout": "300"}
"""A node that was last heard of a month ago, by a clock that was put forward a moment ago."""

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(300)]


@pytest.fixture(scope="session")
async def told(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    """By scenario what was not as expected."""
    await need_slurm()
    if reason := why_no_clock():
        pytest.skip(f"no clock for a throw-away Slurm: {reason}")
    folder = tmp_path_factory.mktemp("stories")
    try:
        clock = await clock_at(moments(SCENARIOS)[0] - LEAD_SECONDS, folder)
    except SlurmUnavailable as error:
        pytest.skip(f"no clock for a throw-away Slurm: {error}")
    users = sorted({job.user for scenario in SCENARIOS for job in scenario.jobs})
    slurm = await Slurm.start(folder / "slurm", cluster="alpha", users=users, nodes=2, overrides=NEVER_DOWN, clock=clock)
    try:
        return await run_slurm(SCENARIOS, folder, slurm, clock)
    finally:
        await slurm.stop()


@pytest.mark.parametrize("scenario", [pytest.param(scenario, id=scenario.name) for scenario in SCENARIOS])
async def test_on_slurm(scenario: Scenario, told: Mapping[str, list[str]]) -> None:
    """Over the real agent, a real Slurm and a real ledger."""
    assert not told[scenario.name]


def test_there_are_enough() -> None:
    assert len(SCENARIOS) >= LEAST

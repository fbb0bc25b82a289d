"""A leader that dies beside any of its writes leaves nothing that the next one does not bring to the same end."""

from collections.abc import AsyncIterator

import pytest

from bursar_local.controlplane import ControlPlane
from bursar_testing.crash import Scenario, Stage
from bursar_testing.crashscenarios import SCENARIOS


@pytest.fixture
async def stage(controlplane: ControlPlane) -> AsyncIterator[Stage]:
    """A site of its own."""
    async with Stage.opened(controlplane.kubeconfig) as opened:
        yield opened


@pytest.mark.parametrize("scenario", [item for item in SCENARIOS if not item.is_long], ids=lambda item: item.name)
async def test_a_death_beside_any_write_changes_nothing_in_the_end(stage: Stage, scenario: Scenario) -> None:
    story = await stage.play(scenario)
    assert story.wrong == []
    assert story.complete
    assert story.deaths >= story.writes / 2 > 0

"""The operator as a process, killed beside a write: the next one comes to the same end. `make faults` tries every write."""

from pathlib import Path

from bursar_local.controlplane import ControlPlane
from bursar_testing.crashprocess import Process, scenarios
from bursar_testing.faultproxy import Moment


async def test_a_process_that_is_killed_beside_a_write_leaves_nothing_behind(
    controlplane: ControlPlane, tmp_path: Path
) -> None:
    scenario = next(item for item in scenarios() if item.name == "shrink")
    async with Process.opened(controlplane, tmp_path) as process:
        story = await process.play(scenario, only=[(Moment.AFTER, 1)])
    assert story.wrong == []
    assert story.deaths == 1

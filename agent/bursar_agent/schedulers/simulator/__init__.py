"""A scheduler in this process: replays job logs in accelerated time, enforces limits as Slurm does with `safe`."""

from pathlib import Path

from bursar_agent.schedulers.simulator.scheduler import SimulatedScheduler
from bursar_agent.schedulers.simulator.settings import SimulatorSettings

__all__ = ["PLUGIN", "SimulatedScheduler", "SimulatorPlugin", "SimulatorSettings"]


class SimulatorPlugin:
    """The plug-in `simulator`."""

    name = "simulator"
    settings = SimulatorSettings
    in_process = True

    def connect(self, settings: SimulatorSettings, state_directory: Path) -> SimulatedScheduler:
        """The machine as it was when its state directory was last used."""
        return SimulatedScheduler(settings, state_directory)


PLUGIN = SimulatorPlugin()

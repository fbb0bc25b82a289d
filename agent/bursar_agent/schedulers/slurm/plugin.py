"""What the entry point group `bursar.schedulers` holds for Slurm."""

from pathlib import Path

from bursar_agent.schedulers.slurm.commands import Commands
from bursar_agent.schedulers.slurm.factors import FactorStore
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.schedulers.slurm.settings import SlurmSettings
from bursar_agent.schedulers.slurm.softland import SoftLandings


class SlurmPlugin:
    """The plug-in `slurm`."""

    name = "slurm"
    settings = SlurmSettings

    def connect(self, settings: SlurmSettings, state_directory: Path) -> SlurmScheduler:
        """A scheduler for validated settings; Slurm keeps all but past usage factors and the QOSes of confined accounts."""
        return SlurmScheduler(settings, Commands(settings), FactorStore(state_directory), SoftLandings(state_directory))


PLUGIN = SlurmPlugin()

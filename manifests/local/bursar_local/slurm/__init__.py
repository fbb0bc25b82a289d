"""A throw-away Slurm on loopback: own folders, own ports, own users, nothing of the host started, stopped or altered."""

from bursar_local.slurm.cluster import Slurm, can_run
from bursar_local.slurm.config import SlurmOptions
from bursar_local.slurm.errors import SlurmUnavailable

__all__ = ["Slurm", "SlurmOptions", "SlurmUnavailable", "can_run"]

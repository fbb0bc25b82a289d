"""A throw-away Slurm on loopback: own folders, own ports, own users, nothing of the host started, stopped or altered."""

from bursar_local.slurm.clock import Clock, clock_at
from bursar_local.slurm.cluster import Slurm, can_run
from bursar_local.slurm.config import SlurmOptions
from bursar_local.slurm.errors import SlurmUnavailable

__all__ = ["Clock", "Slurm", "SlurmOptions", "SlurmUnavailable", "can_run", "clock_at"]

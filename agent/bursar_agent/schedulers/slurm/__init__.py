"""Slurm: limits by `sacctmgr`, counters by `sshare`, use by `sacct`; exact integers, read back after every write."""

from bursar_agent.schedulers.slurm.plugin import PLUGIN

__all__ = ["PLUGIN"]

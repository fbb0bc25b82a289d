"""Settings of the Slurm plug-in (`schedulerSettings` of the agent's configuration)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError(f"{path} is not absolute: give the whole path, so that PATH cannot choose the program")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class SlurmSettings(BaseModel):
    """Where Slurm's commands are and how they may be called."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bin: AbsolutePath = Field(
        default=Path("/usr/bin"), description="folder of sacctmgr, sshare, sacct, scontrol, squeue, sdiag"
    )
    getent: AbsolutePath = Field(default=Path("/usr/bin/getent"), description="the program that tells whether a user exists")
    environment: Mapping[str, str] = Field(
        default={}, description="variables for the commands, such as SLURM_CONF; nothing else is passed"
    )
    read_timeout_seconds: float = Field(default=30, gt=0, description="a read that takes longer is given up")
    write_timeout_seconds: float = Field(
        default=120, gt=0, description="a write that takes longer has an unknown result and is read back"
    )
    records_timeout_seconds: float = Field(default=120, gt=0, description="the same for one window of job records")
    names_per_call: int = Field(
        default=200, ge=1, le=500, description="accounts in one command; more block slurmdbd for others"
    )
    writers: int = Field(default=4, ge=1, le=64, description="commands at once for different groups of accounts")
    window_hours: int = Field(default=24, ge=1, le=24 * 31, description="job records are read in windows of this length")
    soft_land_qos: str = Field(
        default="",
        pattern=r"^([a-z0-9][a-z0-9_.-]{0,39})?$",
        description="the QOS that SoftLand leaves to an account: UsageFactor=0, Flags=UsageFactorSafe; without one it holds",
    )
    settle_seconds: float = Field(default=5, ge=0, description="how long a written value may take to show in slurmctld")

"""Settings of the simulator."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FilePath, field_validator

from bursar_crds import names

COLUMNS = ["log_user", "user", "account"]


class SimulatorSettings(BaseModel):
    """What is replayed, how fast, on what machine. All times are seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    log: Annotated[FilePath | None, Field(description="Job log in Standard Workload Format, gzip or plain.")] = None
    users_table: Annotated[
        FilePath | None, Field(description="CSV with the columns log_user, user, account. Default: user u7, account g1.")
    ] = None
    speed: Annotated[
        float, Field(ge=0, le=10_000_000, description="Simulated seconds per second; 0 moves `step_seconds` at each look.")
    ] = 1.0
    step_seconds: Annotated[int, Field(ge=1, le=31_622_400, description="Simulated seconds per look where speed is 0.")] = 3600
    longest_look_seconds: Annotated[
        float, Field(gt=0, le=86_400, description="Real seconds that one look may make up for, after a pause.")
    ] = 10.0
    processors: Annotated[int, Field(ge=1, le=2**31, description="Processors of the machine.")] = 128
    ends_at: Annotated[
        Literal["now"] | int, Field(description="When the log ends: `now` (the first start) or epoch seconds.")
    ] = "now"
    start_when: Annotated[
        Literal["Associations", "Immediately"],
        Field(description="Clock stands until every user of the table is a member of the account there, or runs at once."),
    ] = "Associations"
    counter_period_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How often counters move, as PriorityCalcPeriod; 0: always exact.")
    ] = 0
    soft_land_qos: Annotated[
        str,
        Field(
            pattern=r"^([a-z0-9][a-z0-9_.-]{0,39})?$", description="QOS whose jobs cost nothing, for SoftLand. Default: none."
        ),
    ] = ""

    @field_validator("users_table")
    @classmethod
    def _is_a_table(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_users(path)
        return path


def read_users(path: Path) -> Mapping[str, tuple[str, str]]:
    """log user -> (user, account); ValueError names the line that does not fit."""
    found: dict[str, tuple[str, str]] = {}
    with path.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        if reader.fieldnames != COLUMNS:
            raise ValueError(f"{path}: the first line must be {','.join(COLUMNS)}")
        for number, row in enumerate(reader, 2):
            log_user, user, account = (row[name] or "" for name in COLUMNS)
            if log_user in found:
                raise ValueError(f"{path} line {number}: user {log_user} stands there twice")
            if not names.is_user(user) or not names.is_account(account):
                raise ValueError(f"{path} line {number}: {user!r}, {account!r} are no names of a user and an account")
            found[log_user] = (user, account)
    return found

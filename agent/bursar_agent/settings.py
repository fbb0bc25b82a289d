"""Settings of the agent: a YAML file, and `BURSAR_AGENT_…` in the environment, which wins. Read once."""

import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import Field, FilePath, ValidationError, field_validator
from pydantic_settings import SettingsConfigDict

from bursar_crds import names
from bursar_crds.environment import BadSetting as BadSetting
from bursar_crds.environment import PartSettings, refuse_unknown

PREFIX: Final = "BURSAR_AGENT_"
LOCAL: Final = ("https://127.0.0.1", "https://localhost")


class AgentSettings(PartSettings):
    """Everything that may differ from one cluster to the next."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    cluster: Annotated[str, Field(pattern=names.CLUSTER_PATTERN, description="Name of the Cluster object.")]
    gateway: Annotated[
        str, Field(pattern=r"^https://[^\s/]+$", description="Address of the gateway, such as https://bursar.example.org.")
    ]
    gateway_ca: Annotated[
        FilePath | None, Field(description="Certificate authority of the gateway. Default: the system's.")
    ] = None
    state_directory: Annotated[Path, Field(description="Where key, journal and books are; made (0700) where it is absent.")]
    scheduler: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,62}$", description="Name of the scheduler plug-in.")]
    scheduler_settings: Annotated[Mapping[str, Any], Field(description="Settings of the plug-in.")] = {}
    cycle_interval_seconds: Annotated[
        float, Field(ge=0.05, le=3600, description="Pause between two looks at the scheduler, unless something changes.")
    ] = 10.0
    usage_interval_seconds: Annotated[float, Field(ge=0.05, le=3600, description="Pause between two reads of job records.")] = (
        60.0
    )
    usage_overlap_seconds: Annotated[
        int, Field(ge=0, le=604_800, description="How far back records are read again, for those that come late.")
    ] = 3600
    usage_sweep_days: Annotated[
        int,
        Field(ge=0, le=366, description="Older records are read again, a slice at a time: each of these days once a day."),
    ] = 35
    counter_period_seconds: Annotated[
        int, Field(ge=0, le=3600, description="How far the scheduler's counters may lag, as Slurm's PriorityCalcPeriod.")
    ] = 300
    retry_members_seconds: Annotated[
        float, Field(ge=1, le=86_400, description="Pause before a member whom the host does not know is tried again.")
    ] = 60.0
    health_port: Annotated[
        int | None, Field(ge=0, le=65_535, description="Port on 127.0.0.1 for /healthz, /readyz, /metrics. Default: none.")
    ] = None
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="What is logged.")] = "INFO"

    @field_validator("gateway_ca")
    @classmethod
    def _holds_certificates(cls, path: Path | None) -> Path | None:
        try:
            if path is not None:  # the system's are found when they are used; to load them takes a while
                ssl.create_default_context(cafile=str(path))
        except OSError as error:
            raise ValueError(f"{path} holds no certificates in PEM form; name the gateway's authority") from error
        return path

    @field_validator("state_directory")
    @classmethod
    def _is_or_can_be_a_folder(cls, path: Path) -> Path:
        if not path.is_dir() and (path.exists() or not path.parent.is_dir()):
            raise ValueError(f"{path} is no folder and can't be made; make {path.parent} or name another one")
        return path


def load(config: Path | None, environment: Mapping[str, str]) -> AgentSettings:
    """The settings; BadSetting names each one that does not fit, misspelt ones too."""
    given = _from_file(config) if config else {}
    given |= _from_environment(environment)
    try:
        return AgentSettings.model_validate(given)
    except ValidationError as error:
        raise BadSetting("; ".join(sentences(error))) from error


def _from_file(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadSetting(f"{path}: can't be read as YAML: {error}") from error
    if content is None:
        return {}
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise BadSetting(f"{path}: must be a mapping of settings")
    return content


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = {f"{PREFIX}{name.upper()}": name for name in AgentSettings.model_fields if name != "scheduler_settings"}
    refuse_unknown(known, PREFIX, environment)
    return {name: environment[variable] for variable, name in known.items() if variable in environment}


def sentences(error: ValidationError, prefix: str = "") -> Iterable[str]:
    """One sentence per setting that does not fit."""
    for item in error.errors(include_url=False, include_context=False):
        name = ".".join(str(part) for part in item["loc"])
        words = {"missing": "is not set; it has no default", "extra_forbidden": "there is no such setting"}
        yield f"{prefix}{name}: {words.get(item['type'], item['msg'])}"

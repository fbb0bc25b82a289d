"""Settings of the operator, read once from the environment (`BURSAR_OPERATOR_…`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, FilePath, field_validator
from pydantic_settings import SettingsConfigDict

from bursar_crds import names
from bursar_crds.environment import BadSetting as BadSetting
from bursar_crds.environment import PartSettings, from_environment

PREFIX: Final = "BURSAR_OPERATOR_"


class OperatorSettings(PartSettings):
    """Everything that may differ from one site to the next."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    kubeconfig: Annotated[
        FilePath | None, Field(description="Kubeconfig file. Default: the pod's service account, else $KUBECONFIG.")
    ] = None
    ledger_url: Annotated[
        str,
        Field(
            description="Where the books are: sqlite:////var/lib/bursar/ledger.db or postgresql://user:password@host/database.",
            pattern=r"^[a-z0-9+]+://",
        ),
    ]
    signing_key_file: Annotated[
        Path, Field(description="File with the 32 byte seed of the signing key; made (0600) where it is absent.")
    ]
    health_address: Annotated[str, Field(description="Address for /healthz, /readyz and /metrics.")] = "127.0.0.1"
    health_port: Annotated[int, Field(ge=0, le=65535, description="Port for them; 0 takes a free one.")] = 9440
    system_namespace: Annotated[
        str, Field(pattern=names.LABEL_PATTERN, description="Namespace of Bursar's own Lease, Secrets and ConfigMap.")
    ] = names.SYSTEM_NAMESPACE
    user_prefix: Annotated[
        str, Field(max_length=64, description="What the API server puts before the issuer's user names.")
    ] = "oidc:"
    webhook_configuration: Annotated[
        str, Field(min_length=1, description="ValidatingWebhookConfiguration that gets the webhook's authority.")
    ] = "bursar"
    valid_days: Annotated[
        int, Field(ge=1, le=366, description="How long a signed desired state may loosen limits without a new signature.")
    ] = 35
    agent_timeout_seconds: Annotated[
        int, Field(ge=10, le=86_400, description="Silence after which an agent counts as away.")
    ] = 120
    usage_stale_seconds: Annotated[
        int, Field(ge=60, le=604_800, description="Age of the usage watermark from which UsageStale holds.")
    ] = 3600
    release_deadline_seconds: Annotated[
        int, Field(ge=1, le=2_592_000, description="From when on a deletion that hangs is told of as overdue.")
    ] = 3600
    statement_age_seconds: Annotated[
        int, Field(ge=60, le=604_800, description="How old a release statement of `bursar-agent attest` may be.")
    ] = 3600
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="What is logged.")] = "INFO"

    @field_validator("signing_key_file")
    @classmethod
    def _folder_exists(cls, path: Path) -> Path:
        if not path.parent.is_dir():
            raise ValueError(f"the folder {path.parent} is not there; make it or name another file")
        return path


def load(environment: Mapping[str, str]) -> OperatorSettings:
    """The settings; `BadSetting` names each one that does not fit, misspelt ones too."""
    return from_environment(OperatorSettings, PREFIX, environment)

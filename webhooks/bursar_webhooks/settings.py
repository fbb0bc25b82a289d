"""Settings of the webhook, read once from the environment (`BURSAR_WEBHOOKS_…`)."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, FilePath
from pydantic_settings import SettingsConfigDict

from bursar_crds import names
from bursar_crds.environment import BadSetting as BadSetting
from bursar_crds.environment import PartSettings, from_environment

PREFIX: Final = "BURSAR_WEBHOOKS_"


class WebhookSettings(PartSettings):
    """Everything that may differ from one site to the next."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    kubeconfig: Annotated[
        FilePath | None, Field(description="Kubeconfig file. Default: the pod's service account, else $KUBECONFIG.")
    ] = None
    address: Annotated[
        str, Field(min_length=1, description="Address to listen on; 0.0.0.0 in a pod, where the API server calls from outside.")
    ] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535, description="Port for /validate, /healthz, /readyz and /metrics, all by TLS.")]
    certificate_secret: Annotated[
        str, Field(min_length=1, max_length=253, description="Secret with tls.crt and tls.key, as the operator keeps it.")
    ] = "bursar-webhook-tls"  # noqa: S105 - the name of a Secret, not a secret
    system_namespace: Annotated[str, Field(pattern=names.LABEL_PATTERN, description="Namespace of that Secret.")] = (
        names.SYSTEM_NAMESPACE
    )
    stale_seconds: Annotated[
        int,
        Field(ge=70, le=3600, description="Silence of the API server after which nothing is decided; it speaks once a minute."),
    ] = 90
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="What is logged.")] = "INFO"


def load(environment: Mapping[str, str]) -> WebhookSettings:
    """The settings; `BadSetting` names each one that does not fit, misspelt ones too."""
    return from_environment(WebhookSettings, PREFIX, environment)

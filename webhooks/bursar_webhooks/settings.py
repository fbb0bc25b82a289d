"""Settings of the webhook, read once from the environment (`BURSAR_WEBHOOKS_…`)."""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import Field, FilePath, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from bursar_crds import names

PREFIX: Final = "BURSAR_WEBHOOKS_"


class BadSetting(Exception):
    """A setting that is missing, unknown or unusable; the message names it as it stands in the environment."""


class WebhookSettings(BaseSettings):
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

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` hands in, so that nothing comes from a place that it did not check."""
        return (init_settings,)


def load(environment: Mapping[str, str]) -> WebhookSettings:
    """The settings; `BadSetting` names each one that does not fit, misspelt ones too."""
    known = {f"{PREFIX}{name.upper()}" for name in WebhookSettings.model_fields}
    unknown = sorted(name for name in environment if name.startswith(PREFIX) and name not in known)
    if unknown:
        raise BadSetting(f"{unknown[0]}: there is no such setting; the settings are {', '.join(sorted(known))}")
    given = {name[len(PREFIX) :].lower(): value for name, value in environment.items() if name.startswith(PREFIX)}
    try:
        return WebhookSettings.model_validate(given)
    except ValidationError as error:
        raise BadSetting("; ".join(_sentences(error))) from error


def _sentences(error: ValidationError) -> Iterable[str]:
    for item in error.errors(include_url=False, include_context=False):
        name = f"{PREFIX}{'_'.join(str(part) for part in item['loc'][:1]).upper()}"
        yield f"{name}: {'is not set; it has no default' if item['type'] == 'missing' else item['msg']}"

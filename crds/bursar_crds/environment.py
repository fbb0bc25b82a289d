"""Settings of a part, read once from its environment variables; a misspelt one is named, never ignored."""

from collections.abc import Iterable, Mapping
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource


class BadSetting(Exception):
    """A setting that is missing, unknown or unusable; the message names it as it stands where it was given."""


class PartSettings(BaseSettings):
    """Settings that come from what the part's `load` hands in alone: nothing comes from a place that it did not check."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Neither the environment nor files are read behind the caller's back."""
        return (init_settings,)


Settings = TypeVar("Settings", bound=PartSettings)


def from_environment(model: type[Settings], prefix: str, environment: Mapping[str, str]) -> Settings:
    """The settings of the variables that begin with the prefix; `BadSetting` names each one that does not fit."""
    known = {f"{prefix}{name.upper()}" for name in model.model_fields}
    refuse_unknown(known, prefix, environment)
    given = {name[len(prefix) :].lower(): value for name, value in environment.items() if name.startswith(prefix)}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise BadSetting("; ".join(_sentences(error, prefix))) from error


def refuse_unknown(known: Iterable[str], prefix: str, environment: Mapping[str, str]) -> None:
    """`BadSetting` where a variable looks like a setting and is none."""
    unknown = sorted(name for name in environment if name.startswith(prefix) and name not in known)
    if unknown:
        raise BadSetting(f"{unknown[0]}: there is no such setting; the settings are {', '.join(sorted(known))}")


def _sentences(error: ValidationError, prefix: str) -> Iterable[str]:
    for item in error.errors(include_url=False, include_context=False):
        name = f"{prefix}{'_'.join(str(part) for part in item['loc'][:1]).upper()}"
        yield f"{name}: {'is not set; it has no default' if item['type'] == 'missing' else item['msg']}"

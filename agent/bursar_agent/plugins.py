"""Scheduler plug-ins: found by entry point, their settings validated before anything is connected."""

from importlib.metadata import entry_points
from typing import Any

from pydantic import BaseModel, ValidationError

from bursar_agent.schedulers.base import Plugin, Scheduler
from bursar_agent.settings import AgentSettings, BadSetting, sentences

GROUP = "bursar.schedulers"


def find(name: str) -> Plugin:
    """The plug-in; BadSetting lists those that there are."""
    found = {point.name: point for point in entry_points(group=GROUP)}
    if name not in found:
        known = ", ".join(sorted(found)) or "none; install bursar with its entry points"
        raise BadSetting(f"scheduler: there is no plug-in {name}; those installed are {known}")
    plugin: Plugin = found[name].load()
    return plugin


def validated(plugin: Plugin, settings: AgentSettings) -> BaseModel:
    """The plug-in's own settings; BadSetting names what does not fit."""
    given: dict[str, Any] = dict(settings.scheduler_settings)
    try:
        return plugin.settings.model_validate(given)
    except ValidationError as error:
        raise BadSetting("; ".join(sentences(error, "scheduler_settings."))) from error


def connect(settings: AgentSettings) -> Scheduler:
    """The scheduler of these settings."""
    plugin = find(settings.scheduler)
    own = validated(plugin, settings)
    try:
        return plugin.connect(own, settings.state_directory)
    except ValueError as error:
        raise BadSetting(f"scheduler_settings: {error}") from error

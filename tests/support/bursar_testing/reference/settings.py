"""`docs/reference/settings.md`: every setting of every part, from the settings classes themselves."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Final

from pydantic import BaseModel

from bursar_agent.schedulers.base import Plugin
from bursar_agent.settings import AgentSettings
from bursar_api.settings import Settings as GatewaySettings
from bursar_operator.settings import OperatorSettings
from bursar_testing.reference.markdown import code, page, sentence, table
from bursar_testing.reference.schemas import Schema, bounds_of, type_of
from bursar_webhooks.settings import WebhookSettings

INTRODUCTION: Final = (
    "Each part reads its settings once, at its start. It refuses to start on a setting that is missing, unknown or unusable,\n"
    "and names it. The local stack sets all of them by itself."
)
CLIENT: Final[Mapping[str, str]] = {
    "BURSAR_GATEWAY": "Address of the gateway, such as `https://bursar.example.org`. Default: the local stack's.",
    "BURSAR_CA": "File with the certificate authority of the gateway. Default: the system's.",
    "BURSAR_TOKEN": "Token of the site's issuer; needed where `BURSAR_GATEWAY` is set.",
    "BURSAR_TOKEN_FILE": "File that holds the token instead.",
    "BURSAR_DIR": "Folder of the local stack. Default: `build/local`.",
    "BURSAR_CACHE": "What the local stack builds once. Default: `$XDG_CACHE_HOME/bursar`, else `~/.cache/bursar`.",
    "KUBECONFIG": "Kubeconfig for `bursar up`, `bursar clusters enrol`, and a part outside a cluster that was given none.",
}


@dataclass(frozen=True, slots=True)
class Section:
    """Settings of one part: where they are written, and how a field's name is spelt there."""

    title: str
    introduction: str
    model: type[BaseModel]
    prefix: str = ""

    def name(self, field: str) -> str:
        """The setting as one writes it."""
        return f"{self.prefix}{field.upper()}" if self.prefix else field


def sections() -> list[Section]:
    """Every part, then every scheduler plug-in that is installed."""
    return [
        Section("bursar-operator", "From the environment.", OperatorSettings, "BURSAR_OPERATOR_"),
        Section("bursar-webhooks", "From the environment.", WebhookSettings, "BURSAR_WEBHOOKS_"),
        Section("bursar-gateway", "From the environment.", GatewaySettings, "BURSAR_GATEWAY_"),
        Section(
            "bursar-agent",
            "From the YAML file that `--config` names. A variable `BURSAR_AGENT_` and the name in capitals goes before it, "
            "except for `scheduler_settings`.",
            AgentSettings,
        ),
        *(_plugin(plugin) for plugin in plugins()),
    ]


def plugins() -> list[Plugin]:
    """The scheduler plug-ins of this distribution."""
    found: list[Plugin] = [point.load() for point in entry_points(group="bursar.schedulers")]
    return sorted(found, key=lambda plugin: plugin.name)


def _plugin(plugin: Plugin) -> Section:
    introduction = f"Below `scheduler_settings` of the agent, where `scheduler` is `{plugin.name}`."
    return Section(f"Scheduler plug-in {plugin.name}", introduction, plugin.settings)


def settings_page() -> str:
    """The page."""
    client = table(("variable", "meaning"), ((code(name), text) for name, text in CLIENT.items()))
    return page("Settings", INTRODUCTION, *(_section(section) for section in sections()), f"## bursar\n\n{client}")


def _section(section: Section) -> str:
    rows = table(("setting", "type", "default", "bounds", "meaning"), _rows(section))
    return f"## {section.title}\n\n{section.introduction}\n\n{rows}"


def _rows(section: Section) -> Iterable[tuple[str, ...]]:
    schema = section.model.model_json_schema()
    required = set(schema.get("required", ()))
    for field, one in schema["properties"].items():
        default = "required" if field in required else _default(one)
        yield code(section.name(field)), type_of(one), default, bounds_of(one), sentence(one.get("description", ""))


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value in (None, {}, []):
        return ""
    return code(value if isinstance(value, str) else json.dumps(value))

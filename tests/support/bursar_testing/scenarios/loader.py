"""Scenario files: YAML, a mapping from name to scenario; an error names the file, the scenario and the place."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bursar_testing.scenarios.model import Scenario
from bursar_testing.scenarios.times import instant, moment


class BadScenario(ValueError):
    """A scenario that can't be told: which file, which scenario, what is wrong and where."""


class _Loader(yaml.SafeLoader):
    """Times stay text, and a key that stands there twice is an error."""


_Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[object, object]:
    found: dict[object, object] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands there twice", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_all(folder: Path) -> list[Scenario]:
    """Every scenario of a folder, by file and place; a name may be used once."""
    found: list[Scenario] = []
    for path in sorted(folder.glob("*.yaml")):
        found += load_text(path.read_text(encoding="utf-8"), path.name)
    names = [scenario.name for scenario in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadScenario(f"{folder}: these names are used twice: {', '.join(twice)}; choose other ones")
    return found


def load_text(text: str, where: str, *, origin: int | None = None) -> list[Scenario]:
    """Scenarios of one file. ``origin``: when relative times begin, instead of what the scenario says."""
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe one
    except yaml.YAMLError as error:
        raise BadScenario(f"{where}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise BadScenario(f"{where}: a file is a mapping from the name of a scenario to the scenario")
    return [_scenario(where, str(name), item, origin) for name, item in content.items()]


def _scenario(where: str, name: str, item: object, origin: int | None) -> Scenario:
    if not isinstance(item, dict):
        raise BadScenario(f"{where}: {name}: a scenario is a mapping")
    try:
        start = origin if origin is not None else instant(item["origin"], None) if "origin" in item else None
        fields = {"name": name, **item, **({} if start is None else {"origin": moment(start)})}
        fields["allocations"] = _absolute(fields.get("allocations"), start)
        return Scenario.model_validate(fields, context={"origin": start})
    except ValidationError as error:
        sentences = "; ".join(_sentence(found) for found in error.errors(include_url=False))
        raise BadScenario(f"{where}: {name}: {sentences}") from error
    except ValueError as error:
        raise BadScenario(f"{where}: {name}: {error}") from error


def _absolute(value: Any, origin: int | None) -> Any:
    """Relative times inside a custom resource, which knows none, as absolute ones."""
    if isinstance(value, dict):
        return {key: _absolute(item, origin) for key, item in value.items()}
    if isinstance(value, list):
        return [_absolute(item, origin) for item in value]
    return moment(instant(value, origin)) if isinstance(value, str) and value.startswith("+") else value


def _sentence(found: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in found["loc"])
    words = {"missing": "has to be there", "extra_forbidden": "there is no such word"}
    return f"{place}: {words.get(found['type'], found['msg'])}"

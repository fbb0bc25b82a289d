"""The definitions: as committed, as the conventions want them, and as the real API server takes them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from bursar_crds.generate import definitions, main, stale, write
from bursar_crds.kinds import KINDS
from bursar_local.kubectl import Kubectl
from bursar_testing.rawapi import Api

ROOT = Path(__file__).parents[2]
COLUMNS = {
    "Cluster": ["Scheduler", "Agent", "Ready", "Age"],
    "Project": ["Account", "Members", "Ready", "Age"],
    "Membership": ["User", "Role", "Ready", "Until"],
    "QuotaPool": ["Cluster", "Parent", "Granted%", "Ready", "Age"],
    "Allocation": ["Cluster", "Resource", "Hours", "Used%", "Ready", "End"],
}
NAMES = {
    "Cluster": ("clusters", "cl", "Cluster"),
    "Project": ("projects", "proj", "Cluster"),
    "Membership": ("memberships", "memb", "Namespaced"),
    "QuotaPool": ("quotapools", "pool", "Cluster"),
    "Allocation": ("allocations", "alloc", "Namespaced"),
}
FILES = sorted(definitions())


def schema_of(file: str) -> dict[str, Any]:
    """The schema in a committed file."""
    document = yaml.safe_load((ROOT / "crds" / file).read_text())
    schema: dict[str, Any] = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def nodes(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema node below spec and status, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    if "items" in schema:
        yield from nodes(schema["items"], f"{path}[]")


def test_committed_files_are_what_the_models_say() -> None:
    assert stale(ROOT) == []


def test_generator_writes_what_differs_and_check_fails_until_then(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", "--root", str(tmp_path)]) == 1
    assert "stale: crds/allocations.yaml" in capsys.readouterr().out
    assert len(write(tmp_path)) == len(KINDS) + 2
    assert main(["--check", "--root", str(tmp_path)]) == 0


def test_no_definition_is_left_over() -> None:
    assert sorted(path.name for path in (ROOT / "crds").glob("*.yaml")) == FILES


@pytest.mark.parametrize("file", FILES)
def test_every_string_list_and_number_is_bounded_and_described(file: str) -> None:
    schema = schema_of(file)
    loose = [
        path
        for part in ("spec", "status")
        for path, node in nodes(schema["properties"][part], part)
        if (node["type"] == "string" and not {"maxLength", "enum"} & node.keys())
        or (node["type"] == "array" and "maxItems" not in node)
        or (node["type"] == "array" and "x-kubernetes-list-type" not in node)
        or (node["type"] == "integer" and not {"minimum", "maximum"} <= node.keys())
        or (not path.endswith("[]") and not node.get("description"))
    ]
    assert loose == []


@pytest.mark.parametrize("file", FILES)
def test_rules_are_short_and_say_what_to_do(file: str) -> None:
    entries = [entry for _, node in nodes(schema_of(file)) for entry in node.get("x-kubernetes-validations", ())]
    assert entries or file == "memberships.yaml"
    assert [entry["rule"] for entry in entries if len(entry["rule"]) > 100] == []
    assert [entry for entry in entries if len(entry.get("message", "")) < 20] == []


@pytest.mark.parametrize("file", FILES)
def test_there_are_no_defaults_nulls_or_bags(file: str) -> None:
    bags = [path for path, node in nodes(schema_of(file)) if node.get("x-kubernetes-preserve-unknown-fields")]
    assert bags == ([".status.bursar"] if file in ("clusters.yaml", "projects.yaml") else [])
    assert not any({"default", "nullable", "anyOf", "oneOf"} & node.keys() for _, node in nodes(schema_of(file)))


def test_intents_are_replaced_whole_and_resources_merge_by_name() -> None:
    schema = schema_of("quotapools.yaml")["properties"]
    intents = schema["status"]["properties"]["intents"]
    assert (intents["x-kubernetes-list-type"], intents["maxItems"]) == ("atomic", 256)
    resources = schema["spec"]["properties"]["resources"]
    assert (resources["x-kubernetes-list-type"], resources["x-kubernetes-list-map-keys"]) == ("map", ["name"])


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_api_server_serves_the_kind(api: Api, kind: str) -> None:
    info = KINDS[kind]
    crd = await api.read(f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{info.crd_name}")
    conditions = {item["type"]: item["status"] for item in crd["status"]["conditions"]}
    assert conditions["Established"] == conditions["NamesAccepted"] == "True"
    assert conditions.get("NonStructuralSchema", "False") == "False"
    accepted = crd["status"]["acceptedNames"]
    plural, short, scope = NAMES[kind]
    assert (accepted["plural"], accepted["shortNames"], accepted["categories"]) == (plural, [short], ["bursar"])
    assert crd["spec"]["scope"] == scope
    assert "status" in crd["spec"]["versions"][0]["subresources"]


@pytest.mark.parametrize("kind", sorted(KINDS))
async def test_kubectl_prints_the_columns(kubectl: Kubectl, samples_applied: None, kind: str) -> None:
    short = NAMES[kind][1]
    shown = await kubectl("get", short, *(["-n", "project-lattice-qcd"] if KINDS[kind].namespaced else []))
    assert shown.stdout.splitlines()[0].split() == [name.upper() for name in ["Name", *COLUMNS[kind]]]


async def test_kubectl_get_bursar_lists_every_kind(kubectl: Kubectl, samples_applied: None) -> None:
    shown = await kubectl("get", "bursar", "-A", "-o", "name")
    assert {line.split("/")[0] for line in shown.stdout.split()} == {f"{info.singular}.bursar.dev" for info in KINDS.values()}


async def test_kubectl_explains_a_field(kubectl: Kubectl) -> None:
    shown = await kubectl("explain", "allocation.spec.thresholds.clearBelowPercent")
    assert "Where it ends again" in shown.stdout

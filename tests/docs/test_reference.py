"""Everything that can be set, called, read or refused has its place in the reference, and the pages are fresh."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bursar_crds.generate import files as crd_files
from bursar_crds.reasons import Reason
from bursar_domain.unsupported import UNBUILT
from bursar_testing.reference.__main__ import pages, stale
from bursar_testing.reference.api import endpoints, schemas
from bursar_testing.reference.commands import Command, commands, parsers, scripts
from bursar_testing.reference.metrics import registries, rows
from bursar_testing.reference.reading import ROOT, Page
from bursar_testing.reference.samples import manifest_files
from bursar_testing.reference.settings import CLIENT, Section, sections

REFERENCE = ROOT / "docs" / "reference"
# Set by the throw-away Slurm, so that it knows its own daemons again; nobody sets it by hand.
MARKS = {"BURSAR_THROWAWAY_SLURM"}
PACKAGES = ("crds", "operator", "webhooks", "api", "agent", "manifests/local")


def text(name: str) -> str:
    """A page of the reference."""
    return (REFERENCE / f"{name}.md").read_text()


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every module of ours."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            yield path, ast.parse(path.read_text())


def calls(*names: str) -> Iterator[tuple[Path, ast.Call]]:
    """Every call of something with one of these names."""
    for path, module in sources():
        for node in ast.walk(module):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names:
                yield path, node


def test_generated_pages_are_fresh() -> None:
    assert stale(ROOT) == [], "run `make generate`"


def test_every_page_of_the_reference_is_generated() -> None:
    """A page that somebody writes by hand is one that nobody corrects."""
    generated = {Path(path).name for path in (*pages(), *crd_files()) if path.endswith(".md")}
    assert {path.name for path in REFERENCE.iterdir()} == generated


def test_every_page_is_on_the_front_page() -> None:
    front = Page(ROOT / "docs" / "README.md")
    linked = {(front.path.parent / link.partition("#")[0]).resolve() for link in front.links()}
    assert {path.resolve() for path in (ROOT / "docs").rglob("*.md")} <= linked | {front.path.resolve()}


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.title)
def test_settings(section: Section) -> None:
    page = text("settings")
    assert f"\n## {section.title}\n" in page
    for name, field in section.model.model_fields.items():
        assert field.description, f"{section.title}: {name} has no description"
        assert f"| `{section.name(name)}` |" in page


def test_every_settings_class_is_known() -> None:
    """One frozen class per component, and none that the page leaves out."""
    found = {
        node.name
        for _, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id in ("BaseSettings", "PartSettings") for base in node.bases)
    }
    assert found - {"PartSettings"} <= {section.model.__name__ for section in sections()}
    assert all(section.model.model_config.get("frozen") for section in sections())


def test_environment_variables() -> None:
    """Every variable that a source names."""
    named = {
        node.value
        for _, module in sources()
        for node in ast.walk(module)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"BURSAR_[A-Z_]*[A-Z]", node.value)
    }
    assert set(CLIENT) <= named | {"KUBECONFIG"}
    page = text("settings")
    assert [name for name in sorted(named - MARKS) if f"`{name}`" not in page] == []


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_reasons(reason: Reason) -> None:
    assert reason.sentence.endswith(".")
    assert f"| `{reason.value}` | {reason.sentence} |" in text("reasons")


@pytest.mark.parametrize("command", commands(), ids=lambda command: command.name)
def test_commands(command: Command) -> None:
    page = text("cli")
    assert command.help, f"{command.name} has no help text"
    assert f"\n## {command.name}\n" in page
    section = page.split(f"\n## {command.name}\n")[1].split("\n## ")[0]
    for parameter in command.parameters:
        assert parameter.help, f"{command.name}: {parameter.names[0]} has no help text"
        for name in parameter.names:
            assert f"`{name if parameter.is_option else name.upper()}`" in section


def test_every_program_is_described() -> None:
    described = {command.path[0] for command in commands()} | set(parsers())
    assert set(scripts()) == described


@pytest.mark.parametrize("part", registries())
def test_metrics(part: str) -> None:
    section = text("metrics").split(f"\n## {part}\n")[1].split("\n## ")[0]
    found = list(rows(registries()[part]))
    assert found
    for name, _, _, meaning in found:
        assert name.startswith(f"`{part.replace('-', '_').removesuffix('s')}_")
        assert f"| {name} |" in section
        assert meaning, f"{name} has no description"


def test_every_registry_is_known() -> None:
    """One per process, and none that the page leaves out."""
    makers = {path.relative_to(ROOT).parts[-2] for path, _ in calls("CollectorRegistry")}
    parts = {"bursar_operator", "bursar_webhooks", "bursar_api", "bursar_agent"}
    assert makers == parts
    assert len(registries()) == len(parts)


def test_endpoints() -> None:
    page = text("api")
    for name, operation in endpoints():
        assert operation.get("description"), f"{name} has no description"
        assert f"\n### {name}\n" in page
    for name in schemas():
        assert f"\n### {name}\n" in page


@pytest.mark.parametrize("path", manifest_files(), ids=lambda path: path.name)
def test_sample_manifests(path: Path) -> None:
    page = Page(REFERENCE / "samples.md")
    assert path.resolve() in {(page.path.parent / link).resolve() for link in page.links()}


def test_whatever_is_refused_as_not_built_is_listed() -> None:
    page = text("not-yet-supported")
    for row in UNBUILT:
        what = row.what[0].upper() + row.what[1:]
        assert f"| {what}. |" in page, row.what

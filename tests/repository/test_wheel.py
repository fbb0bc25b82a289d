"""What people install: the wheel holds everything that runs from it, and a program without its extra says which one."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
PACKAGES: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
# Each program, the extra that it needs, and words that make it begin its work.
PROGRAMS = {
    "bursar-operator": ("bursar_operator", "operator", []),
    "bursar-webhooks": ("bursar_webhooks", "webhooks", []),
    "bursar-gateway": ("bursar_api", "api", []),
    "bursar-agent": ("bursar_agent", "agent", ["run", "--config", os.devnull]),
    "bursar clusters enrol": ("bursar_client", "kube", ["clusters", "enrol", "north"]),
    "bursar up": ("bursar_client", "local", ["up", "--kubeconfig", "nowhere"]),
}


def requirements(extra: str) -> Iterator[str]:
    """Names of what an extra brings, with the extras that it names itself."""
    for requirement in EXTRAS[extra]:
        own = re.match(r"bursar\[(.*)\]$", requirement)
        if own:
            for inner in own[1].split(","):
                yield from requirements(inner)
        else:
            name = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert name is not None
            yield re.sub(r"[-_.]+", "-", name[0]).lower()


def modules(requirement: str) -> list[str]:
    """What one imports of a distribution."""
    found = packages_distributions().items()
    return sorted(
        module
        for module, owners in found
        if not module.startswith("_") and requirement in {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners}
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and source distribution, built from this tree with nothing fetched."""
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-d", str(folder)], ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, unpacked by the installer; its dependencies are those of this environment."""
    folder = tmp_path_factory.mktemp("site")
    wheel = next(built.glob("*.whl"))
    options = ["--no-deps", "--no-index", "--offline", "--quiet", "--python", sys.executable, "--target", str(folder)]
    run([sys.executable, "-m", "uv", "pip", "install", *options, str(wheel)], ROOT)
    return folder


def run(argv: list[str], folder: Path, *, site: Path | None = None, code: int = 0) -> str:
    """Run it and give what it printed; fails on another exit code."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("BURSAR_", "KUBECONFIG"))}
    environment |= {"PYTHONPATH": str(site)} if site else {}
    done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def python(code: str) -> list[str]:
    """Run code without this folder on the path."""
    return [sys.executable, "-P", "-c", code]


def members(built: Path) -> set[str]:
    """Files in the wheel."""
    return set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())


def tree(folder: str, below: str) -> set[str]:
    """Files of a folder as the wheel names them."""
    found = (path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file())
    return {f"{below}/{path}" for path in found if "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_wheel_holds_each_package_with_its_types(built: Path, package: str) -> None:
    name = Path(package).name
    inside = members(built)
    assert f"{name}/py.typed" in inside
    assert tree(package, name) <= inside


def test_wheel_holds_the_shared_files(built: Path) -> None:
    folders = {
        "manifests/examples": "examples",
        "manifests/rbac": "rbac",
        "manifests/policies": "policies",
        "manifests/webhook": "webhook",
        "manifests/local/controlplane": "controlplane",
    }
    wanted = {file for folder, name in folders.items() for file in tree(folder, f"bursar_local/share/{name}")}
    wanted |= {f"bursar_local/share/crds/{path.name}" for path in (ROOT / "crds").glob("*.yaml")}
    assert {"bursar_local/share/controlplane/main.go", "bursar_local/share/webhook/webhook.yaml"} <= wanted
    assert wanted <= members(built)


def test_wheel_holds_the_migrations(built: Path) -> None:
    assert [name for name in members(built) if re.fullmatch(r"bursar_ledger/migrations/versions/r\d+_\w+\.py", name)]


def test_wheel_holds_nothing_else(built: Path) -> None:
    tops = {name.split("/")[0] for name in members(built)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {Path(package).name for package in PACKAGES}
    assert not [name for name in members(built) if "__pycache__" in name]


def test_source_distribution_holds_sources_only(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = archive.getnames()
    parts = {part for name in names for part in Path(name).parts}
    assert not parts & {"__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".venv", "build", "node_modules"}
    assert not [name for name in names if name.endswith((".pyc", ".db", ".log"))]
    top = {Path(name).parts[1] for name in names if len(Path(name).parts) > 1}
    assert {"README.md", "LICENSE", "pyproject.toml", "crds", "operator", "docs", "tests"} <= top


def test_programs_run_from_the_wheel(installed: Path, tmp_path: Path) -> None:
    assert "HPC allocations" in run([str(installed / "bin" / "bursar"), "--help"], tmp_path, site=installed)
    said = run([str(installed / "bin" / "bursar"), "explain", "Granted"], tmp_path, site=installed)
    assert "Granted: The hours are granted" in said
    where = run(python("import bursar_client; print(bursar_client.__file__)"), tmp_path, site=installed)
    assert Path(where.strip()).is_relative_to(installed)


@pytest.mark.parametrize("name", ["crds", "examples", "rbac", "policies", "webhook", "controlplane"])
def test_shared_files_are_found_in_the_wheel(installed: Path, tmp_path: Path, name: str) -> None:
    said = run(python(f"from bursar_local.files import share; print(share({name!r}))"), tmp_path, site=installed)
    found = Path(said.strip())
    assert found.is_relative_to(installed)
    assert any(found.iterdir())


def without(blocked: list[str], module: str, words: list[str]) -> list[str]:
    """A program as it runs where these modules are not installed."""
    start = f"sys.argv = ['x', *{words!r}]; import {module}.__main__ as program; program.main()"
    return python(f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); {start}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_without_its_extra_says_which_one(tmp_path: Path, program: str) -> None:
    """It names everything that is missing: an extra brings nothing that its program does not ask for."""
    module, extra, words = PROGRAMS[program]
    needed = {requirement: modules(requirement) for requirement in requirements(extra)}
    said = run(without([name for names in needed.values() for name in names], module, words), tmp_path, code=1)
    told = re.fullmatch(rf"{program}: (.*) not installed; install bursar\[{extra}\]: pip install 'bursar\[{extra}\]'\n", said)
    assert told, said
    missing = set(re.findall(r"\w+", told[1])) - {"is", "are"}
    assert [requirement for requirement, names in needed.items() if not missing & set(names)] == []


@pytest.mark.parametrize("program", ["bursar-operator", "bursar-gateway"])
def test_one_missing_module_is_enough(tmp_path: Path, program: str) -> None:
    module, extra, words = PROGRAMS[program]
    said = run(without(["sqlalchemy"], module, words), tmp_path, code=1)
    assert said == f"{program}: sqlalchemy is not installed; install bursar[{extra}]: pip install 'bursar[{extra}]'\n"


@pytest.mark.parametrize(
    ("module", "words", "code"),
    [
        ("bursar_client", ["--help"], 0),
        ("bursar_client", ["explain", "Granted"], 0),
        ("bursar_client", ["balance"], 3),
        ("bursar_agent", ["--help"], 0),
        ("bursar_agent", ["replay", str(ROOT / "manifests/examples/data/nasa-ipsc-1993.swf.gz")], 0),
        ("bursar_operator", ["--help"], 0),
        ("bursar_webhooks", ["--help"], 0),
        ("bursar_api", ["--help"], 0),
    ],
)
def test_what_needs_no_extra_works_without_any(tmp_path: Path, module: str, words: list[str], code: int) -> None:
    own = {re.sub(r"[-_.]+", "-", re.split(r"[>=<\[]", name)[0]).lower() for name in PROJECT["project"]["dependencies"]}
    blocked = [module for name in set(requirements("local")) - own for module in modules(name)]
    assert "Traceback" not in run(without(blocked, module, words), tmp_path, code=code)

"""The habits that a linter can't hold: folders, lock files, help texts."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOP = ["operator", "crds", "api", "agent", "manifests", "webhooks", "tests", "docs"]


def tracked() -> list[Path]:
    """Every file of the project that git knows."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in done.stdout.split("\0") if name]


@pytest.mark.parametrize("folder", TOP)
def test_top_level_folder_is_no_package(folder: str) -> None:
    """A package `operator` at the root would hide the standard library's; `tests/operator` would do the same to tests."""
    assert (ROOT / folder).is_dir()
    assert not (ROOT / folder / "__init__.py").exists()


def test_no_package_in_tests() -> None:
    """Test folders are collected by path (importlib mode); only `bursar_testing` is a package."""
    found = [p for p in (ROOT / "tests").rglob("__init__.py") if "bursar_testing" not in p.parts]
    assert found == []


def test_standard_library_operator_wins_from_the_root() -> None:
    """`python -m` from the root imports the real `operator`."""
    code = "import operator; print(operator.itemgetter.__module__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "operator"


def test_no_module_shadows_the_standard_library() -> None:
    """A module of ours named like one of Python's breaks whoever starts its sibling by path."""
    sources = [p for p in tracked() if p.suffix == ".py" and "bursar_" in str(p)]
    allowed = {"queue", "code"}  # below a package, imported absolutely; never started by path
    clashes = {p.stem for p in sources} & (set(sys.stdlib_module_names) - {"__main__", "__init__"})
    assert clashes - allowed == set()


def test_lock_files_pin_with_hashes_and_name_no_index() -> None:
    """Everything pinned, everything hashed, no address anywhere."""
    for path in (ROOT / "requirements").glob("*.txt"):
        text = path.read_text()
        assert "://" not in text, path
        blocks = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
        for block in blocks:
            assert re.match(r"[A-Za-z0-9._\[\]-]+==", block), block[:60]
            assert "--hash=sha256:" in block, block[:60]


def test_every_make_target_has_a_help_text() -> None:
    """`make` alone must explain itself."""
    text = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.*)$", text, re.M)
    assert phony is not None
    for target in phony[1].split():
        assert re.search(rf"^{target}:.*## \S", text, re.M), target


def test_ci_runs_the_checks_and_the_tests() -> None:
    """`.ci/run` is executable and calls both."""
    path = ROOT / ".ci" / "run"
    assert path.stat().st_mode & 0o111
    lines = path.read_text().splitlines()
    assert "make check" in lines
    assert "make test" in lines


@pytest.mark.parametrize("package", ["crds", "operator", "webhooks", "api", "agent", "manifests/local"])
def test_modules_have_a_docstring_and_a_bearable_size(package: str) -> None:
    """Each module says what it is for and stays under 400 lines."""
    for path in tracked():
        if path.suffix != ".py" or not path.is_relative_to(ROOT / package) or path.name == "__init__.py":
            continue
        text = path.read_text()
        assert text.count("\n") <= 400, path
        assert ast.get_docstring(ast.parse(text)), path


def test_nothing_names_this_machine() -> None:
    """No path of the machine that a file was written on."""
    needle = str(ROOT.parent) + "/"
    if needle in {"/", "/tmp/"}:
        pytest.skip("the checkout lies at a place whose name says nothing")
    for path in tracked():
        if path.suffix in {".py", ".md", ".yaml", ".toml", ".txt", ".go", ".json"} and path.is_file():
            assert needle not in path.read_text(errors="ignore"), path

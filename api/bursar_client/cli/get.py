"""`bursar get`."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from bursar_client.cli.common import (
    DEFAULT_USER,
    DirectoryOption,
    Output,
    OutputOption,
    UserOption,
    call,
    fail,
    ready,
    show,
)
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


class Kind(StrEnum):
    """What can be listed."""

    CLUSTERS = "clusters"
    PROJECTS = "projects"
    POOLS = "pools"
    ALLOCATIONS = "allocations"


def hours(entries: list[Obj]) -> str:
    """`500,000 cpu, 2,000 gpu`."""
    return ", ".join(f"{entry['hours']:,} {entry['name']}" for entry in entries)


COLUMNS = {
    Kind.CLUSTERS: [
        ("NAME", lambda c: c["name"]),
        ("SCHEDULER", lambda c: c["spec"].get("scheduler", {}).get("type", "")),
        ("AGENT", lambda c: c["status"].get("agent", {}).get("schedulerVersion", "-")),
        ("READY", ready),
    ],
    Kind.PROJECTS: [
        ("NAME", lambda p: p["name"]),
        ("ACCOUNT", lambda p: p["account"]),
        ("MEMBERS", lambda p: p["status"].get("memberCount", 0)),
        ("READY", ready),
    ],
    Kind.POOLS: [
        ("NAME", lambda p: p["name"]),
        ("CLUSTER", lambda p: p["spec"]["clusterRef"]["name"]),
        ("PARENT", lambda p: p["spec"].get("parentRef", {}).get("name", "-")),
        ("HOURS", lambda p: hours(p["spec"]["resources"])),
        ("GRANTED", lambda p: hours(p["status"].get("granted", []))),
        ("READY", ready),
    ],
    Kind.ALLOCATIONS: [
        ("PROJECT", lambda a: a.get("project") or a["namespace"]),
        ("NAME", lambda a: a["name"]),
        ("CLUSTER", lambda a: a["spec"]["clusterRef"]["name"]),
        ("HOURS", lambda a: hours(a["spec"]["resources"])),
        ("GRANTED", lambda a: hours(a["status"].get("granted", []))),
        ("USED %", lambda a: a["status"].get("usedPercent", 0)),
        ("READY", ready),
        ("END", lambda a: a["spec"]["period"]["end"][:10]),
    ],
}


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("get")
    def get(
        kind: Annotated[Kind, typer.Argument(help="What to list.")],
        name: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """List clusters, projects, pools or allocations."""
        found = listing(directory, user, kind)
        shown = [item for item in found if name is None or item["name"] == name]
        if name is not None and not shown:
            fail(f"there is no {kind.value[:-1]} {name} that you may see", 1)
        show(shown, COLUMNS[kind], output)


def listing(directory: Path | None, user: str, kind: Kind) -> list[Obj]:
    """All objects of a kind that the user may see."""

    async def work(client: BursarClient) -> list[Obj]:
        return await client.listing(kind.value)

    return call(directory, user, work)

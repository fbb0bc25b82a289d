"""`bursar balance`: one screen."""

from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]
BAR = 20


def bar(used: int, granted: int) -> str:
    """`██████░░░░` of 20 cells."""
    filled = min(BAR, used * BAR // granted) if granted else 0
    return "█" * filled + "░" * (BAR - filled)


def lines(rows: list[Obj]) -> list[Obj]:
    """One line per allocation and resource."""
    return [{**row, **resource} for row in rows for resource in row["resources"]]


COLUMNS = [
    ("PROJECT", lambda r: r["project"]),
    ("ALLOCATION", lambda r: r["allocation"]),
    ("CLUSTER", lambda r: r["cluster"]),
    ("RESOURCE", lambda r: r["name"]),
    ("GRANTED", lambda r: f"{r['grantedHours']:,}"),
    ("USED", lambda r: f"{r['usedHours']:,}"),
    ("LEFT", lambda r: f"{r['leftHours']:,}"),
    ("", lambda r: bar(r["usedSeconds"], r["usedSeconds"] + r["leftSeconds"])),
    ("HOURS/DAY", lambda r: f"{r['burnPerDayHours']:,}"),
    ("RUNS OUT", lambda r: (r["runsOut"] or "-")[:10]),
    ("END", lambda r: r["end"][:10]),
    ("STATE", lambda r: r["enforcement"]),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("balance")
    def balance(
        project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
        cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """What was granted, used and is left, in hours (granted and left rounded down, used rounded up)."""

        async def work(client: BursarClient) -> list[Obj]:
            return await client.balances(project=project, cluster=cluster)

        rows = call(directory, user, work)
        show(lines(rows), COLUMNS, output, whole=rows)

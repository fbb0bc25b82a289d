"""`bursar balance`: one screen."""

from typing import Annotated, Any

import typer

from bursar_client.cli.balancescreen import draw
from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.cli.paper import put, screen
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


def lines(rows: list[Obj]) -> list[Obj]:
    """One line per allocation and resource."""
    return [{**row, **resource} for row in rows for resource in row["resources"]]


COLUMNS = [
    ("PROJECT", lambda r: r["project"]),
    ("ALLOCATION", lambda r: r["allocation"]),
    ("CLUSTER", lambda r: r["cluster"]),
    ("RESOURCE", lambda r: r["name"]),
    ("START", lambda r: (r["window"] or r)["start"]),
    ("END", lambda r: (r["window"] or r)["end"]),
    ("GRANTED", lambda r: r["grantedHours"]),
    ("CARRIED", lambda r: r["carriedHours"]),
    ("ADJUSTED", lambda r: r["adjustedHours"]),
    ("CREDITED", lambda r: r["creditedHours"]),
    ("DEBT", lambda r: r["debtHours"]),
    ("USED", lambda r: r["usedHours"]),
    ("COMMITTED", lambda r: r["committedHours"]),
    ("AVAILABLE", lambda r: r["availableHours"]),
    ("LEFT", lambda r: r["leftHours"]),
    ("USED %", lambda r: r["usedPercent"]),
    ("HOURS/DAY", lambda r: "" if r["burnPerDayHours"] is None else r["burnPerDayHours"]),
    ("RUNS OUT", lambda r: r["runsOut"] or ""),
    ("STATE", lambda r: r["enforcement"]),
    ("PHASE", lambda r: r["phase"]),
    ("AS OF", lambda r: r["asOf"] or ""),
]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("balance")
    def balance(
        project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
        cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
        allocation: Annotated[str | None, typer.Option(help="Only allocations of this name.")] = None,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """What was granted, used and is left in the window that runs, at which rate, and until when.

        Hours; what is left is rounded down, what was used is rounded up.
        """

        async def work(client: BursarClient) -> list[Obj]:
            return await client.balances(project=project, cluster=cluster, allocation=allocation)

        rows = call(directory, user, work)
        if output is Output.TABLE:
            put(draw(rows, screen()[1]))
        else:
            show(lines(rows), COLUMNS, output, whole=rows)

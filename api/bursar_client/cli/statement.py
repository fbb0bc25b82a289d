"""`bursar statement`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


class By(StrEnum):
    """Groupings."""

    USER = "user"
    ALLOCATION = "allocation"
    MONTH = "month"


BALANCE = ("opening", "granted", "carried", "adjusted", "transferred", "refunded")
USE = ("charged", "corrections", "kept", "unfunded", "expired", "debt", "closing")
OWN = ("booked", "expired", "debt", "closing")
MOVED = ("allocated", "refundedAutomatically", "charged", "corrections")
NOT_FINAL = "Not final on {}: an hour closes 48 hours after its end. What is found out later is a correction of that time."


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("statement")
    def statement(
        project: Annotated[str, typer.Argument(help="Project.")],
        cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
        month: Annotated[str | None, typer.Option(help="This month, such as 2026-10.")] = None,
        start: Annotated[str | None, typer.Option("--from", help="From this day or quarter hour on.")] = None,
        end: Annotated[str | None, typer.Option("--to", help="Up to this day or quarter hour, without it.")] = None,
        by: Annotated[By, typer.Option(help="What the lines are for.")] = By.USER,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """A project's books: what it had, what came and went, what it has; then a line per user, allocation or month.

        Hours; what there is is rounded down, what was used is rounded up. With -o json or csv in unit-seconds, which add up.
        Use is what was booked when its hours closed; corrections stand in the time in which they were posted.
        """

        async def work(client: BursarClient) -> Obj:
            return await client.statement(project, cluster=cluster, month=month, start=start, end=end, by=by.value)

        found = call(directory, user, work)
        if output is not Output.TABLE:
            show(rows(found, "lines", with_totals=True), sheet(by), output, whole=found)
            return
        show(rows(found, "totals"), screen(None, (*BALANCE, *USE)), output)
        if any(part["lines"] for part in found["items"]):
            typer.echo()
            show(rows(found, "lines"), screen(by, (*BALANCE, *OWN) if by is By.ALLOCATION else MOVED), output)
        for line in scales(found["items"]):
            typer.echo(f"\n{line}")
        open_still = [item["cluster"] for item in found["items"] if not item["final"]]
        if found["end"] is not None and open_still:
            typer.echo(f"\n{NOT_FINAL.format(', '.join(open_still))}")


def rows(found: Obj, part: str, *, with_totals: bool = False) -> list[Obj]:
    """Totals or lines of every cluster."""
    return [
        {"cluster": item["cluster"], "project": found["project"], **row}
        for item in found["items"]
        for row in (*(item["totals"] if with_totals else ()), *item[part])
    ]


def scales(items: list[Obj]) -> list[str]:
    """What hours of billing are, cluster by cluster where they occur."""
    return [
        f"Billing on {item['cluster']}: hours are service units of {item['billing']['scale']:,} billing units each"
        f" (weights of version {item['billing']['version']})."
        for item in items
        if item["billing"] and any(row["resource"] == "billing" for row in item["totals"])
    ]


def screen(by: By | None, figures: tuple[str, ...]) -> list[tuple[str, Any]]:
    """Columns in hours."""
    grouped = [] if by is None else [(by.value.upper(), lambda row: row[by.value] or "none")]
    hours = [(_title(name), lambda row, name=name: row[f"{name}Hours"]) for name in figures]
    return [("CLUSTER", lambda row: row["cluster"]), ("RESOURCE", lambda row: row["resource"]), *grouped, *hours]


def _title(name: str) -> str:
    return "REFUNDED BY ITSELF" if name == "refundedAutomatically" else name.upper()


def sheet(by: By) -> list[tuple[str, Any]]:
    """Columns in unit-seconds; a total has an empty label."""
    names = ["cluster", "project", "resource", by.value]
    names += [f"{name}Seconds" for name in dict.fromkeys((*BALANCE, *OWN, *MOVED, *USE))]
    return [(name, lambda row, name=name: row.get(name, "")) for name in names]

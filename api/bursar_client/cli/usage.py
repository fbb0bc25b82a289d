"""`bursar usage`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.cli.paper import put, screen
from bursar_client.cli.usagescreen import draw
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


class By(StrEnum):
    """Groupings."""

    USER = "user"
    ACCOUNT = "account"
    RESOURCE = "resource"
    MONTH = "month"
    DAY = "day"
    ALLOCATION = "allocation"


COLUMNS = ("cluster", "project", "account", "resource")
FIGURES = ("hours", "charged", "allocated", "refunded")


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("usage")
    def usage(
        project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
        cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
        member: Annotated[str | None, typer.Option("--user", help="Only this user of the cluster.")] = None,
        by: Annotated[By, typer.Option(help="What to group by.")] = By.USER,
        month: Annotated[str | None, typer.Option(help="Only this month, such as 2026-10.")] = None,
        start: Annotated[str | None, typer.Option(help="Only from this day or quarter hour on.")] = None,
        end: Annotated[str | None, typer.Option(help="Only up to this day or quarter hour, without it.")] = None,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """Booked use in hours, rounded up, refunds taken off; with -o json or csv in unit-seconds as well."""

        async def work(client: BursarClient) -> Obj:
            return await client.usage(
                project=project, cluster=cluster, user=member, by=by.value, month=month, start=start, end=end
            )

        found = call(directory, user, work)
        if output is Output.TABLE:
            put(draw(found, by.value, screen()[1]))
            return
        grouped = () if by in (By.ACCOUNT, By.RESOURCE) else (by.value,)
        columns = [(key.upper(), lambda row, key=key: row.get(key, "")) for key in (*COLUMNS, *grouped, *FIGURES)]
        show(found["items"], columns, output, whole=found)

"""`bursar usage`."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]


class By(StrEnum):
    """Groupings."""

    USER = "user"
    ACCOUNT = "account"
    RESOURCE = "resource"
    MONTH = "month"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("usage")
    def usage(
        project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
        cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
        by: Annotated[By, typer.Option(help="What to group by.")] = By.USER,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """Booked use; seconds are unit-seconds (one CPU for one second, one MiB of memory for one second)."""

        async def work(client: BursarClient) -> Obj:
            return await client.usage(project=project, cluster=cluster, by=by.value)

        found = call(directory, user, work)
        columns = [
            (key.upper(), lambda row, key=key: row.get(key, "")) for key in (found["items"][0] if found["items"] else {})
        ]
        show(found["items"], columns, output, whole=found)
        if output is Output.TABLE:
            for name, mark in found["asOf"].items():
                typer.echo(f"{name}: complete up to {mark}")

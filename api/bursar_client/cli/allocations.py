"""`bursar allocations`: open-gate, release."""

from typing import Annotated, Any

import typer

from bursar_client.cli import release
from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]
COLUMNS = [
    ("PROJECT", lambda r: r["project"]),
    ("ALLOCATION", lambda r: r["name"]),
    ("OPENED GATES", lambda r: ", ".join(r["spec"].get("openedGates", []))),
]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Act on allocations.", no_args_is_help=True)

    @group.callback()
    def _group() -> None:
        """Act on allocations."""

    @group.command("open-gate")
    def open_gate(
        project: Annotated[str, typer.Argument(help="Project.")],
        name: Annotated[str, typer.Argument(help="Allocation.")],
        gate: Annotated[str, typer.Argument(help="Gate that a tranche of it waits for.")],
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """Open a gate: the tranches that wait for it become usable. It stays open."""

        async def work(client: BursarClient) -> Obj:
            return await client.open_gate(project, name, gate, dry_run=dry_run)

        found = call(directory, user, work)
        show([found], COLUMNS, output, whole=found)

    release.register(group)
    app.add_typer(group, name="allocations")

"""What the commands share: options, tables, running one async call and turning its errors into exit codes."""

import asyncio
import csv
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import httpx
import typer
import yaml

from bursar_client.connection import Connection, NotConnected
from bursar_client.sdk import ApiError, BursarClient

Result = TypeVar("Result")
Obj = dict[str, Any]


class Output(StrEnum):
    """Forms of output."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"
    CSV = "csv"


OutputOption = Annotated[Output, typer.Option("--output", "-o", help="Form of the output.")]
DirectoryOption = Annotated[
    Path | None, typer.Option("--dir", help="Folder of a local stack; default: $BURSAR_DIR or build/local.")
]
UserOption = Annotated[str, typer.Option("--as", help="Development user to ask as (local stack only).")]
DEFAULT_USER = "erin"
FORMULA = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
WIDEST = 400


def call(directory: Path | None, user: str, work: Callable[[BursarClient], Awaitable[Result]]) -> Result:
    """Run ``work`` with a client; refusals end the command with their reason."""

    async def run() -> Result:
        async with BursarClient(Connection.find(directory, user)) as client:
            return await work(client)

    try:
        return asyncio.run(run())
    except ApiError as error:
        lines = [f"{error.title}: {error}", *(f"  {v.get('field', '')}: {v.get('message', '')}" for v in error.violations)]
        fail("\n".join(lines), 1)
    except NotConnected as error:
        fail(str(error), 3)
    except httpx.HTTPError as error:
        fail(
            f"the gateway can't be reached: {error or type(error).__name__}. Is the stack up? `bursar doctor` checks each part",
            3,
        )


def fail(message: str, code: int) -> NoReturn:
    """Say why on standard error and end the command."""
    typer.echo(f"bursar: {message}", err=True)
    raise typer.Exit(code)


def show(
    rows: Sequence[Obj], columns: Sequence[tuple[str, Callable[[Obj], object]]], output: Output, *, whole: object = None
) -> None:
    """Rows as a table or CSV of ``columns``, or ``whole`` (default: the rows) as JSON or YAML."""
    if output is Output.JSON:
        typer.echo(json.dumps(rows if whole is None else whole, indent=2))
    elif output is Output.YAML:
        typer.echo(yaml.safe_dump(rows if whole is None else whole, sort_keys=False), nl=False)
    elif output is Output.CSV:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow([title for title, _ in columns])
        writer.writerows([[_harmless(str(value(row))) for _, value in columns] for row in rows])
    else:
        table(rows, columns)


def _harmless(cell: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    is_figure = cell[:1] == "-" and cell[1:].isdigit()
    return f"'{cell}" if cell[:1] in FORMULA and not is_figure else cell


def _printable(text: str) -> str:
    """Nothing that moves the cursor or colours the screen: names and reasons come from elsewhere."""
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else "?" for letter in text)


def table(rows: Sequence[Obj], columns: Sequence[tuple[str, Callable[[Obj], object]]]) -> None:
    """A table for people."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    if not rows:
        typer.echo("nothing to show")
        return
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title, _ in columns:
        drawn.add_column(
            title, justify="right" if title.isupper() and title.endswith(("HOURS", "%", "USED", "LEFT", "GRANTED")) else "left"
        )
    for row in rows:
        values = (of(row) for _, of in columns)
        drawn.add_row(*(value if isinstance(value, Text) else Text(_printable(str(value))) for value in values))
    console = Console()
    # A cut-off figure is worse than a wrapped line.
    needed = console.measure(drawn, options=console.options.update_width(WIDEST)).maximum
    Console(width=max(console.width, needed)).print(drawn)


def ready(obj: Obj) -> str:
    """`True`, or the reason why not."""
    found = next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == "Ready"), None)
    if found is None:
        return "Unknown"
    return "True" if found["status"] == "True" else str(found["reason"])

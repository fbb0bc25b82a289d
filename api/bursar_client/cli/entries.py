"""`bursar entries`: list them, and make them by hand."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, show
from bursar_client.sdk import BursarClient

Obj = dict[str, Any]
ProjectOption = Annotated[str, typer.Option(help="Project whose allocation it is.")]
AllocationOption = Annotated[str, typer.Option(help="Allocation that is given the hours, or gives them.")]
ResourceOption = Annotated[str, typer.Option(help="Resource, such as cpu.")]
ReasonOption = Annotated[str, typer.Option(help="Why; kept with the entry.")]
KeyOption = Annotated[str | None, typer.Option(help="Idempotency key: the same key is booked once.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, book nothing.")]


class Kind(StrEnum):
    """Kinds of entries."""

    GRANT = "Grant"
    CARRY_OVER = "CarryOver"
    ADJUSTMENT = "Adjustment"
    TRANSFER = "Transfer"
    EXPIRY = "Expiry"
    CORRECTION = "Correction"
    REFUND = "Refund"


COLUMNS = [
    ("NUMBER", lambda r: "" if r["number"] is None else r["number"]),
    ("KIND", lambda r: r["kind"]),
    ("PROJECT", lambda r: r["project"] or ""),
    ("CLUSTER", lambda r: r["cluster"]),
    ("ALLOCATION", lambda r: r["allocation"] or ""),
    ("AT", lambda r: r["at"]),
    ("RESOURCE", lambda r: r["resource"]),
    ("HOURS", lambda r: r["hours"]),
    ("REFERENCE", lambda r: r["reference"] or ""),
    ("AUTHOR", lambda r: r["author"]),
    ("REASON", lambda r: r["reason"]),
]


def lines(rows: list[Obj]) -> list[Obj]:
    """One line per entry and resource; an entry without hours has a line too."""
    nothing = [{"name": "", "hours": ""}]
    return [{**row, "resource": item["name"], "hours": item["hours"]} for row in rows for item in row["amounts"] or nothing]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="What was given or taken beside use.", no_args_is_help=True)
    group.command("list")(list_entries)
    group.command("adjust")(adjust)
    group.command("refund")(refund)
    group.command("transfer")(transfer)
    app.add_typer(group, name="entries")


def list_entries(
    project: Annotated[str | None, typer.Option(help="Only this project.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Only this cluster.")] = None,
    allocation: Annotated[str | None, typer.Option(help="Only allocations of this name.")] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.")] = None,
    output: OutputOption = Output.TABLE,
    directory: DirectoryOption = None,
    user: UserOption = DEFAULT_USER,
) -> None:
    """Entries in the order in which they were booked."""
    wanted = None if kind is None else kind.value

    async def work(client: BursarClient) -> list[Obj]:
        return await client.entries(project=project, cluster=cluster, allocation=allocation, kind=wanted)

    rows = call(directory, user, work)
    show(lines(rows), COLUMNS, output, whole=rows)


def adjust(
    project: ProjectOption,
    allocation: AllocationOption,
    resource: ResourceOption,
    hours: Annotated[int, typer.Option(help="Whole hours; below 0 to take them away.")],
    reason: ReasonOption,
    key: KeyOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
    directory: DirectoryOption = None,
    user: UserOption = DEFAULT_USER,
) -> None:
    """Give hours to the window that runs, or take them from it."""
    entry = _entry("Adjustment", project, allocation, resource, hours, reason)
    _make(entry, key, output, (directory, user), dry_run=dry_run)


def refund(
    project: ProjectOption,
    allocation: AllocationOption,
    resource: ResourceOption,
    hours: Annotated[int, typer.Option(help="Whole hours, above 0.")],
    job: Annotated[str, typer.Option(help="Id of the job.")],
    reason: ReasonOption,
    key: KeyOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
    directory: DirectoryOption = None,
    user: UserOption = DEFAULT_USER,
) -> None:
    """Give a job's hours back."""
    entry = _entry("Refund", project, allocation, resource, hours, reason) | {"job": job}
    _make(entry, key, output, (directory, user), dry_run=dry_run)


def transfer(
    project: ProjectOption,
    allocation: AllocationOption,
    to: Annotated[str, typer.Option(help="Allocation of the same project and cluster that receives the hours.")],
    resource: ResourceOption,
    hours: Annotated[int, typer.Option(help="Whole hours, above 0, at most what is left.")],
    reason: ReasonOption,
    key: KeyOption = None,
    dry_run: DryRunOption = False,
    output: OutputOption = Output.TABLE,
    directory: DirectoryOption = None,
    user: UserOption = DEFAULT_USER,
) -> None:
    """Move hours to another allocation of the project."""
    entry = _entry("Transfer", project, allocation, resource, hours, reason) | {"to": to}
    _make(entry, key, output, (directory, user), dry_run=dry_run)


def _entry(kind: str, project: str, allocation: str, resource: str, hours: int, reason: str) -> Obj:
    names = {"project": project, "allocation": allocation, "resource": resource}
    return {"kind": kind, **names, "hours": hours, "reason": reason}


def _make(entry: Obj, key: str | None, output: Output, who: tuple[Any, str], *, dry_run: bool) -> None:
    async def work(client: BursarClient) -> list[Obj]:
        return await client.make_entry(entry, key=key, dry_run=dry_run)

    rows = call(*who, work)
    show(lines(rows), COLUMNS, output, whole=rows)

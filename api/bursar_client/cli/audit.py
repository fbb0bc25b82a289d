"""`bursar audit verify`: the chain of entries, through the gateway or directly on a ledger."""

import asyncio
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, Output, OutputOption, UserOption, call, fail, show
from bursar_client.sdk import BursarClient
from bursar_crds.extras import require

Obj = dict[str, Any]
COLUMNS = [("ROW", lambda r: r["number"]), ("PROBLEM", lambda r: r["what"])]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Check the books.", no_args_is_help=True)

    @group.callback()
    def _group() -> None:
        """Check the books."""

    @group.command("verify")
    def verify(
        ledger: Annotated[
            str | None,
            typer.Option(
                help="Check this ledger directly, `sqlite:///path` or `postgresql://…`; the right to read it will do."
            ),
        ] = None,
        output: OutputOption = Output.TABLE,
        directory: DirectoryOption = None,
        user: UserOption = DEFAULT_USER,
    ) -> None:
        """Work the chain of entries out anew; exit code 1 and the numbers of the rows when something was touched.

        Note the newest hash elsewhere: whoever can write the whole database can forge a whole chain.
        """
        found = call(directory, user, _asked) if ledger is None else _directly(ledger)
        if output is Output.TABLE and not found["problems"]:
            typer.echo(f"{found['rows']} entries, nothing was touched; the newest hash is {found['hash']}")
        else:
            show(found["problems"], COLUMNS, output, whole=found)
        if found["problems"]:
            raise typer.Exit(1)

    app.add_typer(group, name="audit")


async def _asked(client: BursarClient) -> Obj:
    return await client.verify_entries()


def _directly(url: str) -> Obj:
    require("bursar audit verify --ledger", "ledger", "sqlalchemy", "alembic")
    from bursar_ledger import LedgerError

    try:
        return asyncio.run(_read(url))
    except (LedgerError, ValueError, OSError) as error:
        fail(f"the ledger can't be read: {error}", 3)


async def _read(url: str) -> Obj:
    from bursar_ledger import Ledger

    ledger = await Ledger.read_only(url)
    try:
        report = await ledger.verify()
    finally:
        await ledger.close()
    problems = [{"number": item.number, "what": item.what} for item in report.problems]
    return {"rows": report.rows, "hash": report.hash, "problems": problems}

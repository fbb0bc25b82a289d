"""`bursar explain REASON`: the same sentences as the reference page."""

import difflib
from typing import Annotated

import typer

from bursar_client.cli.common import fail


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("explain")
    def explain(reason: Annotated[str | None, typer.Argument(help="A condition's reason, e.g. QuotaExceeded.")] = None) -> None:
        """What a condition's reason means and what to do about it."""
        from bursar_crds.reasons import Reason

        known = {member.value: member.sentence for member in Reason}
        if reason is None:
            for name, text in sorted(known.items()):
                typer.echo(f"{name}: {text}")
            return
        folded = {name.lower(): name for name in known}
        found = folded.get(reason.lower())
        if found is None:
            near = difflib.get_close_matches(reason.lower(), folded, n=3)
            hint = f"; did you mean {', '.join(folded[n] for n in near)}?" if near else "; `bursar explain` lists them all"
            fail(f"there is no reason {reason}{hint}", 1)
        typer.echo(f"{found}: {known[found]}")

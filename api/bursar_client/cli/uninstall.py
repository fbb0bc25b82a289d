"""`bursar uninstall`: takes Bursar out of a cluster, in the order in which nothing gets stuck."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from bursar_client.cli.common import DirectoryOption, fail
from bursar_crds.extras import require


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("uninstall")
    def uninstall(
        yes: Annotated[bool, typer.Option("--yes", help="Do it; without this only what would go is printed.")] = False,
        dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would go, and change nothing.")] = False,
        abandon: Annotated[
            bool,
            typer.Option("--abandon", help="No operator runs any more: take finalizers off; limits stay at the schedulers."),
        ] = False,
        patience_seconds: Annotated[
            float, typer.Option(min=0, help="How long to wait while nothing more goes, before saying what hangs.")
        ] = 300.0,
        kubeconfig: Annotated[
            Path | None, typer.Option(help="Admin kubeconfig; default: $KUBECONFIG or the local stack's.")
        ] = None,
        directory: DirectoryOption = None,
    ) -> None:
        """Delete allocations, pools, projects and clusters, then admission, the operator and the definitions.

        Namespaces that were made for projects go with everything in them. The ledger, accounts and limits at the schedulers,
        and namespaces that projects only adopted stay. Run it again after whatever stopped it.
        """
        require("bursar uninstall", "kube", "kubernetes", "aiohttp")
        from bursar_client.cli.clusters import admin_kubeconfig
        from bursar_client.uninstall import Stuck
        from bursar_kube.errors import KubeError

        try:
            chosen = admin_kubeconfig(kubeconfig, directory)
            asyncio.run(_work(chosen, patience_seconds, is_meant=yes and not dry_run, abandon=abandon))
        except (Stuck, KubeError) as error:
            fail(str(error), 1)


async def _work(kubeconfig: str, patience_seconds: float, *, is_meant: bool, abandon: bool) -> None:
    from bursar_client.uninstall import Uninstall
    from bursar_kube.client import Kube

    kube = await Kube.connect(kubeconfig)
    try:
        attempt = Uninstall(kube, typer.echo, patience_seconds=patience_seconds, abandon=abandon)
        plan = await attempt.look()
        if plan.is_empty:
            typer.echo("nothing of Bursar is there")
            return
        typer.echo(f"on {kube.server} this goes, in this order:\n" + "\n".join(plan.lines()))
        if not is_meant:
            typer.echo("nothing was changed; give --yes to do it")
            return
        await attempt.run()
        typer.echo("Bursar is gone from this cluster")
    finally:
        await kube.close()

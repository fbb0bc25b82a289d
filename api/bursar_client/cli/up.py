"""`bursar up` and `bursar down`: the local stack."""

from pathlib import Path
from typing import Annotated

import typer

from bursar_client.connection import local_directory
from bursar_crds.extras import require

Directory = Annotated[Path | None, typer.Option("--dir", help="Folder of the stack; default: $BURSAR_DIR or build/local.")]


SERVERS = (
    "kopf",
    "kubernetes",
    "aiohttp",
    "starlette",
    "uvicorn",
    "fastapi",
    "joserfc",
    "prometheus_client",
    "python_multipart",
)
BOOKS = ("sqlalchemy", "alembic", "aiosqlite", "psycopg")


def register(app: typer.Typer) -> None:
    """Add both commands."""

    @app.command("up")
    def up(
        directory: Directory = None,
        detach: Annotated[
            bool, typer.Option("--detach", help="Return when everything is ready; end it with `bursar down`.")
        ] = False,
        kubeconfig: Annotated[
            Path | None, typer.Option(help="Use this cluster (or $KUBECONFIG) and start no control plane of our own.")
        ] = None,
    ) -> None:
        """Start the whole local stack: control plane, operator, webhook, gateway. Ctrl-C ends it all."""
        require("bursar up", "local", *SERVERS, *BOOKS)
        from bursar_local import supervisor

        raise typer.Exit(supervisor.up(directory or local_directory(), detach=detach, kubeconfig=kubeconfig))

    @app.command("down")
    def down(directory: Directory = None) -> None:
        """End a local stack, however it was started."""
        from bursar_local import supervisor

        raise typer.Exit(supervisor.down(directory or local_directory()))

"""`bursar clusters enrol`: makes the one-time token with which an agent introduces itself."""

import asyncio
import contextlib
import os
import secrets
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from bursar_client.cli.common import DirectoryOption, fail
from bursar_client.connection import NotConnected, endpoints, local_directory
from bursar_crds.extras import require

Obj = dict[str, Any]


def register(app: typer.Typer) -> None:
    """Add the command group."""
    group = typer.Typer(help="Enrol a cluster's agent.", no_args_is_help=True)

    @group.callback()
    def _group() -> None:
        """Enrol a cluster's agent."""

    @group.command("enrol")
    def enrol(
        name: Annotated[str, typer.Argument(help="Name of the Cluster.")],
        kubeconfig: Annotated[
            Path | None, typer.Option(help="Admin kubeconfig; default: $KUBECONFIG or the local stack's.")
        ] = None,
        directory: DirectoryOption = None,
    ) -> None:
        """Print a one-time enrolment token, good for one hour and one agent.

        It is written with your own kubeconfig and never passes through the gateway.
        """
        require("bursar clusters enrol", "kube", "kubernetes", "aiohttp")
        from bursar_kube.errors import KubeError

        try:
            typer.echo(asyncio.run(make_token(name, admin_kubeconfig(kubeconfig, directory))))
        except KubeError as error:
            fail(f"can't make a token for {name}: {error}", 1)

    app.add_typer(group, name="clusters")


def admin_kubeconfig(given: Path | None, directory: Path | None) -> str:
    """The kubeconfig to write with."""
    if given is not None:
        return str(given)
    if directory is None and os.environ.get("KUBECONFIG"):
        return os.environ["KUBECONFIG"]
    try:
        return str(endpoints(directory or local_directory())["kubeconfig"])
    except NotConnected as error:
        fail(f"{error}; or give --kubeconfig", 3)


async def make_token(cluster: str, kubeconfig: str) -> str:
    """Store a fresh secret for the operator to check against; the token names the signing key that the agent must pin."""
    from bursar_crds.names import SYSTEM_NAMESPACE
    from bursar_domain.enrolment import SECRET_PREFIX, SIGNING_CONFIGMAP, VALID_SECONDS, EnrolmentToken
    from bursar_kube import resources
    from bursar_kube.client import Kube
    from bursar_kube.errors import AlreadyExists, NotFound

    kube = await Kube.connect(kubeconfig)
    try:
        await kube.get(resources.CLUSTERS, cluster)
        signing = await kube.get(resources.CONFIGMAPS, SIGNING_CONFIGMAP, SYSTEM_NAMESPACE)
        token = EnrolmentToken(cluster, secrets.token_urlsafe(32), signing["data"]["fingerprint"])
        name = SECRET_PREFIX + cluster
        expires = str(int(time.time()) + VALID_SECONDS)
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "bursar.dev/enrolment",
            "metadata": {"name": name, "namespace": SYSTEM_NAMESPACE, "labels": {"bursar.dev/cluster": cluster}},
            "stringData": {"secret": token.secret, "expires": expires},
        }
        try:
            await kube.create(resources.SECRETS, secret)
        except AlreadyExists:  # a token asked for anew ends the one before; that takes more than the right to make one
            with contextlib.suppress(NotFound):
                await kube.delete(resources.SECRETS, name, SYSTEM_NAMESPACE)
            await kube.create(resources.SECRETS, secret)
        return str(token)
    finally:
        await kube.close()

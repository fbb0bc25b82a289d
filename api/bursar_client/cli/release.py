"""`bursar allocations release`: hands an agent's signed statement to the operator, and waits for what becomes of it."""

import asyncio
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from bursar_client.cli.common import DirectoryOption, fail
from bursar_crds.conditions import READY, find_condition
from bursar_crds.extras import require
from bursar_crds.names import RELEASE_STATEMENT, project_namespace
from bursar_crds.reasons import Reason

Obj = dict[str, Any]
LOOK_SECONDS: Final = 0.3


class Refused(Exception):
    """The statement is not about this allocation, or does not count."""


def register(group: typer.Typer) -> None:
    """Add the command to the group `allocations`."""

    @group.command("release")
    def release(
        project: Annotated[str, typer.Argument(help="Project.")],
        name: Annotated[str, typer.Argument(help="Allocation whose deletion hangs.")],
        statement: Annotated[
            Path, typer.Option(exists=True, dir_okay=False, help="What `bursar-agent attest` printed on the scheduler's host.")
        ],
        kubeconfig: Annotated[
            Path | None, typer.Option(help="Admin kubeconfig; default: $KUBECONFIG or the local stack's.")
        ] = None,
        wait_seconds: Annotated[float, typer.Option(min=0, help="How long to wait for the allocation to go.")] = 60.0,
        directory: DirectoryOption = None,
    ) -> None:
        """Let a deletion go on that waits for an agent that can't report, by a statement that the limit is gone.

        The operator checks who signed it, for which allocation and revision, and how old it is; it takes nobody's word.
        """
        require("bursar allocations release", "kube", "kubernetes", "aiohttp")
        from bursar_client.cli.clusters import admin_kubeconfig
        from bursar_kube.errors import KubeError

        try:
            text = statement.read_text()
            typer.echo(asyncio.run(hand_over(project, name, text, admin_kubeconfig(kubeconfig, directory), wait_seconds)))
        except (Refused, KubeError, UnicodeDecodeError, OSError) as error:
            fail(f"{name} was not released: {error}", 1)


async def hand_over(project: str, name: str, text: str, kubeconfig: str, wait_seconds: float) -> str:
    """Put the statement on the allocation; what became of it. `Refused` where it does not count."""
    from bursar_domain.release import SignedStatement, mark
    from bursar_kube.client import Kube
    from bursar_kube.resources import ALLOCATIONS

    try:
        signed = SignedStatement.parse(text)
    except ValueError as error:
        raise Refused(str(error)) from error
    kube = await Kube.connect(kubeconfig)
    try:
        namespace = await _namespace(kube, project)
        uid = (await kube.get(ALLOCATIONS, name, namespace))["metadata"]["uid"]
        if signed.statement.uid != uid:
            raise Refused(f"the statement is about {signed.statement.uid}, and this is {uid}; make one for it")
        put = signed.canonical().decode()
        metadata = {"uid": uid, "annotations": {RELEASE_STATEMENT: put}}
        await kube.merge_patch(ALLOCATIONS, name, {"metadata": metadata}, namespace)
        return await _outcome(kube, (namespace, name, uid), mark(put), time.monotonic() + wait_seconds)
    finally:
        await kube.close()


async def _namespace(kube: Any, project: str) -> str:
    from bursar_kube.errors import NotFound
    from bursar_kube.resources import PROJECTS

    try:
        found = await kube.get(PROJECTS, project)
    except NotFound:
        return project_namespace(project)
    return str((found.get("status") or {}).get("namespace") or found["spec"].get("namespace") or project_namespace(project))


async def _outcome(kube: Any, of: tuple[str, str, str], statement: str, until: float) -> str:
    from bursar_kube.errors import NotFound
    from bursar_kube.resources import ALLOCATIONS

    namespace, name, uid = of
    while True:
        try:
            found = await kube.get(ALLOCATIONS, name, namespace)
        except NotFound:
            return f"{name} is released: its hours are back in the pool"
        if found["metadata"]["uid"] != uid:
            return f"{name} is released; another allocation of that name was made since"
        ready = find_condition((found.get("status") or {}).get("conditions"), READY)
        if ready is not None and ready["reason"] == Reason.STATEMENT_REFUSED and statement in ready["message"]:
            raise Refused(str(ready["message"]))
        if time.monotonic() >= until:
            message = ready["message"] if ready is not None else "nobody has looked at it yet; does the operator run?"
            return f"the statement is handed over, and {name} is not gone yet: {message}"
        await asyncio.sleep(LOOK_SECONDS)

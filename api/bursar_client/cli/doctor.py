"""`bursar doctor`: each part in turn, with what to do about what is wrong."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import typer

from bursar_client.cli.common import DEFAULT_USER, DirectoryOption, UserOption, ready
from bursar_client.connection import Connection, NotConnected, tls
from bursar_client.sdk import ApiError, BursarClient

Obj = dict[str, Any]
Finding = tuple[bool, str, str]


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("doctor")
    def doctor(directory: DirectoryOption = None, user: UserOption = DEFAULT_USER) -> None:
        """Check each part and print what to fix; exit code 1 when something is wrong."""
        found = asyncio.run(examine(directory, user))
        for good, what, remedy in found:
            typer.echo(f"{'ok  ' if good else 'FAIL'}  {what}" + (f"\n      {remedy}" if remedy else ""))
        if not all(good for good, _, _ in found):
            raise typer.Exit(1)


async def examine(directory: Path | None, user: str) -> list[Finding]:
    """One finding per check: (good, what, remedy)."""
    try:
        connection = Connection.find(directory, user)
    except NotConnected as error:
        return [(False, "no gateway is configured", str(error))]
    findings = [await guarded("gateway", lambda: gateway_ready(connection))]
    if findings[0][0]:
        async with BursarClient(connection) as client:
            findings.append(await guarded("identity", lambda: identity(client)))
            if findings[-1][0]:
                findings += [cluster_finding(cluster) for cluster in await client.listing("clusters")]
                findings += [object_finding("pool", pool) for pool in await client.listing("pools")]
                findings += [object_finding("project", project) for project in await client.listing("projects")]
    return findings


async def guarded(what: str, check: Callable[[], Awaitable[Finding]]) -> Finding:
    """A check whose failure to connect is a finding too."""
    try:
        return await check()
    except (httpx.HTTPError, ApiError, NotConnected) as error:
        return False, what, f"{error or type(error).__name__}"


async def gateway_ready(connection: Connection) -> Finding:
    """The gateway answers and follows the API server."""
    async with httpx.AsyncClient(verify=tls(connection.ca), timeout=5) as client:
        answer = await client.get(f"{connection.gateway}/readyz")
    return answer.status_code == 200, f"gateway {connection.gateway}", "" if answer.status_code == 200 else answer.text


async def identity(client: BursarClient) -> Finding:
    """The token holds at the gateway and at the API server."""
    me = await client.me()
    note = "identities come from the development issuer: never use it in production" if me["developmentIdentity"] else ""
    return True, f"identity {me['name']}", note


def cluster_finding(cluster: Obj) -> Finding:
    """A cluster is ready, or says why not."""
    bad = [c for c in cluster["status"].get("conditions", []) if c["type"] == "Ready" and c["status"] != "True"]
    return ready(cluster) == "True", f"cluster {cluster['name']}", bad[0]["message"] if bad else ""


def object_finding(kind: str, obj: Obj) -> Finding:
    """A pool or project is ready, or says why not."""
    bad = [c for c in obj["status"].get("conditions", []) if c["type"] == "Ready" and c["status"] != "True"]
    return ready(obj) == "True", f"{kind} {obj['name']}", bad[0]["message"] if bad else ""

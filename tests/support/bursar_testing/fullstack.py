"""What people do with a running stack: kubectl, the `bursar` command, agents; and waiting for what comes of it."""

import asyncio
import json
import sys
import time
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from bursar_client import BursarClient, Connection
from bursar_crds.names import FINALIZER
from bursar_kube.client import Kube
from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, PROJECTS, QUOTAPOOLS, ResourceType
from bursar_local.demo import agents
from bursar_local.demo.agents import Agent
from bursar_local.endpoints import Endpoints
from bursar_local.kubeconfigs import ClusterEntry, token_user, write_kubeconfig
from bursar_local.process import Process

Obj = dict[str, Any]
BOUND_SECONDS = 60.0
QUICK = {"usage_interval_seconds": 0.5, "cycle_interval_seconds": 0.2}
__all__ = ["FINALIZER", "Agent", "Obj", "Ran", "Site", "condition", "fresh", "hours", "until"]


@dataclass(frozen=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """All that it printed."""
        return self.out + self.err


def fresh(word: str) -> str:
    """A name that nobody else uses."""
    return f"{word}-{uuid4().hex[:6]}"


def hours(obj: Obj, field: str, resource: str = "cpu") -> int:
    """`status.<field>` of one resource, 0 where it is absent."""
    return next((int(item["hours"]) for item in obj.get("status", {}).get(field) or () if item["name"] == resource), 0)


def condition(obj: Obj, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty where it is absent."""
    found = next((c for c in obj.get("status", {}).get("conditions", []) if c["type"] == kind), None)
    return (found["status"], found["reason"]) if found else ("", "")


async def until(look: Callable[[], Awaitable[object]], what: str, *, seconds: float = BOUND_SECONDS) -> None:
    """Return once `look()` is true; AssertionError naming `what` and the last look when it never is."""
    deadline = time.monotonic() + seconds
    while not (seen := await look()):
        assert time.monotonic() < deadline, f"it never came true: {what} (last look: {seen!r})"
        await asyncio.sleep(0.1)


class Site:
    """A running stack and a folder for agents and kubeconfigs."""

    def __init__(self, endpoints: Endpoints, folder: Path, kube: Kube) -> None:
        self.endpoints, self.folder, self.kube = endpoints, folder, kube

    # Commands

    async def run(self, *argv: str, stdin: str | None = None, environment: Mapping[str, str] | None = None) -> Ran:
        """Run to its end, whatever comes of it; `environment` replaces the whole environment."""
        child = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=None if environment is None else dict(environment),
            cwd=self.folder,
        )
        try:
            out, err = await asyncio.wait_for(child.communicate((stdin or "").encode()), 90)
        except BaseException:
            if child.returncode is None:
                child.kill()
                await child.wait()
            raise
        return Ran(child.returncode or 0, out.decode(), err.decode())

    async def kubectl(self, *arguments: str, stdin: str | None = None, user: str | None = None) -> Ran:
        """kubectl as the administrator, or with the own token of a development user."""
        argv = list(self.endpoints.kubectl)
        if user is not None:
            flag = next(index for index, word in enumerate(argv) if word.startswith("--kubeconfig="))
            argv[flag] = f"--kubeconfig={await self._kubeconfig(user)}"
        return await self.run(*argv, *arguments, stdin=stdin)

    async def _kubeconfig(self, user: str) -> Path:
        token = await Connection.local(self.endpoints.directory, user).bearer()
        admin = yaml.safe_load(self.endpoints.kubeconfig.read_text())["clusters"][0]["cluster"]
        entry = ClusterEntry(self.endpoints.apiserver, b64decode(admin["certificate-authority-data"]).decode())
        path = self.folder / f"{user}-{uuid4().hex[:6]}.kubeconfig"
        return await asyncio.to_thread(write_kubeconfig, path, entry, user, token_user(token))

    async def bursar(self, *arguments: str, stdin: str | None = None, directory: Path | None = None) -> Ran:
        """The command line client against this stack, or against what another directory holds."""
        where = () if arguments[0] == "explain" else ("--dir", str(directory or self.endpoints.directory))
        return await self.run(sys.executable, "-P", "-m", "bursar_client", *arguments, *where, stdin=stdin)

    def client(self, user: str) -> BursarClient:
        """The typed client as a development user."""
        return BursarClient(Connection.local(self.endpoints.directory, user))

    # Manifests

    async def apply(self, *documents: Obj, user: str | None = None) -> None:
        """`kubectl apply -f -`; it must succeed."""
        ran = await self.kubectl("apply", "-f", "-", stdin=yaml.safe_dump_all(documents), user=user)
        assert ran.code == 0, ran.said

    async def refused(self, document: Obj, *flags: str, verb: str = "apply", user: str | None = None) -> str:
        """What kubectl says to a manifest that must be refused."""
        ran = await self.kubectl(verb, *flags, "-f", "-", stdin=yaml.safe_dump(document), user=user)
        assert ran.code != 0, f"accepted: {document}"
        return ran.err

    async def delete(self, kind: str, name: str, namespace: str | None = None) -> Ran:
        """`kubectl delete --wait=false`."""
        return await self.kubectl("delete", kind, name, "--wait=false", *(["-n", namespace] if namespace else []))

    # Looking

    async def find(self, kind: ResourceType, name: str, namespace: str | None = None) -> Obj | None:
        """The object, None where there is none."""
        try:
            return await self.kube.get(kind, name, namespace)
        except NotFound:
            return None

    async def allocation(self, project: str, name: str) -> Obj:
        """An allocation that is there."""
        return await self.kube.get(ALLOCATIONS, name, f"project-{project}")

    async def pool(self, name: str) -> Obj:
        """A pool that is there."""
        return await self.kube.get(QUOTAPOOLS, name)

    async def until_condition(
        self, kind: ResourceType, name: str, namespace: str | None, wanted: str, status: str = "True", reason: str = ""
    ) -> Obj:
        """The object once a condition has the status (and the reason)."""
        seen: Obj = {}

        async def look() -> bool:
            nonlocal seen
            seen = await self.find(kind, name, namespace) or {}
            now = condition(seen, wanted)
            return now[0] == status and reason in ("", now[1])

        try:
            await until(look, f"{kind.kind} {name}: {wanted} is {status} {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{json.dumps(seen.get('status'), indent=1)}") from error
        return seen

    async def until_allocation(self, project: str, name: str, wanted: str, status: str = "True", reason: str = "") -> Obj:
        """An allocation once a condition has the status."""
        return await self.until_condition(ALLOCATIONS, name, f"project-{project}", wanted, status, reason)

    async def until_project(self, name: str) -> Obj:
        """A project once it is ready."""
        return await self.until_condition(PROJECTS, name, None, "Ready")

    async def until_gone(self, kind: ResourceType, name: str, namespace: str | None = None) -> None:
        """Wait until there is no such object."""

        async def look() -> bool:
            return await self.find(kind, name, namespace) is None

        await until(look, f"{kind.kind} {name} is gone")

    async def accounts(self, cluster: str) -> dict[str, Obj]:
        """Account states of a cluster as its agent last read them back."""
        async with self.client("erin") as erin:
            answer = await erin.request("GET", f"/api/v1/clusters/{cluster}/accounts")
        return {item["account"]: item for item in answer["items"]}

    async def booked(self, cluster: str, by: str = "account") -> dict[tuple[str, ...], int]:
        """CPU seconds in the books, by account, or by account and user."""
        keys = ("account", "user") if by == "user" else ("account",)
        async with self.client("erin") as erin:
            rows = (await erin.usage(cluster=cluster, by=by))["items"]
        return {tuple(row[key] for key in keys): row["allocated"] for row in rows if row["resource"] == "cpu"}

    async def agent_key_count(self, cluster: str) -> int:
        """How many keys may speak for a cluster."""
        found = await self.kube.get(CLUSTERS, cluster)
        return len(found.get("status", {}).get("agent", {}).get("keys", []))

    # Agents

    async def start_agent(self, cluster: str, scheduler: str, settings: Obj) -> Agent:
        """Enrol and start an agent, as a site would."""
        return await agents.start(self.endpoints, self.folder, cluster, scheduler, settings, **QUICK)

    async def start_again(self, agent: Agent) -> Agent:
        """Start an agent that has ended, on the same state."""
        return Agent(agent.cluster, await Process.start(agent.process.command, self.folder), agent.state)

    async def token(self, cluster: str) -> str:
        """A fresh one-time enrolment token."""
        ran = await self.bursar("clusters", "enrol", cluster)
        assert ran.code == 0, ran.said
        return ran.out.strip()


def status_of(agent: Agent) -> Obj:
    """The simulator's status file; empty before the first look."""
    path = agent.state / "status.json"
    found: Obj = json.loads(path.read_text()) if path.exists() else {}
    return found


def applied(agent: Agent, account: str) -> list[Obj]:
    """Every change that the simulator took for an account, oldest first."""
    lines = [json.loads(line) for line in (agent.state / "simulator.jsonl").read_text().splitlines()]
    changes = [change for line in lines if line["kind"] == "apply" for change in line["changes"]]
    return [change for change in changes if change["account"] == account]


def limit_in_force(agent: Agent, account: str, tres: str = "cpu") -> int | None:
    """The limit that the simulated scheduler has now, in minutes; None without one."""
    written = [change["limits"][tres] for change in applied(agent, account) if tres in change["limits"]]
    return written[-1] if written and written[-1] >= 0 else None

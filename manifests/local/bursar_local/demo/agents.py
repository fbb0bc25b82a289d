"""Starts the agents as a site would: a one-time token, `bursar-agent enrol`, `bursar-agent run`."""

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError
from bursar_local.files import private_directory, write_private
from bursar_local.process import Command, Process

AGENT = (sys.executable, "-P", "-m", "bursar_agent")
CLIENT = (sys.executable, "-P", "-m", "bursar_client")


async def run(*argv: str, stdin: str | None = None, check: bool = True) -> tuple[int, str, str]:
    """Run a command to its end: exit code, standard output, standard error."""
    child = await asyncio.create_subprocess_exec(
        *argv, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(child.communicate(stdin.encode() if stdin is not None else b""), 120)
    if check and child.returncode:
        raise LocalStackError(f"`{' '.join(argv[-6:])}` failed: {err.decode().strip() or out.decode().strip()}")
    return child.returncode or 0, out.decode(), err.decode()


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent and where its state lies."""

    cluster: str
    process: Process
    state: Path


async def start(
    endpoints: Endpoints, directory: Path, cluster: str, scheduler: str, settings: dict[str, Any], **intervals: float
) -> Agent:
    """Enrol an agent for ``cluster`` and start it; its files lie in ``directory``/agent-<cluster>."""
    home = private_directory(directory / f"agent-{cluster}")
    state = private_directory(home / "state")
    config = write_private(
        home / "agent.yaml",
        yaml.safe_dump(
            {
                "cluster": cluster,
                "gateway": endpoints.gateway,
                "gateway_ca": str(endpoints.ca),
                "state_directory": str(state),
                "scheduler": scheduler,
                "scheduler_settings": settings,
                **intervals,
            }
        ),
    )
    _, token, _ = await run(*CLIENT, "clusters", "enrol", cluster, "--kubeconfig", str(endpoints.kubeconfig))
    await run(*AGENT, "enrol", "--config", str(config), "--token", token.strip())
    command = Command(f"agent-{cluster}", (*AGENT, "run", "--config", str(config)))
    return Agent(cluster, await Process.start(command, directory), state)

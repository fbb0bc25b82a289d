"""The operator as a process of its own, started as in production: its ServiceAccount's kubeconfig, environment, signals."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from bursar_kube.client import Kube
from bursar_ledger.ledger import Ledger
from bursar_local.kubectl import Kubectl
from bursar_local.ports import free_ports

READY_SECONDS = 40.0


class OperatorProcess:
    """A running `bursar-operator`. `start` returns when it serves; `stop` asks it to end, `kill` does not ask."""

    def __init__(self, child: asyncio.subprocess.Process, log: Path, port: int) -> None:
        self.child = child
        self.log = log
        self.url = f"http://127.0.0.1:{port}"

    @classmethod
    async def start(cls, kubeconfig: Path, ledger: Path, folder: Path, **settings: str) -> "OperatorProcess":
        """Start and wait until it is ready; AssertionError with its log where it is not."""
        process = await cls.spawn(kubeconfig, ledger, folder, **settings)
        try:
            await process.ready()
        except BaseException:
            await process.kill()
            raise
        return process

    @classmethod
    async def spawn(cls, kubeconfig: Path, ledger: Path, folder: Path, **settings: str) -> "OperatorProcess":
        """Start without waiting."""
        (port,) = free_ports(1)
        environment = {
            "BURSAR_OPERATOR_KUBECONFIG": str(kubeconfig),
            "BURSAR_OPERATOR_LEDGER_URL": f"sqlite:///{ledger}",
            "BURSAR_OPERATOR_SIGNING_KEY_FILE": str(folder / "signing.key"),
            "BURSAR_OPERATOR_HEALTH_PORT": str(port),
        } | {f"BURSAR_OPERATOR_{name.upper()}": value for name, value in settings.items()}
        log = folder / f"operator-{port}.log"
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bursar_operator", stdout=output, stderr=output, env=clean_environment() | environment
            )
        return cls(child, log, port)

    async def ready(self) -> None:
        """Wait for /readyz."""
        answer = ""
        async with httpx.AsyncClient(timeout=5) as client:
            for _ in range(int(READY_SECONDS * 20)):
                assert self.child.returncode is None, (
                    f"the operator ended with {self.child.returncode}:\n{self.log.read_text()}"
                )
                try:
                    response = await client.get(f"{self.url}/readyz")
                    answer = response.text
                    if response.status_code == 200:
                        return
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.05)
        raise AssertionError(f"the operator is not ready: {answer}\n{self.log.read_text()[-8000:]}")

    async def said(self, path: str) -> str:
        """What it answers at /healthz, /readyz or /metrics; nothing before it listens."""
        async with httpx.AsyncClient(timeout=5) as client:
            try:
                return (await client.get(f"{self.url}{path}")).text
            except httpx.TransportError:
                return ""

    def pause(self) -> None:
        """SIGSTOP: nothing of it runs until `resume`."""
        self.child.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGCONT)

    async def stop(self) -> int:
        """SIGTERM; its exit status."""
        if self.child.returncode is None:
            self.child.send_signal(signal.SIGTERM)
        return await asyncio.wait_for(self.child.wait(), 20)

    async def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self.child.returncode is None:
            self.child.kill()
        await self.child.wait()


def clean_environment() -> dict[str, str]:
    """The environment without settings of our parts."""
    return {name: value for name, value in os.environ.items() if not name.startswith("BURSAR_") and name != "KUBECONFIG"}


@dataclass
class Stack:
    """What runs, and how to talk to it."""

    kubectl: Kubectl
    kube: Kube
    ledger: Ledger
    ledger_file: Path
    folder: Path
    kubeconfig: Path
    operator: OperatorProcess

    async def apply(self, *manifests: dict[str, Any]) -> None:
        """`kubectl apply` them all."""
        document = {"apiVersion": "v1", "kind": "List", "items": list(manifests)}
        await self.kubectl("apply", "-f", "-", input=json.dumps(document))

    async def restart(self) -> None:
        """Another operator process on the same ledger and key."""
        self.operator = await OperatorProcess.start(self.kubeconfig, self.ledger_file, self.folder)

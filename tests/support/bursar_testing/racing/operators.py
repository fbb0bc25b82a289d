"""Two operators, of which the Lease lets one lead; they are killed, paused and asked to go, and come back."""

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from bursar_testing.operatorprocess import OperatorProcess

LOOK_SECONDS = 0.2


class Operators:
    """By name. `watch` starts each one again that has ended."""

    def __init__(self, kubeconfigs: Mapping[str, Path], ledger: Path, folder: Path) -> None:
        self.restarts = 0
        self._kubeconfigs = kubeconfigs
        self._ledger = ledger
        self._folder = folder
        self._running: dict[str, OperatorProcess] = {}
        self._client = httpx.AsyncClient(timeout=2, trust_env=False)

    async def start(self) -> None:
        """Start them all; the first one leads when this returns."""
        for name in self._kubeconfigs:
            await self._spawn(name)
            await self.led()

    async def stop(self) -> None:
        """End them all, the paused ones too."""
        await self._client.aclose()
        for process in self._running.values():
            with suppress(ProcessLookupError):
                os.kill(process.child.pid, signal.SIGCONT)
            await process.kill()

    async def watch(self) -> None:
        """Start again what has ended, until cancelled."""
        while True:
            for name, process in list(self._running.items()):
                if process.child.returncode is not None:
                    self.restarts += 1
                    await self._spawn(name)
            await asyncio.sleep(LOOK_SECONDS)

    async def leader(self) -> OperatorProcess | None:
        """The one that serves now."""
        for process in self._running.values():
            with suppress(httpx.TransportError):
                if process.child.returncode is None and (await self._client.get(f"{process.url}/readyz")).status_code == 200:
                    return process
        return None

    async def led(self, seconds: float = 180.0) -> OperatorProcess:
        """Wait until one serves."""
        async with asyncio.timeout(seconds):
            while (found := await self.leader()) is None:  # noqa: ASYNC110 - another process's answer
                await asyncio.sleep(0.05)
        return found

    async def pause(self, process: OperatorProcess, seconds: float) -> None:
        """Stop it in the middle of whatever it does, and let it go on as if no time had passed."""
        os.kill(process.child.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            with suppress(ProcessLookupError):
                os.kill(process.child.pid, signal.SIGCONT)

    def complaints(self) -> list[str]:
        """Lines of their logs that tell of a mistake of the program."""
        found = [(log, line) for log in self._folder.glob("operator-*.log") for line in log.read_text().splitlines()]
        return [f"{log.name}: {line}" for log, line in found if "Traceback" in line or "AssertionError" in line]

    async def _spawn(self, name: str) -> None:
        self._running[name] = await OperatorProcess.spawn(self._kubeconfigs[name], self._ledger, self._folder)

"""The checker's processes: one that records while the race runs, one that judges at the end."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bursar_local.controlplane import ControlPlane

CHECKER = ("-m", "bursar_testing.checker")
MISSED = 3
"""The recorder says so itself: the history has a gap, and the verdict tells where."""
START_SECONDS = 60.0


class Recording:
    """A recording that runs; `stop` ends it."""

    def __init__(self, child: asyncio.subprocess.Process, history: Path, log: Path) -> None:
        self.history = history
        self._child = child
        self._log = log

    @classmethod
    async def start(cls, plane: ControlPlane, ledger: Path, folder: Path) -> "Recording":
        """From the first write that the store knows of."""
        keys, history, log = plane.credentials, folder / "history.jsonl", folder / "recorder.log"
        arguments = ["record", str(history), "--store", plane.addresses["etcd"], "--ledger", str(ledger)]
        arguments += ["--authority", str(keys.etcd_authority_file)]
        arguments += ["--certificate", str(keys.etcd_client.certificate), "--key", str(keys.etcd_client.key)]
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                sys.executable, *CHECKER, *arguments, stdout=output, stderr=output, env=_environment()
            )
        made = cls(child, history, log)
        async with asyncio.timeout(START_SECONDS):
            while not history.exists():
                made.check()
                await asyncio.sleep(0.1)
        return made

    def check(self) -> None:
        """RuntimeError where it has ended by itself."""
        if self._child.returncode not in (None, 0, MISSED):
            raise RuntimeError(f"the recorder failed:\n{self._log.read_text()[-4000:]}")

    async def stop(self) -> None:
        """Everything up to now is written down when this returns; RuntimeError where the recorder failed."""
        if self._child.returncode is None:
            self._child.send_signal(signal.SIGTERM)
        await self._child.wait()
        self.check()

    async def kill(self) -> None:
        """After a failure of the race itself."""
        if self._child.returncode is None:
            self._child.kill()
        await self._child.wait()


def _environment() -> dict[str, str]:
    """With the folder that the checker is found in: pytest knows it by its configuration alone."""
    folder = str(Path(__file__).parents[2])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (folder, os.environ.get("PYTHONPATH"))))}


async def judged(history: Path, calm: Sequence[tuple[float, float]], *arguments: str) -> dict[str, Any]:
    """The checker's verdict."""
    spans = [f"--calm={begin}:{end}" for begin, end in calm]
    command = (sys.executable, *CHECKER, "check", str(history), *spans, *arguments)
    child = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=_environment()
    )
    output, errors = await child.communicate()
    if child.returncode not in (0, 1) or not output:
        raise RuntimeError(f"the checker failed:\n{errors.decode()[-4000:]}")
    found: dict[str, Any] = json.loads(output)
    return found

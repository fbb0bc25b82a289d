"""One part as a child process: started tethered, logged to a file, watched, and ended within a bound."""

import asyncio
import contextlib
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bursar_local import tether
from bursar_local.errors import PartDied, PortTaken
from bursar_local.leftovers import forget, remember

LAST_LINES = 12
_KILL_WAIT_SECONDS = 10.0


@dataclass(frozen=True)
class Command:
    """What to run: name (also of its log and record), argv, and additions to the environment."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    unset: frozenset[str] = frozenset()
    death_signal: signal.Signals = signal.SIGKILL
    grace_seconds: float = 10.0


class Process:
    """A running part. Made by `start`; ends by `stop`, or by itself (then `return_code` is set)."""

    def __init__(self, command: Command, child: asyncio.subprocess.Process, log: Path, record: Path) -> None:
        self.command = command
        self.log = log
        self._child = child
        self._record = record

    @classmethod
    async def start(cls, command: Command, directory: Path) -> "Process":
        """Start `command` in `directory`: log in `logs/<name>.log` (the one before as `.previous`), record in `run/`."""
        log = directory / "logs" / f"{command.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists():
            log.replace(log.with_suffix(".log.previous"))
        environment = {name: value for name, value in os.environ.items() if name not in command.unset} | dict(
            command.environment
        )
        with log.open("wb") as output:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(command.death_signal))),
                *command.argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=directory,
                env=environment,
                # A session of its own: Ctrl-C in the terminal reaches the launcher alone, which then stops all in order.
                start_new_session=True,
            )
        return cls(command, child, log, remember(directory, command.name, child.pid))

    @property
    def name(self) -> str:
        """The part's name."""
        return self.command.name

    @property
    def pid(self) -> int:
        """Its process id (also the id of its process group)."""
        return self._child.pid

    @property
    def return_code(self) -> int | None:
        """None while it runs."""
        return self._child.returncode

    async def wait(self) -> int:
        """Wait until it ends; its return code."""
        return await self._child.wait()

    async def stop(self) -> None:
        """SIGTERM, wait for the grace time, then SIGKILL to its whole process group. Idempotent."""
        if self._child.returncode is None:
            self._signal(signal.SIGTERM)
            if not await self._ended_within(self.command.grace_seconds):
                self._signal(signal.SIGKILL)
                await self._ended_within(_KILL_WAIT_SECONDS)
        # Whatever it forked itself and left behind.
        self._signal(signal.SIGKILL)
        forget(self._record)

    def kill(self) -> None:
        """SIGKILL to its process group, without a wait."""
        self._signal(signal.SIGKILL)

    def last_lines(self, count: int = LAST_LINES) -> list[str]:
        """The last lines of its log."""
        return last_lines(self.log, count)

    def death(self) -> PartDied:
        """The error that tells how it ended."""
        lines = self.last_lines()
        kind = PortTaken if any("address already in use" in line for line in self.last_lines(50)) else PartDied
        return kind(self.name, self.return_code, self.log, lines)

    async def _ended_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._child.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _signal(self, which: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._child.pid, which)


def last_lines(log: Path, count: int = LAST_LINES) -> list[str]:
    """The last `count` lines of a log file, empty where there is none."""
    if not log.exists():
        return []
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 65536))
        text = file.read().decode(errors="replace")
    return list(deque((line for line in text.splitlines() if line.strip()), maxlen=count))

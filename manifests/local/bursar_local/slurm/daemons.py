"""Starting, watching and ending the programs of one throw-away Slurm; only processes that carry its mark are ever signalled."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bursar_local.slurm.errors import SlurmUnavailable

MARK = "BURSAR_THROWAWAY_SLURM"
"""Environment variable of daemons, never of clients, that names their run folder: so their leftovers can be told apart."""

POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Daemon:
    """One running program."""

    name: str
    process: asyncio.subprocess.Process
    log: Path

    def last_lines(self, count: int = 5) -> str:
        """The end of its log."""
        with contextlib.suppress(OSError):
            return " | ".join(self.log.read_text(errors="replace").strip().splitlines()[-count:])
        return "no log"


async def launch(name: str, argv: Sequence[str], environment: Mapping[str, str], log: Path, cwd: Path) -> Daemon:
    """Starts a program in the foreground; the kernel ends it when we die, however we die."""
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", *argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    return Daemon(name, process, log)


async def wait_until(check: Callable[[], Awaitable[bool]], daemon: Daemon, *, timeout_seconds: float) -> None:
    """Waits until a daemon serves; one that ends or takes too long is an error with its last lines."""
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while not await check():
        if daemon.process.returncode is not None:
            raise SlurmUnavailable(
                f"{daemon.name} ended with {daemon.process.returncode}: {daemon.last_lines()} (see {daemon.log})"
            )
        if asyncio.get_running_loop().time() > deadline:
            raise SlurmUnavailable(
                f"{daemon.name} did not serve within {timeout_seconds:.0f} s: {daemon.last_lines()} (see {daemon.log})"
            )
        await asyncio.sleep(POLL_SECONDS)


async def end(daemon: Daemon, *, timeout_seconds: float = 10) -> None:
    """Asks a daemon to end, then makes it."""
    if daemon.process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        daemon.process.terminate()
    try:
        await asyncio.wait_for(daemon.process.wait(), timeout_seconds)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            daemon.process.kill()
        await daemon.process.wait()


def marked_processes(run: Path) -> set[int]:
    """Processes started by the daemons of this run folder (job steps too) and whatever those started."""
    mark = f"{MARK}={run}".encode()
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    parents = {pid: _parent(pid) for pid in numbers}
    found = {pid for pid in numbers if mark in _environment(pid)}
    while grown := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= grown
    return found - {os.getpid()}


def kill_marked(run: Path, *, spare: Collection[int] = ()) -> None:
    """Kills what is left of a run folder's daemons and jobs, but for the processes to spare."""
    for pid in marked_processes(run) - set(spare):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return 0

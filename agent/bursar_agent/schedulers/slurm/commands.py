"""Running Slurm's commands: argument lists, no shell, a fixed environment, time-outs that end the whole process group."""

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Mapping, Sequence
from typing import Final

from bursar_agent.schedulers.base import SchedulerError, SchedulerUnavailable
from bursar_agent.schedulers.slurm.settings import SlurmSettings

FIXED_ENVIRONMENT: Final[Mapping[str, str]] = {"LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
"""Messages in English, times as epoch seconds."""

ALLOWED: Final = frozenset({"sacctmgr", "sshare", "sacct", "scontrol", "squeue", "sdiag"})
KILL_GRACE_SECONDS: Final = 2


class CommandTimedOut(SchedulerError):
    """The command was ended; what it asked for may still happen: read back before the next write."""


class Commands:
    """Slurm's client commands with the plug-in's settings."""

    def __init__(self, settings: SlurmSettings) -> None:
        """Nothing is run yet."""
        self._settings = settings
        self._environment = {"PATH": "/usr/bin:/bin", **settings.environment, **FIXED_ENVIRONMENT}

    async def read(self, program: str, *arguments: str, timeout_seconds: float | None = None) -> str:
        """Standard output of a read; anything but success is `SchedulerUnavailable`, never an empty answer."""
        argv = self.argv(program, arguments)
        try:
            code, output, errors = await self._run(argv, timeout_seconds or self._settings.read_timeout_seconds)
        except CommandTimedOut as error:
            raise SchedulerUnavailable(str(error)) from error
        if code != 0:
            raise SchedulerUnavailable(f"`{shlex.join(argv)}` ended with {code}: {_one_line(errors or output)}")
        return output

    async def write(self, *arguments: str) -> str:
        """Runs `sacctmgr -i …` and returns what it complained of, or "". The answer proves nothing: read back."""
        argv = self.argv("sacctmgr", ("-i", *arguments))
        code, output, errors = await self._run(argv, self._settings.write_timeout_seconds)
        return "" if code == 0 else f"sacctmgr ended with {code}: {_one_line(errors or output)}"

    async def existing_users(self, users: Sequence[str]) -> frozenset[str]:
        """Those of the users whom the machine knows."""
        if not users:
            return frozenset()
        # 2: at least one is not known. Anything else means that the user database can't be asked.
        code, output, errors = await self._run(
            [str(self._settings.getent), "passwd", *users], self._settings.read_timeout_seconds
        )
        if code not in (0, 2):
            raise SchedulerUnavailable(f"getent passwd ended with {code}: {_one_line(errors)}")
        return frozenset(line.partition(":")[0] for line in output.splitlines()) & frozenset(users)

    def argv(self, program: str, arguments: Sequence[str]) -> list[str]:
        """The argument list with the program's absolute path; only known programs."""
        if program not in ALLOWED:
            raise SchedulerError(f"{program} is not a command that the Slurm plug-in runs")
        return [str(self._settings.bin / program), *arguments]

    async def _run(self, argv: Sequence[str], timeout_seconds: float) -> tuple[int, str, str]:
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=self._environment,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SchedulerUnavailable(
                f"{argv[0]} can't be run ({error.strerror}): set `bin` to the folder of Slurm's commands"
            ) from error
        try:
            async with asyncio.timeout(timeout_seconds):
                output, errors = await process.communicate()
        except TimeoutError as error:
            await _end_group(process)
            raise CommandTimedOut(f"`{shlex.join(argv[:6])} …` took over {timeout_seconds:g} s and was ended") from error
        except BaseException:
            await _end_group(process)
            raise
        return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")


async def _end_group(process: asyncio.subprocess.Process) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_GRACE_SECONDS)
            # The leader has ended; whoever it started may hold on.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            return


def _one_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-3:])[:500]

"""A clock of its own for a throw-away Slurm: as fast as the machine's, begun at any time, and put forward at will.

Slurm's daemons and commands see it through libfaketime, which reads the file of this clock at every look. munged and MariaDB
keep the machine's time. Forward only: slurmctld does not survive time that goes back.
"""

import contextlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from bursar_local import packages
from bursar_local.packages import Bundle, PackagesUnavailable, Progress
from bursar_local.slurm.errors import SlurmUnavailable

PACKAGE = "libfaketime"
LIBRARY = "usr/lib/*/faketime/libfaketimeMT.so.1"
DEFAULT_CACHE = Path("/var/cache/bursar/faketime")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where libfaketime itself puts it
LEFT_BEHIND = ("faketime_shm_", "sem.faketime_sem_")


class Clock:
    """The clock: `now` here is what Slurm sees."""

    def __init__(self, file: Path, library: Path, start: float) -> None:
        """Begins at ``start``, an epoch second."""
        self._file, self._library = file, library
        self._ahead = 0.0
        self._set(start)

    def now(self) -> float:
        """Epoch seconds."""
        return time.time() + self._ahead

    def put_forward(self, to: float) -> None:
        """Makes it a later time at once; an earlier one changes nothing."""
        if to > self.now():
            self._set(to)

    def _set(self, to: float) -> None:
        self._ahead = to - time.time()
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{self._ahead:+.3f}\n")
        fresh.replace(self._file)

    def variables(self, preloaded: str) -> dict[str, str]:
        """Environment of a program that sees this clock; ``preloaded``: libraries that it preloads anyway."""
        return {
            "LD_PRELOAD": f"{preloaded}:{self._library}",
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "NO_FAKE_STAT": "1",
        }


async def clock_at(start: float, folder: Path, cache: Path = DEFAULT_CACHE, progress: Progress = lambda line: None) -> Clock:
    """A clock that begins at an epoch second; its file lies in the folder, which all users of the cluster may read."""
    if _library(cache) is None:
        try:
            await packages.unpack_once(cache, Bundle((PACKAGE,)), lambda: _library(cache) is not None, progress)
        except PackagesUnavailable as error:
            raise SlurmUnavailable(str(error)) from error
    library = _library(cache)
    if library is None:
        raise SlurmUnavailable(f"the package {PACKAGE} has no {LIBRARY}: this release is not supported")
    return Clock(folder / "clock", library, start)


def why_no_clock(cache: Path = DEFAULT_CACHE) -> str | None:
    """Why there can be no such clock on this machine, or None when there can."""
    if _library(cache) is None and (absent := packages.absent_tools()):
        return f"{', '.join(absent)} not found: needs Debian or Ubuntu, or {PACKAGE} there"
    return None


def without(environment: Mapping[str, str]) -> dict[str, str]:
    """The same environment with the machine's own time; libraries that are preloaded beside stay."""
    kept = {name: value for name, value in environment.items() if not name.startswith("FAKETIME")}
    preloaded = (path for path in kept.get("LD_PRELOAD", "").split(":") if path and "faketime" not in Path(path).name)
    return {**kept, "LD_PRELOAD": ":".join(preloaded)}


def sweep() -> None:
    """Removes what libfaketime left in shared memory for programs that were killed."""
    for path in SHARED_MEMORY.glob("*faketime_*"):
        number = next((path.name.removeprefix(start) for start in LEFT_BEHIND if path.name.startswith(start)), "")
        if number.isdigit() and not Path(f"/proc/{number}").exists():
            with contextlib.suppress(OSError):
                os.unlink(path)


def _library(cache: Path) -> Path | None:
    return next((path for root in (Path("/"), cache / "root") for path in sorted(root.glob(LIBRARY))), None)

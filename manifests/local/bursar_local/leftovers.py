"""Records of running processes in `run/`, a lock for the directory, and the end of what a killed run left behind.

A process is known by its id *and* its start time: an id alone may belong to somebody else by now.
"""

import contextlib
import fcntl
import json
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bursar_local.errors import DirectoryInUse, LocalStackError
from bursar_local.files import write_private

_TERM_SECONDS = 5.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessRecord:
    """Who ran: id and start time (clock ticks since boot, as /proc tells)."""

    name: str
    pid: int
    started: int

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return start_time(self.pid) == self.started


class DirectoryLock:
    """Held by the launcher for as long as it lives; the kernel frees it however the launcher ends."""

    def __init__(self, directory: Path, name: str = "lock") -> None:
        self._file = (directory / name).open("a")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._file.close()
            raise DirectoryInUse(directory) from error

    def release(self) -> None:
        """Give the directory free. Idempotent."""
        self._file.close()


def start_time(pid: int) -> int | None:
    """When process `pid` started, None where there is none (a zombie counts as none)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command's name, in parentheses, may hold spaces and parentheses itself.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


def record_path(directory: Path, name: str) -> Path:
    """Where the record of part `name` lies."""
    return directory / "run" / f"{name}.json"


def remember(directory: Path, name: str, pid: int) -> Path:
    """Write down that `pid` runs as part `name`; the path of the record."""
    path = record_path(directory, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_private(path, json.dumps({"name": name, "pid": pid, "started": start_time(pid) or 0}))


def forget(record: Path) -> None:
    """Drop a record. Idempotent."""
    record.unlink(missing_ok=True)


def read_record(path: Path) -> ProcessRecord | None:
    """The record in `path`; None where it is missing or garbled (a killed run may leave anything)."""
    try:
        content = json.loads(path.read_bytes())
        return ProcessRecord(str(content["name"]), int(content["pid"]), int(content["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def end_leftovers(directory: Path, *, names: tuple[str, ...] | None = None) -> list[str]:
    """End every recorded process of `directory` (or those called `names`) that still runs; the names of those ended.

    Call it with the directory's lock held: then whoever started them is dead. Raises LocalStackError where one can't be ended.
    """
    ended = []
    for path, record in _records(directory, names):
        if record and record.alive:
            end(record)
            ended.append(record.name)
        forget(path)
    return ended


def end(record: ProcessRecord, term_seconds: float = _TERM_SECONDS) -> None:
    """End one recorded process: SIGTERM, then SIGKILL, each to its group where it leads one, each with a bounded wait."""
    for which, seconds in ((signal.SIGTERM, term_seconds), (signal.SIGKILL, _KILL_SECONDS)):
        _send(record, which)
        deadline = time.monotonic() + seconds
        while record.alive and time.monotonic() < deadline:
            time.sleep(0.05)
        if not record.alive:
            return
    raise LocalStackError(
        f"process {record.pid} ({record.name}) of an earlier run could not be ended; end it, then start again"
    )


def _records(directory: Path, names: tuple[str, ...] | None) -> Iterator[tuple[Path, ProcessRecord | None]]:
    for path in sorted((directory / "run").glob("*.json")):
        if names is None or path.stem in names:
            yield path, read_record(path)


def _send(record: ProcessRecord, which: signal.Signals) -> None:
    if not record.alive:
        return
    with contextlib.suppress(ProcessLookupError):
        leads_group = os.getpgid(record.pid) == record.pid
        (os.killpg if leads_group else os.kill)(record.pid, which)

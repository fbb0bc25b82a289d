"""What the simulator keeps on disk: not its state but its inputs, for the same inputs give the same state.

`simulator.jsonl` holds the start and every change and submission with its simulated second, each line on disk before the
caller goes on; `simulator-clock` holds how far the clock has run. After a restart the machine is run again up to there.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import orjson

from bursar_agent.files import append_durably, read_lines, replace
from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator.jobs import Job

Line = Mapping[str, object]


class Store:
    """The files of one simulator."""

    def __init__(self, directory: Path) -> None:
        self._events = directory / "simulator.jsonl"
        self._clock = directory / "simulator-clock"

    def events(self) -> Iterator[dict[str, object]]:
        """All lines, oldest first; a line that a crash tore is dropped."""
        yield from read_lines(self._events)

    def record(self, kind: str, at: int, **more: object) -> None:
        """Add one input."""
        append_durably(self._events, [{"kind": kind, "at": at, **more}])

    @property
    def clock(self) -> int:
        """How far the clock had run; 0 where nobody knows."""
        try:
            return int(self._clock.read_text())
        except (FileNotFoundError, ValueError):
            return 0

    @clock.setter
    def clock(self, now: int) -> None:
        replace(self._clock, str(now).encode(), durable=False)


def change_to_json(change: AccountChange) -> Line:
    """A change as it is kept."""
    return {
        "account": change.account,
        "create": change.create,
        "description": change.description,
        "parent": change.parent,
        "limits": dict(change.limits),
        "run_minutes": dict(change.run_minutes),
        "concurrent": dict(change.concurrent),
        "held": change.held,
        "blocked": change.blocked,
        "qos": change.qos,
        "add_members": sorted(change.add_members),
        "remove_members": sorted(change.remove_members),
    }


def change_from_json(line: bytes) -> AccountChange:
    """The change that `change_to_json` kept."""
    fields = orjson.loads(line)
    fields |= {name: frozenset(fields[name]) for name in ("add_members", "remove_members")}
    return AccountChange(**fields)


def job_to_json(job: Job) -> Line:
    """A submitted job as it is kept."""
    return {name: getattr(job, name) for name in Job.__dataclass_fields__}


def job_from_json(line: bytes) -> Job:
    """The job that `job_to_json` kept."""
    return Job(**orjson.loads(line))


def write_status(path: Path, status: Line) -> None:
    """Replace the status file, so that a reader never sees half of one."""
    replace(path, orjson.dumps(status) + os.linesep.encode(), durable=False)

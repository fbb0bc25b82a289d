"""What the list of parts shows, and how progress is reported."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class State(StrEnum):
    """Where a part is in its life."""

    STARTING = "starting"
    READY = "ready"
    NOT_READY = "not ready"
    STOPPING = "stopping"
    ENDED = "ended"
    DIED = "died"


@dataclass(frozen=True)
class PartState:
    """One line of the list."""

    name: str
    state: State
    address: str = ""
    log: Path | None = None
    pid: int | None = None


Report = Callable[[PartState], None]


def ignore(_: PartState) -> None:
    """A report that nobody reads."""

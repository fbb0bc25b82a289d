"""Who waits for the pools of one tree: first come first served, asked anew only when there may be more room."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from bursar_domain.room import Cause
from bursar_operator.applicants import Key
from bursar_operator.domain.batch import PATIENCE_SECONDS
from bursar_operator.domain.grant import Operation

REFRESH_SECONDS: Final = 1.0  # how old a list of places or of seniors may be

Place = tuple[int, int]
"""Which one it is, of how many that wait for the same pool; the first one is 1."""


@dataclass(slots=True)
class Waiting:
    """An allocation that waits for one of its operations to be opened, the first that fits."""

    uid: str
    key: Key
    leaf: str
    version: int
    """Of the copy that the operations were worked out from."""
    since: float
    operations: tuple[Operation, ...]
    causes: tuple[Cause, ...] = ()

    def is_senior(self, now: float) -> bool:
        """Whether it has waited so long that smaller, later requests have to stand back."""
        return now - self.since >= PATIENCE_SECONDS


class Waitlist:
    """Those that wait in one tree. `more_room` has everyone tried again."""

    def __init__(self) -> None:
        self._waiting: dict[str, Waiting] = {}
        self._fresh: dict[str, Waiting] = {}
        self._room = 0
        self._scanned = 0
        self._places: dict[str, dict[str, int]] = {}
        self._places_until = 0.0
        self._seniors: list[Waiting] = []
        self._seniors_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Waiting]:
        return iter(list(self._waiting.values()))

    def get(self, uid: str) -> Waiting | None:
        """One that waits."""
        return self._waiting.get(uid)

    def put(self, waiting: Waiting) -> bool:
        """Let it wait; whether it asks for something new."""
        present = self._waiting.get(waiting.uid)
        if present is not None and (present.operations, present.leaf) == (waiting.operations, waiting.leaf):
            present.version = waiting.version
            return False
        waiting.causes = present.causes if present else ()
        self._waiting[waiting.uid] = self._fresh[waiting.uid] = waiting
        return True

    def drop(self, uid: str, now: float) -> None:
        """It waits no longer; what was kept for one that waited long is free for others."""
        waiting = self._waiting.pop(uid, None)
        self._fresh.pop(uid, None)
        if waiting is not None and waiting.is_senior(now):
            self._seniors_until = 0.0
            self.more_room()

    def more_room(self) -> None:
        """What was refused may fit now."""
        self._room += 1

    def untried(self) -> list[Waiting]:
        """Those that were not refused with the room as it is, in order of arrival."""
        if self._scanned != self._room:
            self._scanned = self._room
            self._fresh = {item.uid: item for item in sorted(self._waiting.values(), key=lambda item: item.since)}
        return list(self._fresh.values())

    def seniors(self, now: float) -> list[Waiting]:
        """Those that were refused and have waited so long that hours are kept for them, in order of arrival."""
        if now >= self._seniors_until:
            seniors = (item for item in self._waiting.values() if item.is_senior(now))
            self._seniors = sorted(seniors, key=lambda item: item.since)
            self._seniors_until = now + REFRESH_SECONDS
        return [item for item in self._seniors if item.uid in self._waiting and item.uid not in self._fresh]

    def refuse(self, waiting: Waiting, causes: tuple[Cause, ...]) -> bool:
        """It does not fit into the room as it was when it was tried; whether that is news."""
        self._fresh.pop(waiting.uid, None)
        news = waiting.causes != causes
        waiting.causes = causes
        return news

    def place(self, uid: str, now: float) -> Place | None:
        """Its place among those that wait for room in the same pool; None for one that does not. May be a second old."""
        waiting = self._waiting.get(uid)
        if waiting is None or not waiting.causes:
            return None
        if now >= self._places_until:
            self._places = _places(self._waiting.values())
            self._places_until = now + REFRESH_SECONDS
        queue = self._places.setdefault(waiting.causes[0].pool, {})
        return queue.setdefault(uid, len(queue) + 1), len(queue)


def _places(waiting: Iterable[Waiting]) -> dict[str, dict[str, int]]:
    queues: dict[str, dict[str, int]] = {}
    for item in sorted(waiting, key=lambda item: item.since):
        if item.causes:
            queue = queues.setdefault(item.causes[0].pool, {})
            queue[item.uid] = len(queue) + 1
    return queues

"""What was worked out lately: a dict that forgets by chance once it is full, so that memory does not grow with what there is.

Readers that walk over more than it holds, in the same order every time, would find nothing at all if what came first went
first. So most of what it holds changes slowly, and what is new mostly takes the place of something that was new, too.
"""

import random
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
NEW_SHARE: Final = 4
"""One in as many places is for what is new."""
STAYS_SHARE: Final = 8
"""One in as many new values may take any place."""


class Recent(Generic[K, V]):
    """Keeps at most ``maximum`` values, the newest one always."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._held: dict[K, tuple[int, V]] = {}  # with its place
        self._places: list[K] = []
        self._chance = random.Random(0)  # noqa: S311 - no secret

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """What is kept of a key."""
        found = self._held.get(key)
        return None if found is None else found[1]

    def put(self, key: K, value: V) -> V:
        """Keep a value, in place of the one before; gives it back."""
        found = self._held.get(key)
        self._held[key] = (self._place(key) if found is None else found[0]), value
        return value

    def drop(self, key: K) -> None:
        """Forget a key."""
        found = self._held.pop(key, None)
        if found is None:
            return
        last = self._places.pop()
        if last != key:
            self._places[found[0]] = last
            self._held[last] = found[0], self._held[last][1]

    def _place(self, key: K) -> int:
        """A place for a new key; whoever had it is forgotten."""
        if len(self._places) < self._maximum:
            self._places.append(key)
            return len(self._places) - 1
        stays = self._chance.randrange(STAYS_SHARE) == 0
        place = self._chance.randrange(self._maximum if stays else max(1, self._maximum // NEW_SHARE))
        del self._held[self._places[place]]
        self._places[place] = key
        return place

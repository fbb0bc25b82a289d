"""What was worked out lately: a dict that forgets what came first, so that memory does not grow with what there is."""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """Keeps the latest ``maximum`` values."""

    def __init__(self, maximum: int) -> None:
        self._maximum = maximum
        self._held: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._held)

    def get(self, key: K) -> V | None:
        """What is kept of a key."""
        return self._held.get(key)

    def put(self, key: K, value: V) -> V:
        """Keep a value, in place of the one before; gives it back."""
        self._held.pop(key, None)
        self._held[key] = value
        if len(self._held) > self._maximum:
            del self._held[next(iter(self._held))]
        return value

    def drop(self, key: K) -> None:
        """Forget a key."""
        self._held.pop(key, None)

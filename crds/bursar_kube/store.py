"""What an informer holds: objects by key, with indices that follow every change."""

from collections.abc import Callable, Hashable, Iterable, Iterator, KeysView, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace ("" for kinds of the whole cluster) and name."""
Index = Callable[[T], Iterable[Hashable]]


@dataclass(frozen=True, slots=True)
class Held(Generic[T]):
    """One object and the resource version it was seen at."""

    version: str
    item: T


class Store(Generic[T]):
    """Objects by key. Changes go through `put` and `remove`, so that indices never lag."""

    def __init__(self, indices: Mapping[str, Index[T]]) -> None:
        self._held: dict[Key, Held[T]] = {}
        self._functions = dict(indices)
        self._indices: dict[str, dict[Hashable, dict[Key, T]]] = {name: {} for name in indices}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return iter([held.item for held in self._held.values()])

    def get(self, key: Key) -> Held[T] | None:
        """The object under `key`."""
        return self._held.get(key)

    def keys(self) -> KeysView[Key]:
        """Every key."""
        return self._held.keys()

    def by_index(self, index: str, key: Hashable) -> list[T]:
        """The objects for which the index function gave `key`."""
        return list(self._indices[index].get(key, {}).values())

    def put(self, key: Key, held: Held[T]) -> None:
        """Hold an object in place of what was there."""
        self.remove(key)
        self._held[key] = held
        for name, function in self._functions.items():
            for value in function(held.item):
                self._indices[name].setdefault(value, {})[key] = held.item

    def remove(self, key: Key) -> None:
        """Forget an object; nothing happens when it is not there."""
        held = self._held.pop(key, None)
        if held is None:
            return
        for name, function in self._functions.items():
            index = self._indices[name]
            for value in function(held.item):
                entries = index.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del index[value]

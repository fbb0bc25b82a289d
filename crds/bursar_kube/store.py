"""What an informer holds: objects by key, with indices that follow every change."""

from collections.abc import Callable, Hashable, Iterable, Iterator, KeysView, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

from bursar_kube.packed import Packing

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace ("" for kinds of the whole cluster) and name."""
Index = Callable[[T], Iterable[Hashable]]
_NO_ONE: Final[Mapping[Key, None]] = {}


class Held(NamedTuple, Generic[T]):
    """One object and the resource version it was seen at."""

    version: str
    item: T


class Store(Generic[T]):
    """Objects by key. Changes go through `put` and `remove`, so that indices never lag.

    With a `packing` they are held packed, and each look gives a fresh object.
    """

    def __init__(self, indices: Mapping[str, Index[T]], packing: Packing | None = None) -> None:
        self._held: dict[Key, tuple[str, Any]] = {}
        self._packing = packing
        self._functions = dict(indices)
        self._indices: dict[str, dict[Hashable, dict[Key, None]]] = {name: {} for name in indices}

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[T]:
        return self._items(list(self._held))

    def get(self, key: Key) -> Held[T] | None:
        """The object under `key`."""
        held = self._held.get(key)
        return None if held is None else Held(held[0], self._item(held[1]))

    def version(self, key: Key) -> str | None:
        """The version of the object under `key`."""
        held = self._held.get(key)
        return None if held is None else held[0]

    def keys(self) -> KeysView[Key]:
        """Every key."""
        return self._held.keys()

    def by_index(self, index: str, key: Hashable) -> Iterator[T]:
        """The objects for which the index function gave `key`, one after the other; what goes meanwhile is left out."""
        return self._items(self.keys_by_index(index, key))

    def keys_by_index(self, index: str, key: Hashable) -> list[Key]:
        """Their keys."""
        return list(self._indices[index].get(key, _NO_ONE))

    def put(self, key: Key, version: str, item: T) -> None:
        """Hold an object in place of what was there."""
        self.remove(key)
        self._held[key] = version, (item if self._packing is None else self._packing.pack(item))
        for name, function in self._functions.items():
            for value in function(item):
                self._indices[name].setdefault(value, {})[key] = None

    def remove(self, key: Key) -> None:
        """Forget an object; nothing happens when it is not there."""
        held = self._held.pop(key, None)
        if held is None or not self._functions:
            return
        item = self._item(held[1])
        for name, function in self._functions.items():
            index = self._indices[name]
            for value in function(item):
                entries = index.get(value)
                if entries is not None:
                    entries.pop(key, None)
                    if not entries:
                        del index[value]

    def _items(self, keys: Iterable[Key]) -> Iterator[T]:
        for key in keys:
            held = self._held.get(key)
            if held is not None:
                yield self._item(held[1])

    def _item(self, held: Any) -> T:
        item: T = held if self._packing is None else self._packing.unpack(held)
        return item

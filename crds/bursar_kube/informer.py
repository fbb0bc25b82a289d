"""A local copy of one kind that follows the API server: WatchList into a store, resumed for ever.

A broken, silent or expired watch is normal. The copy keeps answering while it is being mended; `last_event_age` says how old
it may be. Subscribers see each change at least once and must not depend on seeing every step in between.
"""

import asyncio
import gc
import random
import time
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, aclosing, contextmanager, suppress
from sys import intern
from types import TracebackType
from typing import Any, Final, Generic, Literal, Self, TypeVar, overload

import structlog

from bursar_kube.client import SILENCE_SECONDS, WATCH_SECONDS, Events, Kube, Obj
from bursar_kube.errors import Gone, Invalid, KubeError
from bursar_kube.packed import Packing
from bursar_kube.resources import ResourceType
from bursar_kube.store import Index, Key, Store

T = TypeVar("T")
EventType = Literal["ADDED", "MODIFIED", "DELETED"]
Callback = Callable[[EventType, T | None, T | None], None]
"""Called with the type, the object before (None when added) and the object now (None when deleted)."""

TOLD_AT_ONCE: Final = 1_000
# Bookmarks are no measure after a cut: a new watch may get its first one only after a minute.
CAUGHT_UP_SECONDS: Final = 5.0
INITIAL_EVENTS_END: Final = "k8s.io/initial-events-end"
_FIRST_BACKOFF = 0.2
_LAST_BACKOFF = 10.0
_LOG = structlog.get_logger("bursar.informer")


class Informer(Generic[T]):
    """Holds every object of `rt`, each as a dict without managedFields or as what `transform` makes of it.

    `indices` maps names to functions that give the keys of an object, for `by_index`. `packed` is for kinds of which there are
    many: the objects are held as compressed JSON, and each look gives a fresh dict (some microseconds, a tenth of the memory).
    """

    @overload
    def __init__(
        self: "Informer[Obj]",
        kube: Kube,
        rt: ResourceType,
        namespace: str | None = None,
        *,
        transform: None = None,
        packed: bool = False,
        indices: Mapping[str, Index[Obj]] | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        watch_seconds: int = WATCH_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None: ...

    @overload
    def __init__(
        self: "Informer[T]",
        kube: Kube,
        rt: ResourceType,
        namespace: str | None = None,
        *,
        transform: Callable[[Obj], T],
        indices: Mapping[str, Index[T]] | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        watch_seconds: int = WATCH_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None: ...

    def __init__(
        self,
        kube: Kube,
        rt: ResourceType,
        namespace: str | None = None,
        *,
        transform: Callable[[Obj], Any] | None = None,
        packed: bool = False,
        indices: Mapping[str, Index[Any]] | None = None,
        label_selector: str | None = None,
        field_selector: str | None = None,
        watch_seconds: int = WATCH_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.rt = rt
        self._kube = kube
        self._namespace = namespace
        self._transform: Callable[[Obj], Any] = transform or _as_it_is
        self._indices = indices or {}
        self._packing = Packing() if packed else None
        self._store = self._empty()
        self._selectors = {"label_selector": label_selector, "field_selector": field_selector}
        self._watch_seconds = watch_seconds
        self._silence_seconds = silence_seconds
        self._callbacks: list[Callback[T]] = []
        self._version: str | None = None
        self._streams_lists = True
        self._released = asyncio.Event()
        self._released.set()
        self._telling = False
        self._synced = asyncio.Event()
        self._heard = float("-inf")  # when the copy in use was brought on
        self._taken_up = float("inf")  # when the watch of now went on with it
        self._task: asyncio.Task[None] | None = None
        self.last_error: KubeError | None = None

    async def start(self) -> None:
        """Begin to follow; returns at once, `synced` waits for the first full copy."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"informer {self.rt.plural}")

    def hold(self) -> None:
        """Read, but tell nobody of a full copy, and count as not synced, until `release`: subscribers wait for other reads."""
        self._released.clear()

    def release(self) -> None:
        """Tell."""
        self._released.set()

    async def stop(self) -> None:
        """Stop following; the copy stays readable."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def __aenter__(self) -> Self:
        await self.start()
        await self.synced()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def synced(self, timeout: float | None = None) -> None:
        """Wait for the first full copy; TimeoutError after `timeout` seconds."""
        async with asyncio.timeout(timeout):
            await self._synced.wait()

    @property
    def is_synced(self) -> bool:
        """Whether there is a full copy."""
        return self._synced.is_set()

    @property
    def last_event_age(self) -> float:
        """Seconds since the copy in use was brought on, which happens once a minute when nothing changes.

        That a watch begins says nothing yet, nor does what comes for a copy that is not in use.
        """
        return time.monotonic() - self._last_heard()

    def _last_heard(self) -> float:
        """What was missed comes as soon as a watch is taken up again: one that goes on for a while was up to date then."""
        caught_up = time.monotonic() - self._taken_up > CAUGHT_UP_SECONDS
        return max(self._heard, self._taken_up) if caught_up else self._heard

    def get(self, namespace: str | None, name: str) -> T | None:
        """One object; `namespace` is None or "" for kinds of the whole cluster."""
        held = self._store.get((namespace or "", name))
        return None if held is None else held.item

    def version(self, namespace: str | None, name: str) -> str | None:
        """The resource version that the copy has of an object, to compare with one's own writes for equality."""
        return self._store.version((namespace or "", name))

    def items(self) -> list[T]:
        """Every object."""
        return list(self._store)

    def by_index(self, index: str, key: Hashable) -> list[T]:
        """The objects under `key` of an index."""
        return list(self._store.by_index(index, key))

    def each(self) -> Iterator[T]:
        """Every object, one after the other; those that go meanwhile are left out."""
        return iter(self._store)

    def each_by_index(self, index: str, key: Hashable) -> Iterator[T]:
        """As `by_index`, one after the other: of many packed objects only one is there at a time."""
        return self._store.by_index(index, key)

    def keys_by_index(self, index: str, key: Hashable) -> list[Key]:
        """Namespace and name of what `by_index` would give, without a look at it."""
        return self._store.keys_by_index(index, key)

    def __len__(self) -> int:
        return len(self._store)

    def subscribe(self, callback: Callback[T]) -> None:
        """Call back on every change; what is there already is ADDED at once."""
        self._callbacks.append(callback)
        if self.is_synced or self._telling:
            for item in self._store:
                self._call(callback, "ADDED", None, item)

    async def _run(self) -> None:
        backoff = _FIRST_BACKOFF
        while True:
            began = time.monotonic()
            wait = 0.0
            try:
                await self._follow()
                self.last_error = None
            except Gone:
                self._version = None
            except KubeError as error:
                wait = self._after_error(error)
            except Exception:
                _LOG.exception("the copy cannot follow; it begins anew", kind=self.rt.kind)
                self._version = None
            if time.monotonic() - began > _LAST_BACKOFF:
                backoff = _FIRST_BACKOFF
            await asyncio.sleep(max(wait, backoff * random.uniform(0.5, 1.0)))  # noqa: S311 - jitter
            backoff = min(backoff * 2, _LAST_BACKOFF)

    def _after_error(self, error: KubeError) -> float:
        if isinstance(error, Invalid) and self._version is None and self._streams_lists:
            self._streams_lists = False  # an API server without WatchList
            return 0.0
        self.last_error = error
        _LOG.warning("watch broken", kind=self.rt.kind, error=str(error))
        return error.retry_after or 0.0

    async def _follow(self) -> None:
        """One watch, from the first object or from where the last one ended, until the server ends it."""
        if self._version is None and not self._streams_lists:
            await self._list()
        with ExitStack() as loading:
            fresh: Store[T] | None = None
            if self._version is None:
                fresh = self._empty()
                loading.enter_context(_collector_paused())
            try:
                async with aclosing(self._watch()) as stream:
                    async for batch in stream:
                        changes = batch if fresh is None else await self._load(fresh, batch)
                        if changes is not None:
                            fresh = None
                            loading.close()
                            self._apply(changes)
            finally:
                self._heard, self._taken_up = self._last_heard(), float("inf")

    def _watch(self) -> AsyncGenerator[Events, None]:
        return self._kube.watch(
            self.rt,
            self._namespace,
            resource_version=self._version,
            seconds=self._watch_seconds,
            silence_seconds=self._silence_seconds,
            **self._selectors,
        )

    async def _load(self, fresh: Store[T], batch: Events) -> Events | None:
        """Collect a first copy; what came after its end, or None while there is more to come."""
        for position, (kind, obj) in enumerate(batch):
            if kind == "DELETED":
                fresh.remove(_key(obj))
            elif kind != "BOOKMARK":
                fresh.put(_key(obj), *self._held(obj))
            elif INITIAL_EVENTS_END in obj["metadata"].get("annotations", {}):
                await self._replace(fresh, obj["metadata"]["resourceVersion"])
                return batch[position + 1 :]
        return None

    async def _list(self) -> None:
        with _collector_paused():
            items, version = await self._kube.list_versioned(self.rt, self._namespace, **self._selectors)
            fresh = self._empty()
            for obj in items:
                fresh.put(_key(obj), *self._held(obj))
            await self._replace(fresh, version)

    def _empty(self) -> Store[T]:
        return Store(self._indices, self._packing)

    def _held(self, obj: Obj) -> tuple[str, T]:
        """Version and what is held."""
        metadata = obj["metadata"]
        metadata.pop("managedFields", None)
        return metadata["resourceVersion"], self._transform(obj)

    async def _replace(self, fresh: Store[T], version: str) -> None:
        """Take a full copy for the present one and tell subscribers the difference, making way for others now and then."""
        await self._released.wait()
        before, self._store, self._telling = self._store, fresh, True
        try:
            await self._tell_difference(before, fresh)
        except asyncio.CancelledError:
            self._store = before  # what was not told yet is told when it is followed again
            raise
        finally:
            self._telling = False
        self._heard = time.monotonic()
        self._version = version
        self._synced.set()

    async def _tell_difference(self, before: Store[T], now: Store[T]) -> None:
        for key in before.keys() - now.keys():
            self._tell("DELETED", _item(before, key), None)
        for number, key in enumerate(list(now.keys()) if self._callbacks else ()):
            if number % TOLD_AT_ONCE == TOLD_AT_ONCE - 1:
                await asyncio.sleep(0)
            known = before.version(key)
            if known != now.version(key):
                self._tell("ADDED" if known is None else "MODIFIED", _item(before, key), _item(now, key))

    def _apply(self, batch: Events) -> None:
        self._taken_up = min(self._taken_up, time.monotonic())
        for kind, obj in batch:
            if kind == "DELETED":
                self._remove(_key(obj), self._held(obj)[1])
            elif kind != "BOOKMARK":
                self._put(_key(obj), *self._held(obj))
            self._version = obj["metadata"]["resourceVersion"]
            self._heard = time.monotonic()

    def _put(self, key: Key, version: str, item: T) -> None:
        before = self._store.get(key)
        if before is not None and before.version == version:
            return
        self._store.put(key, version, item)
        self._tell("ADDED" if before is None else "MODIFIED", None if before is None else before.item, item)

    def _remove(self, key: Key, last: T) -> None:
        if self._store.version(key) is not None:
            self._store.remove(key)
            self._tell("DELETED", last, None)

    def _tell(self, kind: EventType, old: T | None, new: T | None) -> None:
        for callback in self._callbacks:
            self._call(callback, kind, old, new)

    def _call(self, callback: Callback[T], kind: EventType, old: T | None, new: T | None) -> None:
        try:
            callback(kind, old, new)
        except Exception:
            _LOG.exception("a subscriber failed", kind=self.rt.kind, change=kind)


def _key(obj: Obj) -> Key:
    metadata = obj["metadata"]
    return intern(metadata.get("namespace", "")), metadata["name"]


def _item(store: Store[T], key: Key) -> T | None:
    held = store.get(key)
    return None if held is None else held.item


def _as_it_is(obj: Obj) -> Obj:
    return obj


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Parsing a full copy takes twice as long while the garbage collector looks at it again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()

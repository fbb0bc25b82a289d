"""A keyed work queue: each key waits once, is worked on by one worker at a time, and comes back slower while it fails."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Generic, Literal, TypeVar

import structlog

from bursar_kube.errors import KubeError

K = TypeVar("K", bound=Hashable)
Outcome = Literal["done", "again", "failed"]
Reconcile = Callable[[K], Awaitable[float | None]]
"""Brings one key to what it should be. A number asks to be called again after as many seconds; an exception backs off."""
Hook = Callable[[K, float, Outcome], None]
"""Told after each call: the key, how many seconds it took, and how it ended."""

FIRST_BACKOFF: Final = 0.1
LAST_BACKOFF: Final = 60.0
_LOG = structlog.get_logger("bursar.queue")


class WorkQueue(Generic[K]):
    """First come, first served. `add` a key from anywhere in the loop; `run` works on them until it is cancelled."""

    def __init__(self, name: str = "queue", *, hook: Hook[K] | None = None) -> None:
        self.name = name
        self._hook = hook
        self._waiting: dict[K, float] = {}  # in the order of arrival, with the time of it
        self._dirty: dict[K, float] = {}  # added while in flight: wait again as soon as the call ends
        self._working: set[K] = set()
        self._failures: dict[K, int] = {}
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def depth(self) -> int:
        """Keys that wait to be worked on now (not those that come back later)."""
        return len(self._waiting) + len(self._dirty)

    @property
    def in_flight(self) -> int:
        """Keys that are being worked on."""
        return len(self._working)

    @property
    def delayed(self) -> int:
        """Keys that come back at a later time."""
        return len(self._timers)

    @property
    def oldest_age(self) -> float:
        """Seconds that the longest waiting key has waited; 0 when none waits."""
        since = [next(iter(group.values())) for group in (self._waiting, self._dirty) if group]
        return time.monotonic() - min(since) if since else 0.0

    def add(self, key: K) -> None:
        """Have the key worked on once, as soon as a worker is free; again when it is being worked on now."""
        group = self._dirty if key in self._working else self._waiting
        group.setdefault(key, time.monotonic())
        self._idle.clear()
        self._wake.set()

    def add_after(self, key: K, seconds: float) -> None:
        """Have the key worked on in `seconds`; of several such wishes the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    def forget(self, key: K) -> None:
        """Drop what is planned for a key that is gone: its later call and its count of failures."""
        self._failures.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def idle(self) -> None:
        """Wait until nothing waits and nothing is in flight."""
        await self._idle.wait()

    async def run(self, worker_count: int, reconcile: Reconcile[K]) -> None:
        """Work with `worker_count` workers until cancelled; then drop the timers."""
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(worker_count):
                    group.create_task(self._work(reconcile), name=f"{self.name} worker {number}")
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self, reconcile: Reconcile[K]) -> None:
        while True:
            key = await self._take()
            began = time.monotonic()
            outcome: Outcome = "failed"
            try:
                outcome = await self._call(key, reconcile)
            finally:
                self._finish(key)
            if self._hook is not None:
                self._hook(key, time.monotonic() - began, outcome)

    async def _take(self) -> K:
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key = next(iter(self._waiting))
        del self._waiting[key]
        self._working.add(key)
        return key

    async def _call(self, key: K, reconcile: Reconcile[K]) -> Outcome:
        try:
            again = await reconcile(key)
        except Exception as error:
            self._back_off(key, error)
            return "failed"
        self._failures.pop(key, None)
        if again is None:
            return "done"
        self.add_after(key, again)
        return "again"

    def _back_off(self, key: K, error: Exception) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = min(FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), LAST_BACKOFF) * random.uniform(0.8, 1.0)  # noqa: S311 - jitter
        known = isinstance(error, KubeError)
        if isinstance(error, KubeError) and error.retry_after:
            seconds = max(seconds, error.retry_after)
        log = _LOG.bind(queue=self.name, key=str(key), failures=failures, again_in_seconds=round(seconds, 1))
        if known:
            log.warning("work failed", error=str(error))
        else:
            log.error("work failed", error=str(error), exc_info=error)
        self.add_after(key, seconds)

    def _finish(self, key: K) -> None:
        self._working.discard(key)
        since = self._dirty.pop(key, None)
        if since is not None:
            self._waiting[key] = since
            self._wake.set()
        if not self._waiting and not self._working:
            self._idle.set()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

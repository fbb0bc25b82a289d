"""Writes the history down while it happens, until it is asked to stop: then up to the revision of that moment."""

import asyncio
import signal
import time
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import BinaryIO

import orjson

from bursar_testing.checker.etcd import Files, Gap, Store
from bursar_testing.checker.history import ALLOCATIONS, POOLS
from bursar_testing.checker.ledgertables import Tables

POLL_SECONDS = 0.2
DRAIN_SECONDS = 60.0


class Recorder:
    """One recording. `run` returns whether nothing was missed."""

    def __init__(self, store: Store, tables: Tables, output: BinaryIO) -> None:
        self._store = store
        self._tables = tables
        self._output = output
        self._missed = False

    async def run(self, stop: asyncio.Event) -> bool:
        """Record until `stop`, then everything up to now."""
        watching = asyncio.create_task(self._watch(), name="watch")
        renewals = asyncio.create_task(self._follow_lease(), name="lease")
        polling = asyncio.create_task(self._poll(stop), name="poll")
        await asyncio.wait({watching, polling}, return_when=asyncio.FIRST_COMPLETED)
        if not watching.done():
            await self._drain(watching)
        for task in (watching, polling, renewals):
            task.cancel()
        await asyncio.gather(watching, polling, renewals, return_exceptions=True)
        self._output.flush()
        return not self._missed

    async def _watch(self) -> None:
        try:
            async with aclosing(self._store.writes()) as writes:
                async for write in writes:
                    if write.key.split("/", 1)[0] in (POOLS, ALLOCATIONS):
                        value = None if write.value is None else _lean(write.value)
                        self._put({"kind": "version", "revision": write.revision, "key": write.key, "object": value})
        except Gap as error:
            self._missed = True
            self._put({"kind": "gap", "words": str(error)})

    async def _follow_lease(self) -> None:
        async with aclosing(self._store.renewals()) as renewals:
            async for revision in renewals:
                self._put({"kind": "lease", "revision": revision})

    async def _poll(self, stop: asyncio.Event) -> None:
        last = False
        while not last:
            last = stop.is_set()
            low = await self._store.revision()
            news = await asyncio.to_thread(self._tables.look)
            high = await self._store.revision()
            self._put({"kind": "poll", "low": low, "high": high, **news.as_json()})
            try:
                await asyncio.wait_for(stop.wait(), POLL_SECONDS)
            except TimeoutError:
                continue

    async def _drain(self, watching: "asyncio.Task[None]") -> None:
        """Until the watch has shown all that the store holds."""
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not watching.done() and not await self._store.is_caught_up():  # noqa: ASYNC110 - the store has no event for it
                    await asyncio.sleep(0.05)
        except TimeoutError:
            self._missed = True
            self._put({"kind": "gap", "words": f"the watch does not catch up with the store in {DRAIN_SECONDS:.0f} s"})

    def _put(self, line: Mapping[str, object]) -> None:
        self._output.write(orjson.dumps({**line, "at": time.time()}) + b"\n")


def _lean(value: Mapping[str, object]) -> dict[str, object]:
    """Without what no check looks at and half of it is."""
    metadata = value["metadata"]
    kept = {name: item for name, item in metadata.items() if name != "managedFields"} if isinstance(metadata, dict) else {}
    return {**value, "metadata": kept}


async def record(url: str, files: Files, ledger: Path, history: Path) -> bool:
    """Record until SIGTERM or SIGINT; whether nothing was missed."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    store, tables = Store(url, files), Tables(ledger)
    try:
        with history.open("wb") as output:
            return await Recorder(store, tables, output).run(stop)
    finally:
        tables.close()
        await store.close()

"""Writes without pause through the API server, as the people do who must not notice anything."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS
from bursar_testing.webhooks import fitting_allocation


@dataclass
class Written:
    """How many creates were let through, and what was said of the others."""

    count: int = 0
    failures: list[str] = field(default_factory=list)

    async def more(self, number: int = 10) -> None:
        """Wait until so many more were written."""
        aim = self.count + number
        async with asyncio.timeout(30):
            while self.count < aim:  # noqa: ASYNC110 - the writers count
                await asyncio.sleep(0.01)


@asynccontextmanager
async def steady_writes(kube: Kube, writers: int = 4) -> AsyncIterator[Written]:
    """Creates, dry so that nothing has to be cleared away: the webhook is asked all the same."""
    written = Written()
    tasks = [asyncio.create_task(_write(kube, written)) for _ in range(writers)]
    try:
        yield written
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _write(kube: Kube, written: Written) -> None:
    while True:
        try:
            await kube.create(ALLOCATIONS, fitting_allocation(), dry_run=True)
            written.count += 1
        except KubeError as error:
            written.failures.append(str(error))
        await asyncio.sleep(0.005)

"""Somebody who makes pools larger and smaller while others draw on them, also smaller than what is granted."""

import asyncio
from random import Random
from typing import Final

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import QUOTAPOOLS
from bursar_testing.racing import field
from bursar_testing.racing.field import Pool

PAUSE_SECONDS: Final = 2.0
RESTORE_SECONDS: Final = 60.0


class Allocator:
    """`run` goes on until cancelled; `restore` gives every pool the hours that it had."""

    def __init__(self, kube: Kube, seed: int) -> None:
        self._kube = kube
        self._random = Random(f"{seed}/allocator")

    async def run(self) -> None:
        """One change after the other."""
        while True:
            pool = self._random.choice(field.POOLS)
            await self._try(pool, self._random.uniform(0.5, 1.0))
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_SECONDS))

    async def restore(self) -> None:
        """Parents first, for no child may be larger; a webhook that has not heard of the parent yet is asked again."""
        for pool in field.POOLS:
            async with asyncio.timeout(RESTORE_SECONDS):
                while not await self._try(pool, 1.0):  # noqa: ASYNC110 - it tells nobody
                    await asyncio.sleep(0.2)

    async def _try(self, pool: Pool, share: float) -> bool:
        hours = {name: int(amount * share) for name, amount in pool.hours.items()}
        try:
            await self._kube.merge_patch(QUOTAPOOLS, pool.name, {"spec": {"resources": field.listed(hours)}})
        except KubeError:
            return False
        return True

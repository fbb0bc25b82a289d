"""Somebody who makes pools larger and smaller while others draw on them, also smaller than what is granted."""

import asyncio
from contextlib import suppress
from random import Random
from typing import Final

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import QUOTAPOOLS
from bursar_testing.racing import field
from bursar_testing.racing.field import Pool

PAUSE_SECONDS: Final = 2.0


class Allocator:
    """`run` goes on until cancelled; `restore` gives every pool the hours that it had."""

    def __init__(self, kube: Kube, seed: int) -> None:
        self._kube = kube
        self._random = Random(f"{seed}/allocator")

    async def run(self) -> None:
        """One change after the other."""
        while True:
            pool = self._random.choice(field.POOLS)
            with suppress(KubeError):
                await self._set(pool, self._random.uniform(0.5, 1.0))
            await asyncio.sleep(self._random.uniform(0, 2 * PAUSE_SECONDS))

    async def restore(self) -> None:
        """Parents first, for no child may be larger."""
        for pool in field.POOLS:
            await self._set(pool, 1.0)

    async def _set(self, pool: Pool, share: float) -> None:
        hours = {name: int(amount * share) for name, amount in pool.hours.items()}
        await self._kube.merge_patch(QUOTAPOOLS, pool.name, {"spec": {"resources": field.listed(hours)}})

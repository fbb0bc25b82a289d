"""Clients of the API server that stop answering: as a paused process does, or one that dies beside a certain write."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from bursar_kube.client import Events, Kube
from bursar_kube.errors import KubeError, Unavailable
from bursar_kube.resources import ResourceType

Obj = dict[str, Any]


class PausedKube(Kube):
    """Waits with every call, and with everything that a watch brings, while `running` is not set."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.running = asyncio.Event()
        self.running.set()

    async def raw(self, method: str, path: str, body: Obj | None = None, **settings: Any) -> Obj:
        """The call, once this process runs again."""
        await self.running.wait()
        return await super().raw(method, path, body, **settings)

    async def watch(self, rt: ResourceType, namespace: str | None = None, **settings: Any) -> AsyncGenerator[Events, None]:
        """Events, held back while this process is paused."""
        async for events in super().watch(rt, namespace, **settings):
            await self.running.wait()
            yield events


class MortalKube(Kube):
    """Hears nothing any more from its `lives`-th write on, which `lands` or does not."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.lives = 1_000_000
        self.lands = True
        self.dead = asyncio.Event()

    async def raw(
        self, method: str, path: str, body: Obj | None = None, *, query: Mapping[str, str] | None = None, **settings: Any
    ) -> Obj:
        """The call, unless this process is dead."""
        if method == "PUT":
            self.lives -= 1
        if self.lives > 0:
            return await super().raw(method, path, body, query=query, **settings)
        if self.lives == 0 and method == "PUT" and self.lands:
            await super().raw(method, path, body, query=query, **settings)
        self.dead.set()
        await asyncio.Event().wait()
        raise AssertionError("a dead process does not go on")


class DeafKube(Kube):
    """Its next `refusals` writes fail as if the API server were away, or with the error that is given."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.refusals = 0
        self.error: KubeError = Unavailable("nobody answers")

    async def raw(self, method: str, path: str, body: Obj | None = None, **settings: Any) -> Obj:
        """The call, unless it is refused."""
        if method != "GET" and self.refusals > 0:
            self.refusals -= 1
            raise self.error
        return await super().raw(method, path, body, **settings)

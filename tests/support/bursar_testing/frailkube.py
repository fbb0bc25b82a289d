"""Clients of the API server that stop answering: as a paused process does, or one that dies beside a certain write."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, NoReturn

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


Hook = Callable[[], Awaitable[None]]


class HookedKube(Kube):
    """Does something else, once, right before a call begins or right after it was answered; watches tell nothing meanwhile."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.before: dict[tuple[str, str], Hook] = {}
        self.after: dict[tuple[str, str], Hook] = {}
        self.hears = asyncio.Event()
        self.hears.set()

    async def raw(self, method: str, path: str, body: Obj | None = None, **settings: Any) -> Obj:
        """The call, with what belongs to it."""
        await self._once(self.before, method, path)
        answer = await super().raw(method, path, body, **settings)
        await self._once(self.after, method, path)
        return answer

    async def watch(self, rt: ResourceType, namespace: str | None = None, **settings: Any) -> AsyncGenerator[Events, None]:
        """Events, held back while it does not hear."""
        async for events in super().watch(rt, namespace, **settings):
            await self.hears.wait()
            yield events

    async def turn_deaf(self) -> None:
        """Hear nothing more."""
        self.hears.clear()

    async def _once(self, hooks: dict[tuple[str, str], Hook], method: str, path: str) -> None:
        hook = hooks.pop((method, path), None)
        if hook is not None:
            await hook()


class Life:
    """A process that dies beside its next `lives`-th write, which `lands` or does not. `writes` counts all of them."""

    def __init__(self, lives: int = 1_000_000, *, lands: bool = True) -> None:
        self.lives = lives
        self.lands = lands
        self.writes = 0
        self.dead = asyncio.Event()

    def may_write(self) -> bool:
        """Count a write; whether it happens."""
        if self.dead.is_set():
            return False
        self.writes += 1
        self.lives -= 1
        if self.lives == 0:
            self.dead.set()
            return self.lands
        return True

    async def ended(self) -> NoReturn:
        """What the dead hear: nothing, for ever."""
        await asyncio.Event().wait()
        raise AssertionError("a dead process does not go on")


class MortalKube(Kube):
    """Writes, and hears, as long as its `life` lasts. Events are no part of any protocol and count for nothing."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.life = Life()

    async def raw(self, method: str, path: str, body: Obj | None = None, **settings: Any) -> Obj:
        """The call, unless this process is dead."""
        writes = method != "GET" and not path.endswith("/events")
        if not (self.life.may_write() if writes else not self.life.dead.is_set()):
            await self.life.ended()
        answer = await super().raw(method, path, body, **settings)
        if self.life.dead.is_set():
            await self.life.ended()
        return answer


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

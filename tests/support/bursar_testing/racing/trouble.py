"""What goes wrong while the race runs: a script of troubles, one after the other, and an API server that fails at random."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random
from typing import Final

from bursar_kube.client import Kube
from bursar_kube.resources import QUOTAPOOLS
from bursar_testing.faultplan import Fault
from bursar_testing.faultproxy import FaultProxy
from bursar_testing.racing.operators import Operators
from bursar_testing.racing.webhooks import Webhooks

LONG_PAUSE_SECONDS: Final = 13.0
"""Longer than a Lease holds: whoever wakes up after it leads no more."""
SHORT_PAUSE_SECONDS: Final = 3.0
ENOUGH: Final = 20
BREATH_SECONDS: Final = 30.0
CHANCES: Final = {
    Fault.TOO_MANY: 0.01,
    Fault.FAILING: 0.01,
    Fault.CONFLICT: 0.02,
    Fault.LOST_BEFORE: 0.01,
    Fault.LOST_AFTER: 0.02,
    Fault.RESENT: 0.005,
    Fault.RESET: 0.01,
    Fault.SLOW: 0.02,
    Fault.CUT: 0.2,
    Fault.EXPIRED: 0.1,
    Fault.LATE: 0.2,
}
SHORT_SCRIPT: Final = ("kill", "webhook down", "cut", "hand over", "freeze", "storm")
"""Enough for every kind of trouble once; the longest is `freeze`."""


class Trouble:
    """Names of troubles are those of the methods; `done` counts how often each happened."""

    def __init__(
        self, kube: Kube, operators: Operators, webhooks: Webhooks, proxy: FaultProxy, seed: int, is_busy: Callable[[], bool]
    ) -> None:
        self.done: dict[str, int] = {}
        self._kube = kube
        self._is_busy = is_busy
        self._operators = operators
        self._webhooks = webhooks
        self._proxy = proxy
        self._random = Random(f"{seed}/trouble")
        self._kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "kill": self._kill,
            "hand over": self._hand_over,
            "freeze": self._freeze,
            "nap": self._nap,
            "webhook down": self._webhook_down,
            "webhook naps": self._webhook_naps,
            "no webhook": self._no_webhook,
            "cut": self._cut,
            "storm": self._storm,
        }

    async def follow(self, script: Sequence[str]) -> None:
        """Each trouble of the script once."""
        for kind in script:
            await self._have(kind)

    async def go_on(self) -> None:
        """Any trouble, until cancelled."""
        while True:
            await self._have(self._random.choice(list(self._kinds)))

    async def _have(self, kind: str) -> None:
        await self._kinds[kind]()
        self.done[kind] = self.done.get(kind, 0) + 1
        await asyncio.sleep(self._random.uniform(0.3, 1.5))
        await self._breathe()

    async def _breathe(self) -> None:
        """Let whoever leads decide something, however slow the machine is: else nothing is at stake."""
        before = await self._decided()
        with suppress(TimeoutError):
            async with asyncio.timeout(BREATH_SECONDS):
                while self._is_busy() and await self._decided() < before + ENOUGH:  # noqa: ASYNC110 - another process's doing
                    await asyncio.sleep(0.1)

    async def _decided(self) -> int:
        """Operations that were ever opened in the trees."""
        return sum((pool.get("status") or {}).get("sequence") or 0 for pool in await self._kube.list(QUOTAPOOLS))

    async def _kill(self) -> None:
        """The leader dies; the other one takes over once the Lease has run out."""
        leader = await self._operators.led()
        leader.child.kill()
        await self._operators.led()

    async def _hand_over(self) -> None:
        """The leader is asked to go."""
        leader = await self._operators.led()
        leader.child.terminate()
        await leader.child.wait()
        await self._operators.led()

    async def _freeze(self) -> None:
        """The leader stands still for longer than its Lease holds, and wakes up beside the next one."""
        await self._operators.pause(await self._operators.led(), LONG_PAUSE_SECONDS)
        await self._operators.led()

    async def _nap(self) -> None:
        """The leader stands still, and leads on."""
        await self._operators.pause(await self._operators.led(), SHORT_PAUSE_SECONDS)

    async def _webhook_down(self) -> None:
        self._webhooks.kill(self._random.choice(self._webhooks.names))

    async def _webhook_naps(self) -> None:
        await self._webhooks.pause(self._random.choice(self._webhooks.names), SHORT_PAUSE_SECONDS)

    async def _no_webhook(self) -> None:
        for name in self._webhooks.names:
            self._webhooks.kill(name)

    async def _cut(self) -> None:
        self._proxy.cut_watches()

    async def _storm(self) -> None:
        """For a while every third call fails."""
        before = dict(self._proxy.faults.chances)
        self._proxy.faults.chances.update({fault: chance * 4 for fault, chance in before.items()})
        await asyncio.sleep(2.0)
        self._proxy.faults.chances.update(before)

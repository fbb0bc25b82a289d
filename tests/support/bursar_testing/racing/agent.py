"""An agent without a scheduler: it takes what is published, and says a while later that it is done; it reports use, too."""

import asyncio
import secrets
import time
from contextlib import suppress
from random import Random
from typing import Final

from bursar_domain.units import HOUR
from bursar_domain.wire import Hello, SlotReport, StatusReport, UsageReport, UsageRow
from bursar_ledger.errors import Unavailable
from bursar_ledger.ledger import Ledger
from bursar_testing.racing import field

SESSION: Final = "race"
SLOWEST_SECONDS: Final = 0.8
USE_SECONDS: Final = 1.5


class FakeAgent:
    """The agent of one enforced cluster. `run` goes on until cancelled."""

    def __init__(self, ledger: Ledger, cluster: str, seed: int) -> None:
        self.using = True
        self._ledger = ledger
        self._cluster = cluster
        self._random = Random(f"{seed}/agent/{cluster}")
        self._generation = 0
        self._number = 0

    async def hello(self) -> None:
        """Its first word: from now on limits are enforced there, and grants need its answer."""
        said = Hello(session=SESSION, agent_version="1", scheduler="simulator", scheduler_version="1", clock=_now())
        await self._ledger.record_hello(self._cluster, said, _now())

    async def run(self) -> None:
        """Acknowledge, and use hours."""
        used_at = time.monotonic()
        while True:
            # An operator that stands still may hold the ledger's only write lock: a gateway would answer 503 then.
            with suppress(Unavailable):
                await self._acknowledge()
                if self.using and time.monotonic() - used_at > USE_SECONDS:
                    used_at = time.monotonic()
                    await self._use()
            await asyncio.sleep(0.05)

    async def _acknowledge(self) -> None:
        """What was published, as it was when it was read, and some time later."""
        delta = await self._ledger.desired(self._cluster, self._generation)
        if delta is None or (generation := delta.root.root.generation) == self._generation:
            return
        revisions = {item.uid: item.grant_revision for entry in delta.entries for item in entry.allocations}
        await asyncio.sleep(self._random.uniform(0, SLOWEST_SECONDS))
        report = StatusReport(
            report_id=secrets.token_hex(8),
            session=SESSION,
            generation=generation,
            digest="x",
            scheduler_time=_now(),
            enforced_at=_now(),
            acknowledgements=revisions,
        )
        await self._ledger.record_status(self._cluster, report, _now())
        self._generation = generation

    async def _use(self) -> None:
        """Some project has used an hour or a few of the present hour: each report tells all of the slot so far."""
        self._number += 1
        account = f"race-{self._random.randrange(field.PROJECT_COUNT)}"
        quarter = self._random.randrange(1, 6) * HOUR * self._number // 40 + HOUR
        row = UsageRow(user="bob", resource="cpu", allocated=(quarter, 0, 0, 0))
        slot = SlotReport(account=account, hour=_now() // HOUR * HOUR, epoch=1, seq=self._number, rows=(row,))
        report = UsageReport(report_id=secrets.token_hex(8), session=SESSION, slots=(slot,), watermark=None)
        await self._ledger.put_usage(self._cluster, report, _now())


def _now() -> int:
    return int(time.time())

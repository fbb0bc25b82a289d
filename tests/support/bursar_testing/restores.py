"""A ledger in a file and an agent's books beside it, both of which can be put back to an earlier day."""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random

from bursar_agent import recount
from bursar_agent.outbox import first_page, usage_pages
from bursar_agent.recount import Recount
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.units import HOUR
from bursar_domain.wire import SlotReport, UsageReport
from bursar_ledger import Ledger
from bursar_testing.wires import hello, publish_accounts

BASE = 400_000 * HOUR
NOW = BASE + 10**7
EPOCH = 10


class Site:
    """Jobs of two accounts, what the agent counts of them and what the ledger has."""

    def __init__(self, folder: Path, dice: Random) -> None:
        self.folder, self.dice = folder, dice
        self.state = folder / "state"
        self.state.mkdir()
        self.jobs: list[JobUse] = []
        self.hour = self.number = 0
        self.bottom, self.epoch = BASE, EPOCH
        self.reasons: list[str] = []
        self.resume()

    def resume(self) -> None:
        """The agent starts again."""
        self._begin(EPOCH)

    def lose_state(self) -> None:
        """It starts again with nothing."""
        for path in self.state.iterdir():
            path.unlink()
        self.epoch += 5
        self._begin(self.epoch)

    def _begin(self, epoch: int) -> None:
        self.book = UsageBook(self.state, epoch=epoch)
        self.telling = Recount(self.book, most_slots=7)

    async def connect(self) -> None:
        """The ledger opens."""
        self.ledger = await Ledger.connect(f"sqlite:///{self.folder}/ledger.db")
        await publish_accounts(self.ledger, "alpha", "a", "b")
        await self.ledger.record_hello("alpha", hello("s"), NOW)

    def work(self, hours: int = 10, count: int = 12) -> None:
        """Jobs of the hours to come, and a read of their records."""
        for _ in range(count):
            start = BASE + self.hour * HOUR + self.dice.randrange(hours * HOUR)
            end = start + self.dice.randrange(1, 3 * HOUR)
            self._submit(start, end)
        self.hour += hours
        self.read()

    def lead_back(self, hours: int = 2_000) -> None:
        """Use from long before the books began is wanted, too."""
        until, self.bottom = self.bottom, self.bottom - hours * HOUR
        self._submit(self.bottom, self.bottom + 2 * HOUR)
        self.book.record_slice(slots_of(self.jobs), self.bottom, until)

    def _submit(self, start: int, end: int) -> None:
        self.number += 1
        who = self.dice.choice("ab"), self.dice.choice(["ann", "bob"])
        self.jobs.append(JobUse(str(self.number), *who, start, end, {"cpu": 3}))

    def read(self) -> None:
        """All job records."""
        self.book.record(slots_of(self.jobs), self.bottom, BASE + self.hour * HOUR)

    async def deliver(self, most_pages: int = 10**6, *, is_answered: bool = True) -> None:
        """As the agent does it; after so many pages, or with the last page's answer lost, it is cut off."""
        for number, (report, slots) in enumerate(usage_pages(self.book, "s"), 1):
            if not self.book.is_agreed and not await self._send(first_page(self.book, "s"), ()):
                return
            if number >= most_pages and not is_answered:
                await self.ledger.put_usage("alpha", report, NOW)
                return
            if not await self._send(report, slots) or number >= most_pages:
                return

    async def _send(self, report: UsageReport, slots: Sequence[SlotReport]) -> bool:
        receipt = await self.ledger.put_usage("alpha", report, NOW)
        _, why = recount.hear(self.book, report, slots, receipt, self.epoch)
        if why:
            self.reasons.append(why)
        return not why

    async def settle(self, steps: int = 400) -> None:
        """Deliver and tell anew until nothing is left to be told."""
        for _ in range(steps):
            await self.deliver()
            if not await self.telling.step() and self.book.rebuild_from is None and not self.book.unsent:
                return
        raise AssertionError("it does not come to an end")

    async def back_up(self, name: str) -> None:
        """Copy the ledger's file or the agent's state."""
        if name == "ledger":
            await self.ledger.close()
            shutil.copy(self.folder / "ledger.db", self.folder / "backup.db")
            await self.connect()
        else:
            shutil.rmtree(self.folder / "old-state", ignore_errors=True)
            shutil.copytree(self.state, self.folder / "old-state")

    async def restore(self, name: str) -> None:
        """Put that back; ``nothing``: the ledger is made anew."""
        if name == "agent":
            shutil.rmtree(self.state)
            shutil.copytree(self.folder / "old-state", self.state)
            self.resume()
            return
        await self.ledger.close()
        for path in self.folder.glob("ledger.db*"):
            path.unlink()
        if name == "ledger":
            shutil.copy(self.folder / "backup.db", self.folder / "ledger.db")
        await self.connect()

    async def totals(self) -> dict[str, int]:
        """What the ledger has."""
        return {name: use["cpu"] for name, use in (await self.ledger.totals("alpha")).items() if use["cpu"]}

    @property
    def expected(self) -> dict[str, int]:
        """What the jobs used."""
        found: Counter[str] = Counter()
        for job in self.jobs:
            found[job.account] += job.cost("cpu")
        return dict(found)

"""Ledger or agent is put back to an earlier day: everything is told anew, and the ledger has what ran, once."""

import shutil
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from bursar_agent import recount
from bursar_agent.outbox import usage_pages
from bursar_agent.recount import Recount
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import Amounts, JobUse, RowKey, slots_of
from bursar_domain.units import HOUR
from bursar_ledger import Ledger
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, running_agent, soon
from bursar_testing.agentstack import Stack
from bursar_testing.waiting import eventually
from bursar_testing.wires import hello, publish_accounts, slot, usage

BASE = 400_000 * HOUR
NOW = BASE + 10**7
EPOCH = 10


class Site:
    """A ledger in a file and an agent's books, both of which can be put back."""

    def __init__(self, folder: Path, dice: Random) -> None:
        self.folder, self.dice = folder, dice
        self.state = folder / "state"
        self.state.mkdir()
        self.jobs: list[JobUse] = []
        self.hour = 0
        self.reasons: list[str] = []
        self.resume()

    def resume(self) -> None:
        self.book = UsageBook(self.state, epoch=EPOCH)
        self.telling = Recount(self.book, most_slots=7)

    async def connect(self) -> None:
        self.ledger = await Ledger.connect(f"sqlite:///{self.folder}/ledger.db")
        await publish_accounts(self.ledger, "alpha", "a", "b")
        await self.ledger.record_hello("alpha", hello("s"), NOW)

    def work(self, hours: int = 10, count: int = 12) -> None:
        """Jobs of the hours to come, and a read of their records."""
        for _ in range(count):
            start = BASE + self.hour * HOUR + self.dice.randrange(hours * HOUR)
            end = start + self.dice.randrange(1, 3 * HOUR)
            number = str(len(self.jobs))
            self.jobs.append(JobUse(number, self.dice.choice("ab"), self.dice.choice(["ann", "bob"]), start, end, {"cpu": 3}))
        self.hour += hours
        self.read()

    def read(self) -> None:
        self.book.record(slots_of(self.jobs), BASE, BASE + self.hour * HOUR)

    async def deliver(self) -> None:
        """As the agent does it."""
        for report, slots in usage_pages(self.book, "s"):
            receipt = await self.ledger.put_usage("alpha", report, NOW)
            why = recount.mismatch(self.book, receipt)
            rebuilt = None if receipt.forgot else report.rebuilt
            self.book.sent(slots, report.watermark, rebuilt=rebuilt, refused=receipt.refused, report=report.report_id)
            if why:
                self.reasons.append(why)
                recount.begin(self.book, receipt.books, EPOCH)
                return

    async def settle(self, steps: int = 200) -> None:
        """Deliver and tell anew until nothing is left to be told."""
        for _ in range(steps):
            await self.deliver()
            if not await self.telling.step() and self.book.rebuild_from is None and not self.book.unsent:
                return

    async def back_up(self, name: str) -> None:
        if name == "ledger":
            await self.ledger.close()
            shutil.copy(self.folder / "ledger.db", self.folder / "backup.db")
            await self.connect()
        else:
            shutil.copytree(self.state, self.folder / "old-state")

    async def restore(self, name: str) -> None:
        if name == "agent":
            shutil.rmtree(self.state)
            (self.folder / "old-state").rename(self.state)
            self.resume()
            return
        await self.ledger.close()
        for path in self.folder.glob("ledger.db*"):
            path.unlink()
        if name == "ledger":
            shutil.copy(self.folder / "backup.db", self.folder / "ledger.db")
        await self.connect()

    async def totals(self) -> dict[str, int]:
        return {name: use["cpu"] for name, use in (await self.ledger.totals("alpha")).items() if use["cpu"]}

    @property
    def expected(self) -> dict[str, int]:
        found: Counter[str] = Counter()
        for job in self.jobs:
            found[job.account] += job.cost("cpu")
        return dict(found)


@pytest.fixture(params=range(3))
async def site(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Site]:
    found = Site(tmp_path, Random(request.param))
    await found.connect()
    found.work()
    await found.settle()
    assert await found.totals() == found.expected
    yield found
    await found.ledger.close()


async def test_a_ledger_that_was_restored_gets_what_it_lost(site: Site) -> None:
    await site.back_up("ledger")
    site.work()
    await site.settle()
    epoch = site.book.epoch
    await site.restore("ledger")
    assert await site.totals() != site.expected
    site.work(hours=1, count=1)
    await site.settle()
    assert site.reasons == ["the ledger lacks what it was told: it is an old one"]
    assert site.book.epoch > epoch
    assert await site.totals() == site.expected
    assert await site.ledger.watermark("alpha") == site.book.watermark


@pytest.mark.parametrize("pages", range(1, 9))
@pytest.mark.parametrize("restored", ["ledger", "nothing"])
async def test_a_ledger_that_is_restored_again_while_it_is_told_anew_gets_everything(
    site: Site, pages: int, restored: str
) -> None:
    """The pages that waited in it are gone, and its mark is the same as before."""
    await site.back_up("ledger")
    site.work()
    await site.settle()
    await site.restore("ledger")
    site.work(hours=1, count=1)
    for _ in range(pages):
        await site.deliver()
        await site.telling.step()
        await site.telling.step()
    await site.restore(restored)
    if pages % 2:
        site.resume()
        await site.book.compact_aside()
        site.read()
    await site.settle()
    site.work(hours=1, count=1)
    await site.settle()
    assert len(site.reasons) == 2
    assert site.book.rebuild_from is None
    assert await site.totals() == site.expected


async def test_a_ledger_that_was_made_anew_gets_everything(site: Site) -> None:
    site.work()
    await site.settle()
    await site.restore("nothing")
    site.work(hours=1, count=1)
    await site.settle()
    assert len(site.reasons) == 1
    assert await site.totals() == site.expected


async def test_a_ledger_from_before_a_rebuild_gets_the_rebuild(site: Site) -> None:
    await site.back_up("ledger")
    site.book.begin_recount(99, 0)
    await site.settle()
    site.work()
    await site.settle()
    assert site.reasons == []
    await site.restore("ledger")
    site.work(hours=1, count=1)
    await site.settle()
    assert site.reasons == ["the ledger does not know these books: it is an old one"]
    assert await site.totals() == site.expected


async def test_an_agent_whose_state_was_restored_is_heard_again(site: Site) -> None:
    await site.back_up("agent")
    for _ in range(3):
        site.work(hours=3)
        await site.settle()
    site.jobs.pop()
    await site.restore("agent")
    site.read()
    await site.settle()
    assert site.reasons[0].startswith(("the ledger has newer slots", "the ledger lacks"))
    assert await site.totals() == site.expected


async def test_an_agent_from_before_a_rebuild_is_heard_again(site: Site) -> None:
    await site.back_up("agent")
    site.book.begin_recount(99, 0)
    await site.settle()
    site.work()
    await site.settle()
    await site.restore("agent")
    site.work(hours=1, count=1)
    await site.settle()
    assert site.reasons == ["the ledger has newer books than this agent: its state is an old one"]
    assert site.book.epoch > 99
    assert await site.totals() == site.expected


async def test_the_ledger_keeps_its_books_until_the_last_page_though_the_agent_starts_again_and_again(site: Site) -> None:
    await site.back_up("ledger")
    site.work()
    await site.settle()
    await site.restore("ledger")
    site.work(hours=1, count=1)
    await site.deliver()
    before = await site.totals()
    lengths, steps = set(), 0
    while site.book.rebuild_from is not None:
        steps += 1
        if steps % 2:
            site.resume()
        site.read()
        await site.telling.step()
        await site.telling.step()  # the second waits until the gateway has the first
        lengths.add(len(site.book.unsent))
        if site.book.recount_to is not None:
            assert await site.totals() == before
        await site.deliver()
        if steps % 2 == 0:
            await site.telling.step()
        assert steps < 300
    assert max(lengths) <= 7 + 4
    assert await site.totals() == site.expected


async def test_what_goes_on_meanwhile_is_counted_once(site: Site) -> None:
    site.work()
    await site.settle()
    await site.restore("nothing")
    for _ in range(12):
        site.work(hours=1, count=2)
        await site.deliver()
        await site.telling.step()
        if site.book.is_long or site.dice.random() < 0.3:
            await site.book.compact_aside()
    await site.settle()
    assert len(site.reasons) == 1
    assert await site.totals() == site.expected


async def test_a_page_that_comes_twice_is_no_reason(site: Site) -> None:
    site.work()
    pages = list(usage_pages(site.book, "s"))
    for report, _ in pages:
        await site.ledger.put_usage("alpha", report, NOW)  # the answer got lost
    await site.settle()
    assert site.reasons == []
    assert await site.totals() == site.expected


async def test_a_watermark_of_a_clock_that_was_ahead_is_no_reason(site: Site) -> None:
    """The ledger does not take it."""
    site.book.record(slots_of(site.jobs), BASE, NOW + 10**8)
    for _ in range(3):
        site.work(hours=1)
        await site.settle()
    site.book.turn_back(BASE)
    site.work()
    await site.settle()
    assert site.reasons == []
    assert await site.totals() == site.expected
    assert await site.ledger.watermark("alpha") == site.book.watermark == BASE + site.hour * HOUR


async def test_an_agent_at_work_notices_a_ledger_that_is_ahead_of_it(stack: Stack, tmp_path: Path) -> None:
    cluster = cluster_settings("ahead")
    await stack.publish(cluster, {"aa": account("aa", allocation("ahead", 1000), members=("ann",))})
    settings = agent_settings(stack, "ahead", tmp_path, {"speed": 0, "step_seconds": 60, "ends_at": BASE})
    await enrol(stack, settings)

    async def is_booked(seconds: int) -> bool:
        return (await stack.ledger.totals("ahead")).get("aa") == {"cpu": seconds}

    async with running_agent(settings) as (agent, scheduler):
        await eventually(lambda: "ann" in getattr(scheduler.machine.accounts.get("aa"), "members", ()), "the account is there")
        scheduler.submit("ann", "aa", HOUR, {"cpu": 4})
        scheduler.advance(scheduler.machine.now + 2 * HOUR)
        await soon(lambda: is_booked(4 * HOUR), "the job is booked")
        book = agent.cycles.book
        epoch, hour = book.epoch, scheduler.machine.now // HOUR * HOUR
        ghost = slot("aa", hour, (epoch, 10**6), {RowKey("bob", "cpu"): Amounts((900, 0, 0, 0))})
        await stack.ledger.put_usage("ahead", usage("ghost", ghost, session=agent.session), scheduler.machine.now)
        scheduler.submit("ann", "aa", HOUR, {"cpu": 4})
        scheduler.advance(scheduler.machine.now + 2 * HOUR)
        await soon(lambda: is_booked(8 * HOUR), "the ledger has what ran, and nothing else")
        assert book.epoch > epoch

"""An agent that lost its state counts everything anew; the ledger takes it in whole and sums no two epochs."""

import random
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bursar_agent.outbox import usage_pages
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import Amounts, JobUse, RowKey, slots_of
from bursar_domain.units import HOUR
from bursar_ledger import Ledger
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, running_agent, soon
from bursar_testing.agentstack import Stack
from bursar_testing.feeds import JobRecords
from bursar_testing.waiting import eventually
from bursar_testing.wires import hello, new_ledger, publish_accounts, slot, usage

BASE = 400_000 * HOUR
NOW = BASE + 10**6


def some_jobs(dice: random.Random, count: int) -> list[JobUse]:
    return [
        JobUse(str(number), dice.choice("ab"), dice.choice(["ann", "bob"]), start, start + dice.randrange(5 * HOUR), {"cpu": 3})
        for number in range(count)
        for start in [BASE + dice.randrange(40 * HOUR)]
    ]


def expected(jobs: list[JobUse]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for job in jobs:
        found[job.account] += job.cost("cpu")
    return {name: amount for name, amount in found.items() if amount}


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    async with new_ledger() as opened:
        await publish_accounts(opened, "alpha", "a", "b")
        await opened.record_hello("alpha", hello("s"), NOW)
        yield opened


async def totals(ledger: Ledger) -> dict[str, int]:
    return {name: use["cpu"] for name, use in (await ledger.totals("alpha")).items() if use["cpu"]}


async def deliver(book: UsageBook, ledger: Ledger, *, all_but_last: bool = False) -> int:
    pages = list(usage_pages(book, "s"))
    for report, slots in pages[:-1] if all_but_last else pages:
        receipt = await ledger.put_usage("alpha", report, NOW)
        book.sent(slots, report.watermark, rebuilt=report.rebuilt, refused=receipt.refused)
    return len(pages)


@pytest.mark.parametrize("seed", range(8))
async def test_after_a_loss_the_ledger_has_the_old_books_until_it_has_all_of_the_new(
    tmp_path: Path, ledger: Ledger, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bursar_agent.outbox.PAGE_BYTES", 4_000)  # many pages of little use
    dice = random.Random(seed)
    before = some_jobs(dice, 40)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = UsageBook(tmp_path / "first", epoch=10)
    first.record(slots_of(before), BASE, BASE + 46 * HOUR)
    await deliver(first, ledger)
    assert await totals(ledger) == expected(before)

    after = dice.sample(before, 25) + some_jobs(dice, 5)  # records that went, and some that came
    second = UsageBook(tmp_path / "second", epoch=20)
    second.record(slots_of(after), BASE, None)  # the record is not known to be complete
    assert await deliver(second, ledger) > 1
    assert await totals(ledger) == expected(before)
    second.record(slots_of(after), BASE, BASE + 47 * HOUR)
    await deliver(second, ledger, all_but_last=True)
    assert await totals(ledger) == expected(before)
    second = UsageBook(tmp_path / "second", epoch=30)  # a restart in between
    await deliver(second, ledger)
    assert await totals(ledger) == expected(after)
    more = [*after, *some_jobs(dice, 5)]
    second.record(slots_of(more), BASE, BASE + 48 * HOUR)
    await deliver(second, ledger)
    assert await totals(ledger) == expected(more)


async def test_slots_that_the_ledger_refuses_hold_up_nothing(tmp_path: Path, ledger: Ledger) -> None:
    """An account that was never published: its use waits until it is."""
    book = UsageBook(tmp_path, epoch=1)
    jobs = [JobUse(name, name, "ann", BASE, BASE + HOUR, {"cpu": 2}) for name in ("a", "new")]
    book.record(slots_of(jobs), BASE, BASE + HOUR)
    await deliver(book, ledger)
    assert await totals(ledger) == {"a": 2 * HOUR}
    assert book.refusals.counts == {"UnknownAccount": 1}
    assert list(usage_pages(book, "s")) == []
    await publish_accounts(ledger, "alpha", "a", "b", "new")
    book.refusals.offer_again()
    await deliver(book, ledger)
    assert await totals(ledger) == {"a": 2 * HOUR, "new": 2 * HOUR}
    assert not book.unsent


async def test_an_agent_whose_state_was_lost_puts_the_ledger_right(stack: Stack, tmp_path: Path) -> None:
    """Its own files go, and the ledger has use of which the scheduler knows nothing: afterwards it has what ran, once."""
    cluster = cluster_settings("alpha")
    await stack.publish(cluster, {"aa": account("aa", allocation("lost", 1000), members=("ann",))})
    settings = agent_settings(stack, "alpha", tmp_path, {"speed": 0, "step_seconds": 600, "ends_at": BASE})
    await enrol(stack, settings)

    async def is_booked(seconds: int) -> bool:
        return (await stack.ledger.totals("alpha")).get("aa") == {"cpu": seconds}

    async with running_agent(settings) as (agent, scheduler):
        await eventually(lambda: "ann" in getattr(scheduler.machine.accounts.get("aa"), "members", ()), "the account is there")
        scheduler.submit("ann", "aa", 1, {"cpu": 1})  # so that records are known to reach back to here
        scheduler.submit("ann", "aa", 3 * HOUR, {"cpu": 4})
        scheduler.advance(scheduler.machine.now + 4 * HOUR)
        await soon(lambda: is_booked(12 * HOUR + 1), "the job is booked")
        epoch, session = agent.cycles.book.epoch, agent.session
    ghost = slot(
        "aa", (scheduler.machine.now // HOUR - 2) * HOUR, (epoch, 10**6), {RowKey("bob", "cpu"): Amounts((900, 0, 0, 0))}
    )
    await stack.ledger.put_usage("alpha", usage("ghost", ghost, session=session), scheduler.machine.now)
    assert not await is_booked(12 * HOUR + 1)
    for name in ("usage.jsonl", "journal.jsonl", "journal-snapshot.json"):
        (settings.state_directory / name).unlink(missing_ok=True)
    async with running_agent(settings) as (agent, _):
        await soon(lambda: is_booked(12 * HOUR + 1), "the ledger is right again")
        assert agent.cycles.book.epoch > epoch
        await eventually(lambda: agent.cycles.book.rebuild_from is None, "the rebuild is told")


async def test_what_the_scheduler_purged_stays_in_the_ledger_when_the_agent_begins_anew(tmp_path: Path, ledger: Ledger) -> None:
    """A new agent finds records of the last days only: it says nothing of those before."""
    begin, end = BASE, BASE + 40 * HOUR
    jobs = [JobUse(str(n), "a", "ann", BASE + n * HOUR, BASE + (n + 1) * HOUR, {"cpu": 3}) for n in range(30)]
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = UsageBook(tmp_path / "first", epoch=10)
    first.record(slots_of(jobs), begin, end)
    await deliver(first, ledger)
    records = JobRecords(BASE)
    records.jobs, records.now = [*jobs[20:], JobUse("long", "a", "bob", BASE + HOUR, BASE + 25 * HOUR, {"cpu": 1})], end
    second = UsageBook(tmp_path / "second", epoch=20)
    reader = UsageReader(second, overlap_seconds=HOUR, lag_seconds=300)
    await reader.read(records, lambda job: True, begin, end)
    await reader.read_back(records, lambda job: True, begin, lambda: True)
    await deliver(second, ledger)
    assert second.rebuild_from is None
    by_user = {row["user"]: row["allocated"] for row in await ledger.usage("alpha", by="user")}
    # Of hours in which the long job ran only that is left, for a slot replaces; the others are not touched.
    assert by_user == {"ann": 3 * HOUR * 11, "bob": 24 * HOUR}

"""Ledger or agent is put back to an earlier day: everything is told anew, and the ledger has what ran, once."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import orjson
import pytest

from bursar_agent.files import read_places
from bursar_agent.outbox import usage_pages
from bursar_agent.usagefile import SENT, START
from bursar_domain.buckets import Amounts, JobUse, RowKey, slots_of
from bursar_domain.units import HOUR
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, running_agent, soon
from bursar_testing.agentstack import Stack
from bursar_testing.restores import BASE, NOW, Site
from bursar_testing.waiting import eventually
from bursar_testing.wires import slot, usage


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


async def test_a_restored_ledger_gets_older_hours_that_were_read_since(site: Site) -> None:
    """An allocation that began long before was published in between."""
    await site.back_up("ledger")
    site.lead_back()
    site.work()
    await site.settle()
    await site.restore("ledger")
    site.work(hours=1, count=1)
    await site.settle()
    assert len(site.reasons) == 1
    assert await site.totals() == site.expected


@pytest.mark.parametrize("steps", [2, 4, 8, None])
async def test_older_hours_that_are_read_while_all_is_told_anew_void_nothing(site: Site, steps: int | None) -> None:
    """Of a long time, some of which the restored ledger had; after so many steps, or once everything was told."""
    site.hour = 2_500
    site.work()
    await site.settle()
    await site.back_up("ledger")
    site.work()
    await site.settle()
    await site.restore("ledger")
    site.work(hours=1, count=1)
    if steps is None:
        await site.settle()
    for _ in range(steps or 0):
        await site.deliver()
        await site.telling.step()
    site.lead_back()
    await site.settle()
    assert await site.totals() == site.expected


async def test_use_is_not_complete_up_to_a_page_before_which_pages_lack(site: Site) -> None:
    """Or hours that the ledger lost would be closed, and carried over as if nothing had run."""
    await site.back_up("ledger")
    complete = await site.ledger.watermark("alpha")
    for _ in range(12):
        site.work()
        await site.settle()
    await site.restore("ledger")
    site.work(hours=1, count=1)
    await site.deliver()
    assert len(site.reasons) == 1
    assert await site.ledger.watermark("alpha") == complete
    await site.settle()
    assert await site.totals() == site.expected
    assert await site.ledger.watermark("alpha") == site.book.watermark
    assert await site.ledger.entries() == []


async def test_telling_anew_voids_nothing_of_which_the_records_were_purged(site: Site) -> None:
    """The state was lost, records of the last hours only were there, and then the ledger was put back."""
    before = await site.totals()
    site.lose_state()
    end = BASE + 20 * HOUR
    site.book.record(slots_of([JobUse("long", "b", "zoe", BASE + HOUR, end, {"cpu": 1})]), BASE, end, None, end)
    await site.settle()
    rebuilt = await site.totals()
    assert rebuilt["a"] == before["a"]
    site.book.begin_recount(99)
    await site.settle()
    assert await site.totals() == rebuilt


async def test_telling_anew_voids_nothing_from_before_an_agent_without_use_began(site: Site) -> None:
    before = await site.totals()
    site.lose_state()
    site.book.begin(BASE + 50 * HOUR)
    await site.settle()
    site.book.begin_recount(99)
    await site.settle()
    assert await site.totals() == before


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
    site.book.begin_recount(99)
    await site.settle()
    site.work()
    await site.settle()
    assert site.reasons == []
    await site.restore("ledger")
    site.work(hours=1, count=1)
    await site.settle()
    assert site.reasons == ["the ledger lacks what it was told: it is an old one"]
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
    site.book.begin_recount(99)
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


async def test_an_agent_that_is_let_in_again_asks_how_far_the_ledger_is(stack: Stack, tmp_path: Path) -> None:
    """Another one with its key may have told something meanwhile."""
    cluster = cluster_settings("asks")
    await stack.publish(cluster, {"aa": account("aa", allocation("asks", 1000), members=("ann",))})
    settings = agent_settings(stack, "asks", tmp_path, {"speed": 0, "step_seconds": 60, "ends_at": BASE})
    await enrol(stack, settings)
    async with running_agent(settings) as (agent, _):
        await eventually(lambda: agent.cycles.book.is_agreed, "it has asked")
        await agent._greet()
        assert not agent.cycles.book.is_agreed


async def test_the_file_is_read_forward_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pieces there are."""
    for _ in range(10):
        site.work()
        await site.settle()
    read = 0

    def counted(path: Path, begin: int, size: int | None = None, but: bytes | None = None) -> Iterator[tuple[int, object]]:
        nonlocal read
        for line in read_places(path, begin, size, but):
            read += 1
            yield line

    monkeypatch.setattr("bursar_agent.usagefile.read_places", counted)
    lines = sum(1 for _ in read_places(site.state / "usage.jsonl", 0, but=SENT))
    site.book.begin_recount(99)
    pieces = 0
    while site.book.rebuild_from is not None:
        await site.telling.step()
        await site.deliver()
        pieces += 1
    assert pieces > 2 * lines
    # A piece ends amid a line, where the next one begins, and adds one that says how far it is.
    assert lines <= read <= lines + 2 * pieces + 2
    assert await site.totals() == site.expected


@pytest.mark.parametrize("is_started", [True, False])
async def test_a_file_without_order_is_told_from_its_beginning_once_its_place_is_lost(site: Site, is_started: bool) -> None:
    """So older agents wrote it: what was not sent stood at its end, and how far it was told was an hour."""
    site.work()
    await site.settle()
    site.book.begin_recount(99)
    site.book.compact()
    path = site.state / "usage.jsonl"
    lines = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    for line in lines[:-1]:
        line["slots"] = line["slots"][::-1]
        line["recount"] = BASE
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    await site.restore("nothing")
    steps = 0
    site.resume()
    while site.book.recount_to is not None:
        if steps == 3 and is_started:
            site.resume()
            assert site.book.recount_to == START
        if steps in (3, 4, 6, 9) and not is_started:
            await site.book.compact_aside()
        await site.telling.step()
        await site.deliver()
        steps += 1
    await site.settle()
    assert await site.totals() == site.expected

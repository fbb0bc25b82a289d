"""The agent's books and what it reads: replaced slots, late records, refunds, distrust, restart."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from bursar_agent.slices import DistrustedRead
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, slots_of
from bursar_domain.fold import fold
from bursar_domain.terms import simple
from bursar_domain.units import HOUR
from bursar_testing.feeds import JobRecords

BASE = 400_000 * HOUR


def use(key: str, start: int, end: int, *, cpu: int = 2, account: str = "aa", **fields: object) -> JobUse:
    return replace(JobUse(key, account, "ann", BASE + start, BASE + end, {"cpu": cpu}), **fields)  # type: ignore[arg-type]


def total(book: UsageBook, account: str = "aa") -> int:
    return sum(amount for _, amount in book.quarters(account, ()).get("cpu", ()))


class Feed:
    """A book, its reader and the records behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.records = JobRecords(BASE)
        self.resume()

    def resume(self) -> None:
        self.book = UsageBook(self.directory, epoch=7)
        self.reader = UsageReader(self.book, overlap_seconds=HOUR, lag_seconds=300)

    async def read(self, now: int) -> int:
        self.records.now = BASE + now
        await self.reader.read(self.records, lambda job: job.account != "foreign", BASE, BASE + now)
        return total(self.book)


@pytest.fixture
def feed(tmp_path: Path) -> Feed:
    return Feed(tmp_path)


async def test_a_running_job_is_counted_up_to_the_read_and_never_twice(feed: Feed) -> None:
    feed.records.jobs = [use("1", 0, 10 * HOUR), use("2", 100, 200, account="foreign")]
    for now in (0, 10, 500, HOUR, 5 * HOUR, 5 * HOUR, 9 * HOUR, 20 * HOUR):
        assert await feed.read(now) == 2 * min(now, 10 * HOUR)
    assert total(feed.book, "foreign") == 0
    assert feed.records.reads[-1] == 8 * HOUR  # the watermark less the overlap


async def test_a_record_that_comes_late_is_read_from_its_start(feed: Feed) -> None:
    await feed.read(10 * HOUR)
    feed.records.jobs = [use("1", HOUR, 9 * HOUR + 10)]
    assert await feed.read(10 * HOUR + 60) == 2 * (8 * HOUR + 10)
    assert feed.records.reads[-3:] == [9 * HOUR, 3 * HOUR, HOUR]  # backwards, in slices


async def test_a_node_failure_is_refunded_back_to_the_start(feed: Feed) -> None:
    feed.records.jobs = [use("1", 0, 10 * HOUR)]
    await feed.read(9 * HOUR)
    feed.records.jobs = [use("1", 0, 9 * HOUR + 60, state="NODE_FAIL")]
    assert await feed.read(9 * HOUR + 120) == 0
    slot = feed.book.report(SlotKey("aa", BASE))
    assert slot.rows[0].allocated == slot.rows[0].refunded == (1800, 1800, 1800, 1800)


async def test_less_use_than_before_is_believed_only_when_seen_again(feed: Feed) -> None:
    feed.records.jobs = [use("1", 0, 600), use("2", 0, 600)]
    await feed.read(1000)
    feed.records.jobs.pop()
    for _ in range(2):
        with pytest.raises(DistrustedRead):
            await feed.read(1100)
        assert total(feed.book) == 2400
    assert await feed.read(1200) == 1200


async def test_a_read_that_lost_rows_does_not_move_the_watermark(feed: Feed) -> None:
    await feed.read(HOUR)
    feed.records.bad_rows = 1
    await feed.read(2 * HOUR)
    assert feed.book.watermark == BASE + HOUR
    feed.records.bad_rows, feed.records.complete = 0, False
    await feed.read(3 * HOUR)
    assert feed.book.watermark == BASE + HOUR


async def test_one_unreadable_record_does_not_stop_the_watermark_for_ever(feed: Feed) -> None:
    await feed.read(HOUR)
    feed.records.bad_rows = 1
    await feed.read(2 * HOUR)
    await feed.read(2 * HOUR + 1800)
    assert feed.book.watermark == BASE + HOUR
    await feed.read(3 * HOUR)
    assert feed.book.watermark == BASE + 3 * HOUR
    assert feed.reader.recent.bad_rows == 1


async def test_a_restart_has_the_same_books_and_sends_what_was_not_sent(feed: Feed) -> None:
    feed.records.jobs = [use(str(n), n * 700, n * 700 + 3000) for n in range(20)]
    await feed.read(3 * HOUR)
    sent = [feed.book.report(key) for key in sorted(feed.book.unsent)][:2]
    feed.book.sent(sent, None)
    before = total(feed.book), dict(feed.book.unsent), feed.book.watermark, feed.book.seq
    for _ in range(2):
        feed.resume()
        assert (total(feed.book), feed.book.unsent, feed.book.watermark, feed.book.seq) == before
    await feed.read(3 * HOUR)
    assert feed.book.seq == before[3]
    assert await feed.read(4 * HOUR) == sum(2 * max(0, min(n * 700 + 3000, 4 * HOUR) - n * 700) for n in range(20))
    assert feed.book.epoch == 7


async def test_a_crash_while_writing_loses_only_that_read(feed: Feed) -> None:
    feed.records.jobs = [use("1", 0, 10 * HOUR)]
    await feed.read(HOUR)
    path = feed.directory / "usage.jsonl"
    whole = path.read_bytes()
    await feed.read(2 * HOUR)
    longer = path.read_bytes()
    for cut in range(len(whole), len(longer), 7):
        path.write_bytes(longer[:cut])
        feed.resume()
        assert await feed.read(2 * HOUR) == 4 * HOUR
        assert feed.book.seq == 2


def test_a_long_life_does_not_fill_the_disk(tmp_path: Path) -> None:
    book = UsageBook(tmp_path, epoch=1, compact_bytes=4_000)
    for second in range(1, 400):
        slots = slots_of([use("1", 0, second), use("2", 0, second, account="bb")])
        assert book.record(slots, BASE, BASE + second) == 2
        if second == 200:
            book.sent([book.report(SlotKey("bb", BASE))], BASE + 200)
        if book.is_long:
            book.compact()
        assert (tmp_path / "usage.jsonl").stat().st_size < 5_000
    again = UsageBook(tmp_path, epoch=1)
    assert (total(again), again.seq, again.watermark, again.sent_watermark) == (2 * 399, 399, BASE + 399, BASE + 200)
    assert again.unsent == book.unsent


def test_sums_between_boundaries_are_attributed_as_their_quarters_are(tmp_path: Path) -> None:
    dice = random.Random(3)
    book = UsageBook(tmp_path, epoch=1)
    bounds = tuple(BASE + n * 900 for n in (5, 17, 40, 50))
    terms = [
        simple("x", bounds[0], bounds[2], {"cpu": 40_000}, overuse_percent=1),
        simple("y", bounds[1], bounds[3], {"cpu": 30_000}),
    ]
    slots: dict[SlotKey, dict[RowKey, Amounts]] = {}
    for _ in range(30):
        jobs = []
        for number in range(6):
            start = dice.randrange(15 * HOUR)
            jobs.append(use(str(number), start, start + dice.randrange(1, 9000), cpu=dice.randrange(1, 9)))
        since = BASE + dice.randrange(4) * HOUR
        slots = {key: rows for key, rows in slots.items() if key.hour < since}
        slots |= {key: rows for key, rows in slots_of(jobs).items() if key.hour >= since}
        book.record({key: rows for key, rows in slots.items() if key.hour >= since}, since, None)
        quarters = [
            (key.hour + index * 900, amount)
            for key, rows in slots.items()
            for amounts in rows.values()
            for index, amount in enumerate(amounts.allocated)
        ]
        summed, whole = fold(terms, book.quarters("aa", bounds)), fold(terms, {"cpu": quarters})
        assert [summed.window(uid, 0) for uid in "xy"] == [whole.window(uid, 0) for uid in "xy"]
        assert summed.unfunded == whole.unfunded
        assert total(book) == sum(amount for _, amount in quarters)

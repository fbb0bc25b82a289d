"""Records that come, change or go long after their jobs: the sweep finds them within a day, and believes no purge."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bursar_agent.outbox import usage_pages
from bursar_agent.schedulers.base import SchedulerUnavailable, UsageRead
from bursar_agent.slices import LOWER_READS_BEFORE_BELIEF
from bursar_agent.sweep import MOST_HOURS, Sweep
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.entries import EntryKind
from bursar_domain.units import DAY, HOUR
from bursar_testing.feeds import JobRecords
from bursar_testing.wires import hello, new_ledger, publish_accounts

BASE = 400_000 * HOUR
DAYS = 35
NOW = BASE + 60 * DAY


def job(key: str, start: int, end: int, **fields: object) -> JobUse:
    return replace(JobUse(key, "aa", "ann", BASE + start, BASE + end, {"cpu": 2}), **fields)  # type: ignore[arg-type]


class Records(JobRecords):
    """Job records that may be away. ``meanwhile`` happens once, while a slice before the hour is on its way."""

    def __init__(self) -> None:
        super().__init__(BASE)
        self.is_away = False
        self.meanwhile: tuple[int, Callable[[], Awaitable[object]]] | None = None

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        if self.is_away:
            raise SchedulerUnavailable("slurmdbd does not answer")
        found = await super().usage(since, until)
        if self.meanwhile is not None and until is not None and until <= self.meanwhile[0]:
            (_, act), self.meanwhile = self.meanwhile, None
            await act()
        return found


class Site:
    """Sixty days of short jobs, all of them counted, and one that ran for fifty days."""

    def __init__(self, directory: Path, days: int = DAYS) -> None:
        self.directory, self.days = directory, days
        self.records = Records()
        self.records.jobs = [job(str(day), day * DAY + 600, day * DAY + 4200) for day in range(60)]
        self.records.jobs.append(job("long", 5 * DAY, 55 * DAY))
        self.records.now = NOW
        self.resume()

    def resume(self) -> None:
        self.book = UsageBook(self.directory, epoch=1)
        self.reader = UsageReader(self.book, overlap_seconds=HOUR, lag_seconds=300)
        self.sweep = Sweep(self.book, self.reader, self.directory, self.days)

    async def read(self) -> None:
        await self.reader.read(self.records, lambda job: True, BASE, self.records.now)
        await self.reader.read_back(self.records, lambda job: True, BASE, lambda: True)

    async def live(self, seconds: int) -> int:
        """Looks every minute; how many slots changed by what the sweep found. An ordinary read now and then."""
        changed, end = 0, self.records.now + seconds
        self.records.slices.clear()
        while self.records.now < end:
            self.records.now += 60
            changed += await self.sweep.step(self.records, lambda job: True, self.records.now)
            if self.records.now % HOUR == 0:
                await self.reader.read(self.records, lambda job: True, BASE, self.records.now)
        return changed

    def change(self, key: str, **fields: object) -> None:
        jobs = self.records.jobs
        self.records.jobs = [replace(item, **fields) if item.key == key else item for item in jobs]  # type: ignore[arg-type]

    def lose(self, *keys: str) -> None:
        self.records.jobs = [item for item in self.records.jobs if item.key not in keys]

    def is_right(self, since: int = BASE) -> bool:
        """Whether the books from a second on are those of the records."""
        jobs = [replace(item, end=min(item.end, self.records.now)) for item in self.records.jobs]
        wanted = {key: rows for key, rows in slots_of(jobs).items() if key.hour >= since}
        (charges,) = (charges for _, charges in self.book.accounts())
        known = {key.hour for key in wanted} | set(charges.hours(since))
        by_hour = {key.hour: rows for key, rows in wanted.items()}
        return not any(charges.differs(hour, by_hour.get(hour, {})) for hour in known)


@pytest.fixture
async def site(tmp_path: Path) -> Site:
    found = Site(tmp_path)
    await found.read()
    assert found.is_right()
    return found


async def test_each_day_is_read_again_within_a_day_in_slices_of_a_day_at_most(site: Site) -> None:
    assert await site.live(DAY) == 0
    top = (site.records.now - HOUR) // HOUR * HOUR
    hours = {hour for since, until in site.records.slices for hour in range(since, until, HOUR)}
    assert set(range(NOW - DAYS * DAY + DAY, NOW - 2 * HOUR, HOUR)) <= hours
    assert max(until for _, until in site.records.slices) <= top
    assert max(until - since for since, until in site.records.slices) == MOST_HOURS * HOUR
    assert min(since for since, _ in site.records.slices) >= NOW - DAYS * DAY
    assert len(site.records.slices) < 2 * DAYS


@pytest.mark.parametrize("day", [26, 40, 59])
async def test_a_record_that_comes_weeks_late_is_found_within_a_day(site: Site, day: int) -> None:
    seq, watermark = site.book.seq, site.book.watermark
    site.records.jobs.append(job("late", day * DAY, day * DAY + 2 * HOUR + 7))
    assert await site.sweep.step(site.records, lambda job: True, NOW) in (0, 3)
    assert site.book.watermark == watermark
    await site.live(DAY)
    assert site.is_right()
    assert site.book.seq > seq


async def test_a_job_longer_than_the_sweep_changes_from_where_the_sweep_begins(site: Site) -> None:
    site.change("long", allocated={"cpu": 3})
    assert await site.live(DAY) > 25 * 24
    assert site.is_right(NOW - (DAYS - 1) * DAY)
    assert not site.is_right()


async def test_a_record_that_is_less_is_believed_when_it_was_seen_three_times(site: Site) -> None:
    """A runaway job that somebody mended: it ended long before it was said to."""
    site.change("long", end=BASE + 50 * DAY)
    site.records.jobs = [item for item in site.records.jobs if item.key != "57"]
    before = site.book.allocated({}, BASE)[0]
    for _ in range(3):
        await site.sweep.step(site.records, lambda job: True, site.records.now)
        site.records.now += 60
    assert site.book.allocated({}, BASE)[0] == before
    await site.live(DAY)
    assert site.is_right()


async def test_records_that_were_purged_stay_counted(site: Site) -> None:
    before = site.book.allocated({}, BASE)[0]
    site.lose(*(str(day) for day in range(45)))
    site.records.jobs = [item for item in site.records.jobs if item.key != "long"]
    site.records.jobs.insert(0, job("long", 5 * DAY, 55 * DAY))
    assert await site.live(2 * DAY) == 0
    assert site.book.allocated({}, BASE)[0] == before
    site.records.jobs.append(job("late", 50 * DAY, 50 * DAY + HOUR))
    await site.live(DAY)
    assert site.book.allocated({}, BASE)[0] == before + 2 * HOUR


async def test_a_restart_goes_on_where_the_sweep_was(site: Site) -> None:
    await site.live(DAY // 2)
    last = site.records.slices[-1][0]
    site.resume()
    assert await site.live(60) == 0  # there was no read yet, so nobody knows how far the records are
    assert site.records.slices == []
    await site.read()
    site.records.slices.clear()
    await site.live(3 * HOUR)
    assert site.records.slices[0][1] == last
    (site.directory / "usage-sweep.json").write_text("{torn")
    site.resume()
    await site.read()
    await site.live(HOUR)
    assert site.records.slices[0][1] > last


async def test_records_that_can_not_be_read_are_read_later_and_fewer_at_a_time(site: Site) -> None:
    await site.live(DAY // 2)
    last = site.records.slices[-1][0]
    site.records.is_away = True
    site.records.now += HOUR
    for _ in range(20):
        assert await site.sweep.step(site.records, lambda job: True, site.records.now) == 0
        site.records.now += 300
    site.records.is_away = False
    site.records.slices.clear()
    await site.sweep.step(site.records, lambda job: True, site.records.now)
    assert site.records.slices == [(last - HOUR, last)]


async def test_what_an_ordinary_read_has_overtaken_is_thrown_away(site: Site) -> None:
    """A job that ran all the time turns out to have had more: an ordinary read sees it while a slice is on its way."""
    site.records.jobs.append(job("open", 50 * DAY, 70 * DAY))
    await site.read()

    async def more() -> None:
        site.change("open", allocated={"cpu": 3})
        await site.reader.read(site.records, lambda job: True, BASE, site.records.now)
        assert site.is_right()

    site.records.meanwhile = NOW, more
    assert await site.sweep.step(site.records, lambda job: True, site.records.now) == 0
    assert site.records.meanwhile is None
    assert site.is_right()


async def test_so_it_is_while_earlier_records_are_looked_for(site: Site) -> None:
    late = [job("open", 50 * DAY, 70 * DAY), job("late", 60 * DAY - 4 * HOUR, 60 * DAY - 3 * HOUR)]
    site.records.jobs += late
    await site.read()
    site.resume()
    await site.read()
    site.lose("late")

    async def more() -> None:
        site.change("open", allocated={"cpu": 3})
        await site.reader.read(site.records, lambda job: True, BASE, site.records.now)

    for number in range(LOWER_READS_BEFORE_BELIEF):
        if number == LOWER_READS_BEFORE_BELIEF - 1:
            site.records.meanwhile = NOW - 2 * HOUR, more
        assert await site.sweep.step(site.records, lambda job: True, site.records.now) == 0
        site.records.now += 300
    assert site.records.meanwhile is None
    assert site.book.allocated({}, NOW - 3 * HOUR, NOW - 2 * HOUR)[0] == 3 * HOUR


async def test_ordinary_reads_do_not_hold_the_sweep_up(site: Site) -> None:
    """The scheduler's database is slow: while a slice is on its way there is always an ordinary read."""
    site.records.jobs.append(job("late", 58 * DAY, 59 * DAY))

    async def read() -> None:
        await site.reader.read(site.records, lambda job: True, BASE, site.records.now)

    changed = 0
    for _ in range(40):
        site.records.meanwhile = NOW + DAY, read
        changed += await site.sweep.step(site.records, lambda job: True, site.records.now)
        site.records.now += HOUR
    assert changed == 24
    assert site.is_right()


async def test_an_account_that_went_keeps_what_was_counted(site: Site) -> None:
    before = site.book.allocated({}, BASE)[0]
    for _ in range(50):
        site.records.now += HOUR
        assert await site.sweep.step(site.records, lambda job: False, site.records.now) == 0
    assert site.book.allocated({}, BASE)[0] == before


async def test_no_days_are_no_sweep(tmp_path: Path) -> None:
    site = Site(tmp_path, days=0)
    await site.read()
    assert await site.live(DAY) == 0
    assert site.records.slices == []


async def test_a_late_record_in_a_closed_slot_is_a_correction_in_the_ledger(site: Site) -> None:
    async with new_ledger() as ledger:
        await publish_accounts(ledger, "alpha", "aa")
        await ledger.record_hello("alpha", hello("s"), NOW)

        async def deliver() -> None:
            for report, slots in usage_pages(site.book, "s"):
                receipt = await ledger.put_usage("alpha", report, site.records.now)
                site.book.sent(slots, report.watermark, rebuilt=report.rebuilt, refused=receipt.refused)

        await deliver()
        watermark = await ledger.watermark("alpha")
        site.records.jobs.append(job("late", 40 * DAY, 40 * DAY + 2 * HOUR))
        await site.sweep.step(site.records, lambda job: True, NOW)
        await site.live(DAY)
        await deliver()
        found = await ledger.entries("alpha", "aa", kinds=[EntryKind.CORRECTION])
        amounts = [sum(row.allocated) for entry in found for row in entry.entry.rows]
        assert amounts == [2 * HOUR, 2 * HOUR]
        assert (await ledger.totals("alpha"))["aa"]["cpu"] == sum(item.cost("cpu") for item in site.records.jobs)
        assert watermark is not None
        assert (await ledger.watermark("alpha") or 0) > watermark

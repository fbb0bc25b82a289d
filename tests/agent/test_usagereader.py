"""Whatever records do, once they are at rest the books are those of the jobs: late, refunded, gone, read at any time."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_agent.schedulers.base import UsageRead
from bursar_agent.slices import LOWER_READS_BEFORE_BELIEF, DistrustedRead
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.units import DAY, HOUR
from bursar_testing.feeds import NothingElse

BASE = 400_000 * HOUR
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing waits for a disk there
OVERLAP = HOUR


@dataclass(frozen=True)
class Story:
    """A job and its record: from when it is to be seen (at the latest the overlap after the job's end), and whether it goes."""

    job: JobUse
    seen_from: int
    gone_from: int | None

    def record(self, now: int) -> JobUse | None:
        if now < self.seen_from or self.job.start >= now or (self.gone_from is not None and now >= self.gone_from):
            return None
        runs = self.job.end > now
        return replace(self.job, end=now, running=True, state="RUNNING") if runs else self.job


@st.composite
def stories(draw: st.DrawFn) -> Story:
    start = BASE + draw(st.integers(0, 20 * HOUR))
    seconds = draw(st.one_of(st.integers(0, 900), st.integers(0, 12 * HOUR)))
    job = JobUse(
        key=str(draw(st.integers(0, 2**60))),
        account=draw(st.sampled_from(["aa", "bb"])),
        user=draw(st.sampled_from(["ann", "bob"])),
        start=start,
        end=start + seconds,
        allocated={"cpu": draw(st.integers(0, 9))} | ({"gpu": 1} if draw(st.booleans()) else {}),
        state=draw(st.sampled_from(["COMPLETED", "COMPLETED", "NODE_FAIL", "TIMEOUT"])),
        factor_thousandths=draw(st.sampled_from([1000, 1000, 1000, 0, 333])),
    )
    seen_from = draw(st.one_of(st.just(start), st.integers(start, job.end + OVERLAP)))
    gone_from = draw(st.one_of(st.none(), st.none(), st.none(), st.integers(seen_from, job.end + OVERLAP)))
    return Story(job, seen_from, gone_from)


class Records(NothingElse):
    """A scheduler that has nothing but the records of these stories."""

    def __init__(self, told: Sequence[Story]) -> None:
        self.told, self.now, self.complete = told, BASE, True

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        told = (record for story in self.told if (record := story.record(self.now)))
        found = [job for job in told if (job.end > since or job.running) and (until is None or job.start < until)]
        return UsageRead(self.now, since, found, self.now if self.complete else None)


@dataclass(frozen=True)
class Step:
    """So many seconds later a read, after a restart of the agent or not, with the record known to be complete or not."""

    seconds: int
    restart: bool
    complete: bool


STEPS = st.lists(
    st.builds(
        Step,
        st.one_of(st.integers(0, 900), st.integers(0, 3 * HOUR)),
        st.sampled_from([False, False, False, True]),
        st.sampled_from([True, True, False]),
    ),
    max_size=12,
)


async def read(reader: UsageReader, records: Records) -> None:
    """As cycles do it: less use than before is asked for again until it is believed."""
    for _ in range(LOWER_READS_BEFORE_BELIEF):
        try:
            await reader.read(records, lambda job: True, BASE, records.now)
            await reader.read_back(records, lambda job: True, BASE, lambda: True)
        except DistrustedRead:
            continue
        return


def resume(directory: Path) -> tuple[UsageBook, UsageReader]:
    book = UsageBook(directory, epoch=1)
    return book, UsageReader(book, overlap_seconds=OVERLAP, lag_seconds=300)


@given(st.lists(stories(), max_size=8, unique_by=lambda story: story.job.key), STEPS)
@settings(max_examples=2000, deadline=None)
async def test_once_the_records_are_at_rest_the_books_are_those_of_the_jobs(told: list[Story], steps: list[Step]) -> None:
    with TemporaryDirectory(dir=MEMORY) as folder:
        records = Records(told)
        book, reader = resume(Path(folder))
        for step in steps:
            if step.restart:
                book, reader = resume(Path(folder))
            records.now += step.seconds
            records.complete = step.complete
            await read(reader, records)
        records.now, records.complete = BASE + 40 * HOUR, True
        await read(reader, records)
        expected = slots_of(record for story in told if (record := story.record(records.now)))
        booked = {
            (name, resource): sum(amount for _, amount in spans)
            for name, charges in book.accounts()
            for resource, spans in charges.spans(()).items()
        }
        sums: dict[tuple[str, str], int] = {}
        for key, rows in expected.items():
            for row, amounts in rows.items():
                place = key.account, row.resource
                sums[place] = sums.get(place, 0) + amounts.charged
        assert booked == {place: amount for place, amount in sums.items() if amount}
        assert {key: version.rows for key, version in book.unsent.items() if version.rows} == expected


async def test_an_account_that_is_not_ours_any_more_keeps_what_was_counted(tmp_path: Path) -> None:
    """It was deleted at the scheduler, or somebody took our mark off it, an hour after its job."""
    job = JobUse("1", "aa", "ann", BASE, BASE + HOUR, {"cpu": 2}, state="COMPLETED")
    records = Records([Story(job, BASE, None)])
    book, reader = resume(tmp_path)
    records.now = BASE + HOUR
    await reader.read(records, lambda job: True, BASE, records.now)
    records.now += 900
    await reader.read(records, lambda job: False, BASE, records.now)
    assert book.allocated({}, BASE)[0] == 2 * HOUR


async def test_a_clock_that_was_ahead_for_a_while_loses_nothing(tmp_path: Path) -> None:
    """Of the machine that Slurm runs on: a read had found everything complete up to a year from now."""
    jobs = [JobUse(str(n), "aa", "ann", BASE + n * HOUR, BASE + (n + 1) * HOUR, {"cpu": 2}) for n in range(9)]
    told = [Story(job, job.start, None) for job in jobs]
    records = Records(told[:5])
    book, reader = resume(tmp_path)
    for now in (BASE + 5 * HOUR, BASE + 365 * DAY):
        records.now = now
        await read(reader, records)
    records.told, records.now = told, BASE + 9 * HOUR
    await read(reader, records)
    assert book.allocated({}, BASE)[0] == 9 * 2 * HOUR
    assert book.watermark == records.now
    again, _ = resume(tmp_path)
    assert again.watermark == records.now

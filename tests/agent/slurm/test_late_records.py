"""Records that come or change weeks after the job, in the real database behind slurmdbd."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.sweep import Sweep
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import JobUse
from bursar_domain.units import DAY, HOUR
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing import mariadb
from bursar_testing.slurm_accounts import OpenAccount, until_recorded

DAYS = 5
LOOKS = 30

pytestmark = pytest.mark.slurm


class Late:
    """Two jobs that ended days ago, a reader of their records, and a sweep whose clock is ours."""

    def __init__(self, slurm: Slurm, scheduler: SlurmScheduler, account: str, directory: Path) -> None:
        self.slurm, self.scheduler, self.account = slurm, scheduler, account
        self.book = UsageBook(directory, epoch=1)
        self.reader = UsageReader(self.book, overlap_seconds=HOUR, lag_seconds=300)
        self.directory, self.table = directory, f"{slurm.cluster}_job_table"
        self.now = int(time.time())

    async def edit(self, job: int, **columns: object) -> None:
        """As somebody would who mends the database by hand."""
        text = ", ".join(f"{name}={value!r}" for name, value in columns.items())
        await self._execute(f"update {self.table} set {text} where id_job={job}")

    async def take(self, job: int) -> None:
        """Put a record aside."""
        where = f"from {self.table} where id_job={job}"
        await self._execute(f"create table kept select * {where}", f"delete {where}")

    async def give_back(self) -> None:
        """As when a backup is restored."""
        await self._execute(f"insert into {self.table} select * from kept", "drop table kept")

    async def _execute(self, *statements: str) -> None:
        await mariadb.execute(self.slurm.layout.database_socket, "slurm_acct_db", *statements)

    async def move(self, job: int, start: int, seconds: int) -> None:
        """To another time."""
        end = start + seconds
        await self.edit(job, time_submit=start, time_eligible=start, time_start=start, time_end=end)

    def is_ours(self, job: JobUse) -> bool:
        return job.account == self.account

    async def read(self) -> None:
        first = self.now - 2 * DAYS * DAY
        await self.reader.read(self.scheduler, self.is_ours, first, self.now)
        await self.reader.read_back(self.scheduler, self.is_ours, first, lambda: True)

    async def swept(self, reached: Callable[[], bool]) -> int:
        """A sweep from its beginning, each step an hour later, until the books are as wanted; how many slots changed."""
        (self.directory / "usage-sweep.json").unlink(missing_ok=True)
        sweep = Sweep(self.book, self.reader, self.directory, DAYS)
        now, changed = self.now, 0
        for _ in range(LOOKS):
            if reached():
                return changed
            now += HOUR
            changed += await sweep.step(self.scheduler, self.is_ours, now)
        raise AssertionError(f"the books never came to it: {self.cpu()}")

    def cpu(self) -> int:
        return sum(amount for _, amount in self.book.quarters(self.account, ()).get("cpu", ()))


@pytest.fixture
async def late(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount, tmp_path: Path
) -> Late:
    """The plug-in, with an account of ours."""
    await scheduler.observe(cluster)
    return Late(slurm, scheduler, await open_account(), tmp_path)


async def ran(late: Late, cpus: int, start: int, seconds: int) -> int:
    """A real job, whose record is moved to the past."""
    job = await late.slurm.submit(late.account, "alice", cpus=cpus, seconds=0)
    await until_recorded(late.slurm, job)
    await late.move(job, start, seconds)
    return job


async def test_a_record_that_changes_days_later_is_found_by_the_sweep_alone(late: Late) -> None:
    start = (late.now - 3 * DAY) // HOUR * HOUR + 600
    await ran(late, 1, start - 5 * DAY, HOUR)
    job = await ran(late, 4, start, 1000)
    await late.read()
    assert late.cpu() == HOUR + 4 * 1000
    await late.move(job, start, 3 * HOUR)  # it was closed with a wrong end
    await late.read()
    assert late.cpu() == HOUR + 4 * 1000  # ordinary reads don't look there
    watermark = late.book.watermark
    assert await late.swept(lambda: late.cpu() == HOUR + 4 * 3 * HOUR) == 4
    await late.move(job, start, 60)  # mended the other way
    await late.swept(lambda: late.cpu() == HOUR + 4 * 60)
    await late.edit(job, state=7)  # NODE_FAIL: the machine's fault
    await late.swept(lambda: late.cpu() == HOUR)
    assert late.book.watermark == watermark


async def test_a_record_that_comes_days_later_is_found_and_one_that_goes_is_given_back(late: Late) -> None:
    start = (late.now - 2 * DAY) // HOUR * HOUR
    await ran(late, 1, start - 6 * DAY, HOUR)
    job = await ran(late, 8, start, 2 * HOUR)
    await late.take(job)
    await late.read()
    assert late.cpu() == HOUR
    await late.give_back()
    assert await late.swept(lambda: late.cpu() == HOUR + 8 * 2 * HOUR) == 2
    await late.take(job)
    assert await late.swept(lambda: late.cpu() == HOUR) == 2
    await late.give_back()

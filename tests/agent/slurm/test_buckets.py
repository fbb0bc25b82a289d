"""From the text of sacct to the books: states, time zones, long jobs, suspensions, factors; nothing is told by free text."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from bursar_agent.files import DamagedFile
from bursar_agent.schedulers.base import UsageRead
from bursar_agent.schedulers.slurm import factors, records
from bursar_agent.schedulers.slurm.commands import FIXED_ENVIRONMENT
from bursar_agent.schedulers.slurm.factors import FactorStore
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.buckets import JobUse, RowKey, slots_of
from bursar_domain.units import HOUR, QUARTER

TRACKABLES = {"cpu": "cpu", "gpu": "gres/gpu", "memory": "mem", "billing": "billing"}
HELD = "billing=35,cpu=3,gres/gpu:a100=2,gres/gpu=2,mem=3072M,node=1"
BASE = 400_000 * HOUR
FREE_TEXT = {
    "jobname",
    "comment",
    "admincomment",
    "systemcomment",
    "workdir",
    "submitline",
    "wckey",
    "reason",
    "nodelist",
    "extra",
}


def full(qos: str, time: int) -> int:
    """Every QOS counts in full."""
    return 1000


def row(start: object, end: object, elapsed: int, *, index: int = 1, state: str = "COMPLETED", held: str = HELD) -> str:
    """A line of sacct."""
    return f"{index}|{index + 100}|proj|alice|normal|{start}|{end}|{elapsed}|{state}|{held}|60"


def jobs(*rows: str, asked_at: int = BASE, at: factors.FactorAt = full) -> list[JobUse]:
    """What the plug-in makes of the lines; all of them can be read."""
    found, bad = records.parse("\n".join(rows), "alpha", at)
    assert bad == 0
    return [records.use(record, TRACKABLES, asked_at) for record in records.newest([found]).values()]


def at(zone: str, *when: int) -> int:
    """Epoch seconds of a local time."""
    return int(datetime(*when, tzinfo=ZoneInfo(zone)).timestamp())  # type: ignore[arg-type,misc]


def by_day(found: Sequence[JobUse], zone: str, resource: str = "cpu") -> dict[str, int]:
    """Unit-seconds by local day, from the buckets."""
    days: defaultdict[str, int] = defaultdict(int)
    for key, rows in slots_of(found).items():
        for quarter, amount in enumerate(rows.get(RowKey("alice", resource), ((0,) * 4, ()))[0]):
            if amount:
                day = datetime.fromtimestamp(key.hour + quarter * QUARTER, ZoneInfo(zone)).date()
                days[day.isoformat()] += amount
    return dict(days)


DAYS = [
    # zone, start, end, seconds of each local day
    ("UTC", (2026, 11, 25, 23, 59, 50), (2026, 11, 26, 0, 0, 15), {"2026-11-25": 10, "2026-11-26": 15}),
    ("UTC", (2026, 2, 28, 22, 0), (2026, 3, 1, 1, 0), {"2026-02-28": 7200, "2026-03-01": 3600}),
    ("UTC", (2028, 2, 28, 23, 0), (2028, 3, 1, 1, 0), {"2028-02-28": 3600, "2028-02-29": 86400, "2028-03-01": 3600}),
    ("UTC", (2026, 12, 31, 23, 0), (2027, 1, 1, 0, 1), {"2026-12-31": 3600, "2027-01-01": 60}),
    # The day on which clocks go forward has 23 hours, the one on which they go back has 25.
    (
        "America/New_York",
        (2026, 3, 7, 23, 0),
        (2026, 3, 9, 1, 0),
        {"2026-03-07": 3600, "2026-03-08": 23 * 3600, "2026-03-09": 3600},
    ),
    (
        "America/New_York",
        (2026, 10, 31, 23, 0),
        (2026, 11, 2, 1, 0),
        {"2026-10-31": 3600, "2026-11-01": 25 * 3600, "2026-11-02": 3600},
    ),
    ("Europe/London", (2026, 3, 29, 0, 0), (2026, 3, 30, 0, 0), {"2026-03-29": 23 * 3600}),
    ("Europe/London", (2026, 10, 25, 0, 0), (2026, 10, 26, 0, 0), {"2026-10-25": 25 * 3600}),
    ("Europe/London", (2026, 10, 31, 12, 0), (2026, 11, 1, 12, 0), {"2026-10-31": 43200, "2026-11-01": 43200}),
    # A boundary that is no full hour of UTC.
    ("Asia/Kathmandu", (2026, 6, 1, 23, 0), (2026, 6, 2, 0, 30), {"2026-06-01": 3600, "2026-06-02": 1800}),
]


@pytest.mark.parametrize(("zone", "start", "end", "seconds"), DAYS)
def test_a_job_is_split_at_the_boundaries_of_local_days(
    zone: str, start: tuple[int, ...], end: tuple[int, ...], seconds: dict[str, int]
) -> None:
    began, ended = at(zone, *start), at(zone, *end)
    assert ended - began == sum(seconds.values())
    found = jobs(row(began, ended, ended - began))
    for resource, units in (("cpu", 3), ("gpu", 2), ("memory", 3072), ("billing", 35)):
        assert by_day(found, zone, resource) == {day: units * count for day, count in seconds.items()}


def test_a_job_of_more_than_31_days_counts_every_second() -> None:
    began = at("UTC", 2026, 1, 1)
    lasted = 40 * 86400 + 17
    days = by_day(jobs(row(began, began + lasted, lasted)), "UTC")
    assert sorted(days.values()) == [3 * 17, *[3 * 86400] * 40]


@pytest.mark.parametrize(
    ("state", "is_refunded"),
    [
        ("COMPLETED", False),
        ("FAILED", False),
        ("TIMEOUT", False),
        ("OUT_OF_MEMORY", False),
        ("CANCELLED by 60101", False),
        ("PREEMPTED", False),
        ("DEADLINE", False),
        ("REQUEUED", False),
        ("RESIZING", False),
        ("NODE_FAIL", True),
        ("BOOT_FAIL", True),
    ],
)
def test_only_what_the_machine_broke_is_refunded(state: str, is_refunded: bool) -> None:
    (job,) = jobs(row(BASE, BASE + 600, 600, state=state))
    assert job.state == state.split(" ")[0]
    assert job.refunded == is_refunded
    (slot,) = slots_of([job]).values()
    assert slot[RowKey("alice", "cpu")].charged == (0 if is_refunded else 1800)
    assert sum(slot[RowKey("alice", "cpu")].allocated) == 1800


@pytest.mark.parametrize(
    "text",
    [
        row("None", BASE, 0, state="CANCELLED by 0", held=""),
        row("Unknown", "Unknown", 0, state="PENDING", held=""),
        # Older releases write the second of the cancellation as the start.
        row(BASE, BASE, 0, state="CANCELLED by 0", held=""),
    ],
)
def test_a_job_that_never_began_is_nothing(text: str) -> None:
    assert jobs(text) == []


def test_a_job_of_no_length_is_an_attempt_without_use() -> None:
    (job,) = jobs(row(BASE, BASE, 0))
    assert job.cost("cpu") == 0
    assert slots_of([job]) == {}


def test_a_job_whose_end_is_unknown_counts_to_the_read() -> None:
    (job,) = jobs(row(BASE, "Unknown", 700, state="RUNNING"), asked_at=BASE + 700)
    assert (job.running, job.end, job.cost("cpu"), job.suspended_seconds) == (True, BASE + 700, 2100, 0)


def test_time_in_suspension_is_neither_use_nor_lost_from_the_time_limit() -> None:
    (job,) = jobs(row(BASE, "Unknown", 100, state="SUSPENDED"), asked_at=BASE + 700)
    assert (job.cost("cpu"), job.suspended_seconds) == (300, 600)
    (ended,) = jobs(row(BASE, BASE + 1000, 100))
    assert (ended.end, ended.suspended_seconds) == (BASE + 100, 900)


def test_each_attempt_of_a_requeued_job_counts_and_a_record_read_twice_is_one() -> None:
    first = row(BASE, BASE + 40, 40, index=7, state="REQUEUED")
    second = row(BASE + 160, BASE + 200, 40, index=8).replace("|108|", "|107|")
    earlier_read = row(BASE + 160, "Unknown", 10, index=8, state="RUNNING").replace("|108|", "|107|")
    assert [job.key for job in jobs(first, earlier_read, second, first)] == ["alpha:7", "alpha:8"]
    assert sum(job.cost("cpu") for job in jobs(first, earlier_read, second, first)) == 3 * 80


@pytest.mark.parametrize(
    ("held", "gpus"),
    [
        ("cpu=1,gres/gpu:a100=2,gres/gpu=2", 2),
        ("cpu=1,gres/gpu=2", 2),
        ("cpu=1,gres/gpu:a100=2", 2),
        ("cpu=1,gres/gpu:a100=2,gres/gpu:v100=1,gres/gpu=3", 3),
        ("cpu=1,gres/gpu:a100=2,gres/gpu:v100=1", 3),
        ("cpu=1", 0),
    ],
)
def test_gpus_count_once_with_and_without_their_type(held: str, gpus: int) -> None:
    (job,) = jobs(row(BASE, BASE + 10, 10, held=held))
    assert job.allocated.get("gpu", 0) == gpus


@pytest.mark.parametrize(
    "text", [row(BASE, BASE + 10, 11), row(BASE + 10, BASE, 5), row(BASE, BASE + 10, 10).replace("|10|", "|-10|")]
)
def test_an_attempt_longer_than_from_its_start_to_its_end_cannot_be_read(text: str) -> None:
    assert records.parse(text, "alpha", full) == ([], 1)


def test_no_free_text_is_asked_for_and_times_are_utc_seconds() -> None:
    assert not set(records.FIELDS) & FREE_TEXT
    assert FIXED_ENVIRONMENT == {"LC_ALL": "C", "TZ": "UTC", "SLURM_TIME_FORMAT": "%s"}
    command = records.arguments("alpha", at("UTC", 2026, 11, 25), None)
    assert command[-2:] == ("2026-11-25T00:00:00", f"--format={','.join(records.FIELDS)}")


# Factors


def test_a_job_is_charged_with_the_factor_in_force_when_it_began() -> None:
    history: factors.History = {}
    for time, factor in ((1000, 500), (2000, 500), (3000, 250)):
        history = factors.noted(history, {"half": factor}, time)
    assert history == {"half": ((0, 500), (3000, 250))}
    assert [factors.factor_at(history, "half", time) for time in (0, 2999, 3000, 9000)] == [500, 500, 250, 250]
    assert factors.factor_at(history, "never-seen", 0) == 1000
    assert factors.noted(history, {}, 4000) is history  # a QOS that is deleted keeps its factor


def test_factors_outlast_the_agent_and_their_qos(tmp_path: Path) -> None:
    FactorStore(tmp_path).note({"half": 500, "free": 0}, 1000)
    again = FactorStore(tmp_path)
    again.note({"free": 0}, 2000)
    assert FactorStore(tmp_path).at("half", 5000) == 500
    (job,) = jobs(row(BASE, BASE + 11, 11).replace("|normal|", "|half|"), at=again.at)
    assert (job.factor_thousandths, job.cost("cpu")) == (500, 16)


def test_a_damaged_history_is_an_error_and_no_guess(tmp_path: Path) -> None:
    (tmp_path / "usage-factors.json").write_text('{"half": [[0')
    with pytest.raises(DamagedFile, match="remove it"):
        FactorStore(tmp_path)


@pytest.mark.parametrize("factor", ["-1", "x", "NaN", "Infinity"])
def test_a_factor_that_is_none_is_an_error(factor: str) -> None:
    with pytest.raises(ValueError, match="UsageFactor of QOS odd"):
        factors.parse(f"normal|1.000000\nodd|{factor}\n")


# Reading again


class Sacct(SlurmScheduler):
    """A scheduler whose job records are lines of sacct."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.now = BASE
        self.reads: list[int] = []

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        self.reads.append(since)
        found = [job for job in jobs(*self.lines, asked_at=self.now) if until is None or job.start < until]
        return UsageRead(self.now, since, [job for job in found if job.end + job.suspended_seconds > since], self.now)


async def counted(reader: UsageReader, book: UsageBook, sacct: Sacct, now: int) -> int:
    """CPU seconds in the book after a read at `now`."""
    sacct.now = now
    await reader.read(sacct, lambda job: True, BASE, now)
    return sum(amount for _, amount in book.quarters("proj", ())["cpu"])


async def test_a_job_that_goes_on_after_a_long_suspension_loses_nothing(tmp_path: Path) -> None:
    sacct, book = Sacct(), UsageBook(tmp_path, epoch=1)
    reader = UsageReader(book, overlap_seconds=2 * HOUR, lag_seconds=60)
    sacct.lines = [row(BASE, "Unknown", 1000, state="RUNNING")]
    await counted(reader, book, sacct, BASE + 1000)
    for hour in range(1, 30):
        sacct.lines = [row(BASE, "Unknown", 1800, state="SUSPENDED")]
        assert await counted(reader, book, sacct, BASE + hour * HOUR) == 3 * 1800
    sacct.lines = [row(BASE, "Unknown", 1800 + 500, state="RUNNING")]
    assert await counted(reader, book, sacct, BASE + 29 * HOUR + 500) == 3 * 2300
    sacct.lines = [row(BASE, BASE + 31 * HOUR, 1800 + 2 * HOUR)]
    assert await counted(reader, book, sacct, BASE + 31 * HOUR) == 3 * (1800 + 2 * HOUR)
    assert min(sacct.reads[3:]) >= BASE


def test_utc_is_what_a_window_of_sacct_is_asked_in() -> None:
    start = int(datetime(2026, 3, 8, 7, 30, tzinfo=UTC).timestamp())
    assert "2026-03-08T07:30:00" in records.arguments("alpha", start, start + HOUR)
    assert "2026-03-08T08:30:00" in records.arguments("alpha", start, start + HOUR)

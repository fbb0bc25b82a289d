"""Use from before the books begin: read backwards in pieces that memory can hold, from crash to crash, while cycles go on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox, usage_pages
from bursar_agent.schedulers.base import UsageRead
from bursar_agent.schedulers.simulator import SimulatedScheduler, SimulatorSettings
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_agent.verify import DesiredState
from bursar_domain.buckets import JobUse, slots_of
from bursar_domain.keys import Signer
from bursar_domain.units import DAY, HOUR
from bursar_domain.wire import AccountEntry, Root
from bursar_testing.agents import account, allocation, cluster_settings
from bursar_testing.feeds import JobRecords

BASE = 400_000 * HOUR
DAYS = 365
NOW = BASE + DAYS * DAY
MOST = 16


class Year(JobRecords):
    """A job an hour for a year, and the most records that one read had."""

    def __init__(self) -> None:
        super().__init__(BASE)
        self.now, self.most = NOW, 0
        spans = ((BASE + n * HOUR, min(NOW, BASE + n * HOUR + 4000)) for n in range(DAYS * 24))
        self.jobs = [JobUse(str(n), "ab"[n % 2], "ann", *span, {"cpu": 1}) for n, span in enumerate(spans)]
        self.jobs.append(JobUse("long", "a", "bob", BASE + DAY, NOW - DAY, {"cpu": 2}))

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        found = await super().usage(since, until)
        self.most = max(self.most, len(found.jobs))
        return found


@pytest.fixture
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site whose memory holds few records."""
    monkeypatch.setattr("bursar_agent.slices.MOST_RECORDS", MOST)


@pytest.mark.usefixtures("_few")
async def test_a_year_is_read_in_pieces_from_crash_to_crash_and_told_when_all_of_it_is_there(tmp_path: Path) -> None:
    records = Year()
    restarts = 0
    while True:
        book = UsageBook(tmp_path, epoch=5)
        reader = UsageReader(book, overlap_seconds=HOUR, lag_seconds=300)
        steps: Iterator[bool] = iter([True] * 300 + [False])
        await reader.read(records, lambda job: True, BASE, NOW)
        await reader.read_back(records, lambda job: True, BASE, lambda steps=steps: next(steps))  # type: ignore[misc]
        if book.covered_from == BASE:
            break
        assert book.rebuilt is None
        assert all(report.watermark is None for report, _ in usage_pages(book, "s"))
        restarts += 1
    assert restarts > 2
    assert records.most <= 24 + 3  # a day is read at once, everything else in pieces of less than that
    assert {key: version.rows for key, version in book.unsent.items()} == slots_of(records.jobs)
    assert book.rebuilt is not None
    assert (book.rebuilt.epoch, book.rebuilt.start) == (5, BASE + HOUR)  # when the first of the jobs ended
    assert [report.watermark for report, _ in usage_pages(book, "s")][-1] == NOW


class Site:
    """An agent on a simulator, whose cycles have no time to read back more than a slice each."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.generation, self.outbox = directory, 0, Outbox("s")
        values = {"cluster": "c", "gateway": "https://127.0.0.1:1", "state_directory": directory, "scheduler": "simulator"}
        self.settings = AgentSettings.model_validate({**values, "usage_interval_seconds": 0.05})
        own = SimulatorSettings.model_validate({"ends_at": BASE})
        self.scheduler = SimulatedScheduler(own, directory, clock=lambda: 0.0, wall=lambda: float(BASE))
        self.restart()

    def restart(self) -> None:
        ticks = iter(range(2**40))
        clocks = Clocks(wall=lambda: float(BASE), monotonic=lambda: float(next(ticks)))
        book = UsageBook(self.directory, epoch=1)
        self.cycles = Cycles(self.settings, self.scheduler, Journal(self.directory), book, self.outbox, clocks)

    def state(self, *entries: AccountEntry) -> DesiredState:
        self.generation += 1
        root = Root(
            cluster="c", epoch=1, generation=self.generation, acknowledged=0, issued_at=0, valid_until=2**40, digest="d"
        )
        return DesiredState(Signer(bytes(32)).sign(root), cluster_settings("c"), {entry.account: entry for entry in entries})

    def limit(self, name: str) -> Any:
        return self.scheduler.machine.accounts[name].limits.get("cpu")


async def test_whoever_had_use_that_is_not_read_yet_waits_and_others_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(tmp_path)
    old, new = allocation("old", 10, start=BASE - 300 * DAY), allocation("new", 10, start=BASE)
    await site.cycles.run(site.state(account("aa", old, members=("ann",)), account("bb", new)))
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 2})
    site.scheduler.advance(site.scheduler.machine.now + 30 * HOUR)
    (tmp_path / "usage.jsonl").unlink()
    monkeypatch.setattr("bursar_agent.cycle.READ_BACK_SECONDS", -1)
    site.restart()
    old, new = allocation("old", 20, 2, start=BASE - 300 * DAY), allocation("new", 20, 2, start=BASE)
    state = site.state(account("aa", old, members=("ann",)), account("bb", new))
    for _ in range(2):
        await site.cycles.run(state)
    assert site.limit("bb") == 20 * 60
    assert site.limit("aa") == 10 * 60
    assert "not read yet" in site.outbox.states["aa"].error
    for _ in range(12):
        await site.cycles.run(state)
    assert site.limit("aa") == 20 * 60
    assert site.outbox.states["aa"].error == ""

"""The books' journal: from any crash point it gives the same books, and reading again leads to the same end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_agent.files import DamagedFile
from bursar_agent.outbox import usage_pages
from bursar_agent.refusals import Refusals
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagefile import SLOTS_PER_LINE
from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, SlotVersion, slots_of
from bursar_domain.units import HOUR
from bursar_domain.wire import Refused, SlotReport

BASE = 400_000 * HOUR
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # nothing waits for a disk there
CUTS = (BASE + HOUR, BASE + 3 * HOUR + 900)
Rows = Mapping[RowKey, Amounts]


def state(book: UsageBook) -> tuple[object, ...]:
    """All that the books say."""
    charged = {name: (charges.spans(()), charges.spans(CUTS), list(charges.hours(0))) for name, charges in book.accounts()}
    head = book.epoch, book.seq, book.watermark, book.covered_from, book.rebuild_from, book.sent_watermark, book.recount_to
    return (*head, book.last_report), dict(book.unsent), charged


@dataclass
class Gateway:
    """What it has: the greater version of a slot replaces."""

    slots: dict[SlotKey, tuple[SlotVersion, Rows]] = field(default_factory=dict)

    def take(self, report: SlotReport) -> None:
        key, version = SlotKey(report.account, report.hour), SlotVersion(report.epoch, report.seq)
        if key not in self.slots or self.slots[key][0] < version:
            rows = {RowKey(row.user, row.resource): Amounts(row.allocated, row.refunded) for row in report.rows}
            self.slots[key] = version, rows

    @property
    def filled(self) -> dict[SlotKey, Rows]:
        return {key: rows for key, (_, rows) in self.slots.items() if rows}


def deliver(book: UsageBook, gateway: Gateway) -> None:
    for report, slots in usage_pages(book, "s"):
        for slot in slots:
            gateway.take(slot)
        book.sent(slots, report.watermark, rebuilt=report.rebuilt, report=report.report_id)


@dataclass(frozen=True)
class Point:
    """A moment at which everything written was on disk."""

    file: bytes
    books: tuple[object, ...]
    before: Mapping[SlotKey, tuple[SlotVersion, Rows]]  # what the gateway had when the last line was written


class Life:
    """Reads of jobs that come, go on and end, reports, restarts; every step adds a line or compacts the file."""

    def __init__(self, directory: Path, dice: Random, *, compact_bytes: int = 10**6) -> None:
        self.directory, self.dice, self.compact_bytes = directory, dice, compact_bytes
        self.book = UsageBook(directory, epoch=3, compact_bytes=compact_bytes)
        self.gateway = Gateway()
        self.jobs: list[JobUse] = []
        self.now = BASE
        self.points = [Point(b"", state(self.book), {})]

    def live(self, steps: int) -> None:
        for _ in range(steps):
            before = dict(self.gateway.slots)
            self.step()
            if self.book.is_long:
                self.compact_aside()
            if self.dice.random() < 0.1:
                self.book = UsageBook(self.directory, epoch=99 if self.file else 3, compact_bytes=self.compact_bytes)
            file = self.file
            # The gateway may have had the last page before its line was written.
            before = dict(self.gateway.slots) if b'"kind":"sent"' in file[file.rfind(b"\n", 0, -1) :] else before
            self.points.append(Point(file, state(self.book), before))

    def step(self) -> None:
        self.dice.choice([self.read, self.read, self.report, self.report_a_page])()

    def compact_aside(self) -> None:
        """The pass over the file takes a while, in which the books go on."""
        snapshot, steps = self.book.snapshot(), self.dice.randrange(3)
        for _ in range(steps):
            self.step()
        self.book.file.write_compact(snapshot)
        for _ in range(self.dice.randrange(3)):
            self.step()
        self.book.file.use_compact(snapshot)

    @property
    def file(self) -> bytes:
        path = self.directory / "usage.jsonl"
        return path.read_bytes() if path.exists() else b""

    def read(self) -> None:
        self.now += self.dice.choice([60, 900, 2 * HOUR])
        if len(self.jobs) < 5 and self.dice.random() < 0.8:
            start = self.dice.randrange(BASE, self.now)
            size = {"cpu": self.dice.randrange(1, 9)} | ({"gpu": 1} if self.dice.random() < 0.3 else {})
            who = self.dice.choice("ab"), self.dice.choice(["ann", "bob"])
            self.jobs.append(JobUse(str(len(self.jobs)), *who, start, start + self.dice.randrange(3 * HOUR), size))
        elif self.jobs and self.dice.random() < 0.3:
            self.jobs.pop(self.dice.randrange(len(self.jobs)))  # records that were wrong
        self.book.record(self.slots, BASE, self.now if self.dice.random() < 0.8 else None)

    @property
    def slots(self) -> Mapping[SlotKey, Rows]:
        return slots_of(self.jobs)

    def report(self) -> None:
        deliver(self.book, self.gateway)

    def report_a_page(self) -> None:
        """Some slots only, as when a later page did not come through."""
        keys = self.book.sendable[:2]
        reports = [self.book.report(key) for key in keys]
        for report in reports:
            self.gateway.take(report)
        if reports:
            self.book.sent(reports, None)


def check_crash(life: Life, directory: Path, after: int, cut: int) -> None:
    """The machine went down when so many bytes of what came after a point were on disk."""
    last, torn = life.points[after], life.points[after + 1]
    (directory / "usage.jsonl").write_bytes(torn.file[:cut])
    book = UsageBook(directory, epoch=99 if last.file else 3)
    assert state(book) == (torn.books if cut >= len(torn.file) - 1 else last.books)
    gateway = Gateway(dict(torn.before))
    book.record(life.slots, BASE, life.now)
    assert sums(book) == sums(life.book)
    deliver(book, gateway)
    assert gateway.filled == life.slots
    assert state(UsageBook(directory, epoch=99)) == state(book)


def sums(book: UsageBook) -> dict[str, object]:
    return {name: charges.spans(CUTS) for name, charges in book.accounts() if charges.spans(())}


def grown(life: Life) -> list[int]:
    """Points after which a line was added, and nothing else happened to the file."""
    pairs = zip(life.points, life.points[1:], strict=False)
    return [
        number
        for number, (old, new) in enumerate(pairs)
        if len(new.file) > len(old.file)
        and new.file.startswith(old.file)
        and new.file.count(b"\n") == old.file.count(b"\n") + 1
    ]


@pytest.mark.parametrize("seed", range(4))
def test_a_crash_at_any_byte_gives_the_books_of_the_last_whole_line(tmp_path: Path, seed: int) -> None:
    (tmp_path / "life").mkdir()
    (tmp_path / "crash").mkdir()
    life = Life(tmp_path / "life", Random(seed))
    life.live(12)
    life.book.record(life.slots, BASE, life.now)
    points = grown(life)
    assert len(points) > 3
    for after in points[-3:]:
        for cut in range(len(life.points[after].file), len(life.points[after + 1].file) + 1):
            check_crash(life, tmp_path / "crash", after, cut)


@given(st.integers(0, 2**32), st.integers(1, 25), st.sampled_from([600, 3000, 10**6]), st.floats(0, 1), st.floats(0, 1))
@settings(max_examples=2000, deadline=None)
def test_replaying_the_journal_from_any_crash_point_gives_the_same_books(
    seed: int, steps: int, compact_bytes: int, which: float, where: float
) -> None:
    with TemporaryDirectory(dir=MEMORY) as folder:
        home, crash = Path(folder, "life"), Path(folder, "crash")
        home.mkdir()
        crash.mkdir()
        life = Life(home, Random(seed), compact_bytes=compact_bytes)
        life.live(steps)
        assert state(UsageBook(home, epoch=99)) == state(life.book) or not life.points[-1].file
        life.book.record(life.slots, BASE, life.now)
        points = grown(life)
        if points:
            after = points[int(which * (len(points) - 1))]
            begin, end = len(life.points[after].file), len(life.points[after + 1].file)
            check_crash(life, crash, after, begin + int(where * (end - begin)))
        deliver(life.book, life.gateway)
        assert life.gateway.filled == life.slots


@pytest.mark.parametrize("crash", ["before the file is replaced", "after it"])
def test_a_crash_while_the_file_is_compacted_loses_nothing(tmp_path: Path, crash: str) -> None:
    life = Life(tmp_path, Random(1), compact_bytes=10**6)
    life.live(30)
    books, file = state(life.book), (tmp_path / "usage.jsonl").read_bytes()
    UsageBook(tmp_path, epoch=99).compact()
    assert len((tmp_path / "usage.jsonl").read_bytes()) < len(file)
    if crash == "before the file is replaced":
        (tmp_path / ".usage.jsonl.new").write_bytes((tmp_path / "usage.jsonl").read_bytes()[:100])
        (tmp_path / "usage.jsonl").write_bytes(file)
    assert state(UsageBook(tmp_path, epoch=99)) == books


def test_a_file_of_an_older_agent_is_read(tmp_path: Path) -> None:
    """It kept no rebuild: what it sent counted as it came."""
    (tmp_path / "usage.jsonl").write_text(
        '{"kind":"read","epoch":5,"seq":9,"watermark":7200,"from":0,"slots":[["aa",3600,4,[["ann","cpu",1,2,3,4,0,0,0,0]]],'
        '["aa",0,9,[]]]}\n{"kind":"sent","slots":[["aa",3600,4]],"watermark":3600}\n'
    )
    book = UsageBook(tmp_path, epoch=99)
    assert (book.epoch, book.seq, book.watermark, book.sent_watermark, book.rebuild_from) == (5, 9, 7200, 3600, None)
    assert book.quarters("aa", ()) == {"cpu": [(3600, 10)]}
    assert set(book.unsent) == {SlotKey("aa", 0)}


def test_slots_that_are_refused_are_kept_for_people_and_not_sent_again_as_they_are(tmp_path: Path) -> None:
    book = UsageBook(tmp_path, epoch=1)
    jobs = [JobUse(name, name, "ann", BASE, BASE + 600, {"cpu": 2}) for name in ("aa", "bb")]
    book.record(slots_of(jobs), BASE, BASE + 600)
    refusal = Refused(account="bb", hour=BASE, reason="Absurd")

    def send(book: UsageBook) -> tuple[list[str], list[Refused]]:
        names, news = [], []
        for report, slots in usage_pages(book, "s"):
            names += [slot.account for slot in slots]
            refused = [refusal] if "bb" in names else []
            news += book.sent(slots, report.watermark, rebuilt=report.rebuilt, refused=refused)
        return names, news

    assert send(book) == (["aa", "bb"], [refusal])
    assert send(book) == ([], [])
    assert book.refusals.counts == {"Absurd": 1}
    assert '"reason":"Absurd"' in (tmp_path / "refused.jsonl").read_text()
    book.refusals.offer_again()  # a new session
    assert send(book) == (["bb"], [])
    jobs[1] = JobUse("bb", "bb", "ann", BASE, BASE + 700, {"cpu": 2})
    book.record(slots_of(jobs), BASE, BASE + 700)
    assert send(book) == (["bb"], [refusal])
    again = UsageBook(tmp_path, epoch=1)
    assert set(again.unsent) == {SlotKey("bb", BASE)}


def test_the_file_of_refusals_is_bounded_and_holds_the_newest(tmp_path: Path) -> None:
    refusals = Refusals(tmp_path, most_bytes=3000)
    for seq in range(200):
        report = SlotReport(account="aa", hour=BASE, epoch=1, seq=seq)
        refusals.note([(report, Refused(account="aa", hour=BASE, reason="Negative"))])
        assert (tmp_path / "refused.jsonl").stat().st_size <= 3000
    assert '"seq":199' in (tmp_path / "refused.jsonl").read_text().splitlines()[-1]
    assert refusals.counts == {"Negative": 200}


@pytest.mark.parametrize(
    "line", ['{"kind":"read"}', "5", '{"kind":"read","epoch":1,"seq":1,"watermark":1,"from":1,"slots":[["aa",0]]}']
)
def test_a_file_that_was_not_written_here_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / "usage.jsonl").write_text(line + "\n")
    with pytest.raises(DamagedFile, match=r"usage.jsonl: not what was written; move it away"):
        UsageBook(tmp_path, epoch=1)


async def test_lines_that_were_added_while_the_file_was_compacted_are_in_it(tmp_path: Path) -> None:
    """In a thread, and the loop goes on meanwhile."""
    life = Life(tmp_path, Random(2))
    life.live(30)
    compacting = asyncio.create_task(life.book.compact_aside())
    await asyncio.sleep(0)
    while not compacting.done():
        life.step()
        await asyncio.sleep(0)
    life.step()
    assert state(UsageBook(tmp_path, epoch=99)) == state(life.book)


def test_a_read_of_very_many_slots_is_whole_only_with_its_last_line(tmp_path: Path) -> None:
    jobs = [JobUse(str(n), f"a{n}", "ann", BASE, BASE + 600, {"cpu": 1}) for n in range(2 * SLOTS_PER_LINE + 1)]
    book = UsageBook(tmp_path, epoch=1)
    assert book.record(slots_of(jobs), BASE, BASE + 600) == len(jobs)
    lines = (tmp_path / "usage.jsonl").read_bytes().splitlines(keepends=True)
    assert len(lines) == 3
    assert state(UsageBook(tmp_path, epoch=9)) == state(book)
    (tmp_path / "usage.jsonl").write_bytes(b"".join(lines[:2]))
    torn = UsageBook(tmp_path, epoch=9)
    assert (torn.watermark, torn.covered_from, torn.rebuild_from, torn.epoch) == (None, None, None, 1)
    torn.record(slots_of(jobs), BASE, BASE + 600)
    assert sums(torn) == sums(book)
    assert {key: version.rows for key, version in torn.unsent.items()} == slots_of(jobs)

"""Decisions about slots, without a database: order, duplication, chunking and rebuilds change no sum; no number breaks them."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, slots_of
from bursar_domain.units import HOUR
from bursar_domain.wire import RebuiltRange, SlotReport, UsageReport
from bursar_ledger import slots
from bursar_ledger.slots import Content, Standing
from bursar_testing.wires import slot, slots_at, usage

NOW = 2_000_000_000
ACCOUNTS = ("physics", "botany")


class Shelf:
    """Slots in memory, moved by the decisions alone."""

    def __init__(self) -> None:
        self.standing = Standing(accounts=ACCOUNTS)
        self.content: dict[SlotKey, Content] = {}
        self.aside: dict[int, list[tuple[SlotKey, Content]]] = {}

    def put(self, report: UsageReport) -> None:
        good, refused = slots.judge(report.slots, self.standing, NOW)
        assert refused == []
        if (first := slots.first_rebuild(good, self.standing)) is not None:
            self.count(first)
        rebuilt = slots.news_of_rebuild(report.rebuilt, self.standing)
        if rebuilt is not None:
            self.count(rebuilt)
            self.apply(self.aside.pop(rebuilt.epoch, []))
        counting, waiting = slots.parted(good, self.standing)
        self.apply(counting)
        for item in waiting:
            self.aside.setdefault(item[1].version.epoch, []).append(item)
        for key, content in list(self.content.items()):
            if any(item.start <= key.hour < item.end for item in self.standing.later(content.version.epoch)):
                del self.content[key]

    def count(self, rebuilt: RebuiltRange) -> None:
        others = tuple(item for item in self.standing.rebuilds if item.epoch != rebuilt.epoch)
        self.standing = replace(self.standing, rebuilds=(*others, rebuilt))

    def apply(self, found: Iterable[tuple[SlotKey, Content]]) -> None:
        stored = {key: content.version for key, content in self.content.items()}
        self.content |= slots.news(slots.newest(found), stored, self.standing)

    def totals(self) -> dict[str, int]:
        """Account -> unit-seconds of all resources."""
        found: Counter[str] = Counter()
        for key, content in self.content.items():
            found[key.account] += sum(sum(row[2:6]) for row in content.rows)
        return dict(+found)


JOBS = st.lists(
    st.builds(
        lambda number, account, start, seconds, cpus: JobUse(
            key=str(number), account=account, user="alice", start=start, end=start + seconds, allocated={"cpu": cpus}
        ),
        number=st.integers(0, 10**6),
        account=st.sampled_from(ACCOUNTS),
        start=st.integers(0, 3 * HOUR),
        seconds=st.integers(0, 3 * HOUR),
        cpus=st.integers(0, 500),
    ),
    max_size=4,
)


def pages(seen: Sequence[JobUse], version: tuple[int, int], size: int, rebuilt: bool, random: Random) -> list[UsageReport]:
    """A read of these jobs in pages; the last one of a rebuild of everything says so."""
    found: list[SlotReport] = slots_at(version, slots_of(seen))
    random.shuffle(found)
    cut = [found[at : at + size] for at in range(0, len(found), size)] or [[]]
    ids = [f"{version[0]}.{version[1]}.{number}" for number in range(len(cut))]
    last = (version[0], 0, 24 * HOUR) if rebuilt else None
    return [usage(name, *page, rebuilt=last if name == ids[-1] else None) for name, page in zip(ids, cut, strict=True)]


@given(batches=st.lists(st.tuples(JOBS, st.booleans()), min_size=1, max_size=4), seed=st.integers(0, 2**32))
@profile(max_examples=2_000, deadline=None)
def test_totals_are_the_sum_over_the_jobs_whatever_happens_on_the_way(
    batches: list[tuple[list[JobUse], bool]], seed: int
) -> None:
    """Each read sees more jobs than the one before, some as a rebuild from nothing; pages come shuffled and twice."""
    random, shelf = Random(seed), Shelf()
    seen: list[JobUse] = []
    sent: list[UsageReport] = []
    epoch = 0
    for seq, (batch, rebuilds) in enumerate(batches, start=1):
        seen += batch
        epoch += rebuilds
        sent += pages(seen, (epoch, seq), random.randint(1, 5), rebuilds, random)
    sent += random.sample(sent, len(sent) // 2)
    random.shuffle(sent)
    for report in sent:
        shelf.put(report)
    expected: Counter[str] = Counter()
    for job in seen:
        expected[job.account] += job.cost("cpu")
    assert shelf.totals() == dict(+expected)


NUMBERS = st.integers(-(2**80), 2**80) | st.integers(-2, 2)
QUARTERS = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS)


@given(
    hour=NUMBERS.map(lambda number: number * HOUR) | NUMBERS, allocated=QUARTERS, refunded=QUARTERS, capacity=st.integers(0, 9)
)
@profile(max_examples=2_000, deadline=None)
def test_whatever_is_taken_is_true(
    hour: int, allocated: tuple[int, int, int, int], refunded: tuple[int, int, int, int], capacity: int
) -> None:
    report = slot("physics", hour, (0, 1), {RowKey("alice", "cpu"): Amounts(allocated, refunded)})
    good, refused = slots.judge([report], Standing(accounts=ACCOUNTS, capacity={"cpu": capacity}), NOW)
    assert len(good) + len(refused) == 1
    for key, content in good:
        assert 0 <= key.hour <= NOW + 300
        assert key.hour % HOUR == 0
        for row in content.rows:
            assert all(0 <= back <= amount <= capacity * 900 for amount, back in zip(row[2:6], row[6:10], strict=True))


ROWS = st.dictionaries(st.sampled_from(["alice", "bob"]), st.tuples(*[st.integers(0, 3)] * 4), max_size=2).map(
    lambda rows: [(user, "cpu", *amounts, *(n // 2 for n in amounts)) for user, amounts in rows.items() if any(amounts)]
)


@given(before=ROWS, after=ROWS)
@profile(max_examples=2_000)
def test_before_and_the_differences_give_after(before: list[slots.FlatRow], after: list[slots.FlatRow]) -> None:
    sums: Counter[tuple[str, int]] = Counter()
    for row in before:
        sums.update({(row[0], index): amount for index, amount in enumerate(row[2:])})
    for change in slots.differences(0, before, after):
        for index, amount in enumerate((*change.allocated, *change.refunded)):
            sums[change.user, index] += amount
    expected = {(row[0], index): amount for row in after for index, amount in enumerate(row[2:]) if amount}
    assert {key: amount for key, amount in sums.items() if amount} == expected

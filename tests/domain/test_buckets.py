"""Buckets: a job's quarters add up to its cost exactly, and lie where it ran."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, JobUse, RowKey, SlotKey, SlotVersion, slots_of, split
from bursar_domain.units import HOUR, QUARTER

JOB = st.builds(
    lambda start, seconds, cpus, factor, state, user: JobUse(
        "1", "physics", user, start, start + seconds, {"cpu": cpus}, state=state, factor_thousandths=factor
    ),
    start=st.integers(0, 10**9),
    seconds=st.integers(0, 10 * HOUR),
    cpus=st.integers(0, 10**4),
    factor=st.one_of(st.sampled_from([0, 250, 333, 1000, 1500]), st.integers(0, 5000)),
    state=st.sampled_from(["COMPLETED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"]),
    user=st.sampled_from(["alice", "bob"]),
)

# Any shape that the fast paths tell apart: inside a quarter, inside an hour, over the hour, over whole hours.
SHAPED = st.builds(
    lambda start, seconds, held, factor, state, owner: JobUse(
        "1", owner[0], owner[1], 10**6 * HOUR + start, 10**6 * HOUR + start + seconds, held, state, factor
    ),
    start=st.one_of(st.integers(0, 2 * HOUR), st.integers(0, 8).map(lambda n: n * QUARTER)),
    seconds=st.one_of(
        st.integers(-10, QUARTER), st.integers(0, HOUR), st.integers(0, 5 * HOUR), st.integers(0, 20).map(lambda n: n * QUARTER)
    ),
    held=st.dictionaries(st.sampled_from(["cpu", "memory", "gpu"]), st.integers(0, 500), max_size=3),
    factor=st.sampled_from([1000, 1000, 1000, 0, 250, 333, 1500, 1001]),
    state=st.sampled_from(["COMPLETED", "NODE_FAIL", "BOOT_FAIL", "TIMEOUT"]),
    owner=st.tuples(st.sampled_from(["physics", "maths"]), st.sampled_from(["alice", "bob"])),
)
Cells = Mapping[tuple[SlotKey, RowKey], tuple[tuple[int, ...], tuple[int, ...]]]


def second_by_second(jobs: Iterable[JobUse]) -> Cells:
    """The same slots by the plainest arithmetic there is: one second after the other, the running total of each job floored."""
    cells: dict[tuple[SlotKey, RowKey], tuple[list[int], list[int]]] = defaultdict(lambda: ([0] * 4, [0] * 4))
    for job in jobs:
        for resource, units in job.allocated.items():
            counted = 0
            for second in range(job.start, job.end):
                total = units * (second + 1 - job.start) * job.factor_thousandths // 1000
                hour, quarter = second // HOUR * HOUR, second % HOUR // QUARTER
                cell = cells[SlotKey(job.account, hour), RowKey(job.user, resource)]
                cell[0][quarter] += total - counted
                if job.state in {"NODE_FAIL", "BOOT_FAIL"}:
                    cell[1][quarter] += total - counted
                counted = total
    return {key: (tuple(used), tuple(back)) for key, (used, back) in cells.items() if any(used)}


def cells_of(slots: Mapping[SlotKey, Mapping[RowKey, Amounts]]) -> Cells:
    return {(key, row): (cell.allocated, cell.refunded) for key, rows in slots.items() for row, cell in rows.items()}


@given(st.lists(SHAPED, max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=200, deadline=None)
@example([JobUse("1", "a", "b", 3600 * 5 + 900, 3600 * 8 + 900, {"cpu": 3})], Random(1))
def test_slots_are_those_of_a_count_second_by_second_in_any_order(jobs: list[JobUse], dice: Random) -> None:
    expected = second_by_second(jobs)
    assert cells_of(slots_of(jobs)) == expected
    dice.shuffle(jobs)
    assert cells_of(slots_of(iter(jobs))) == expected


@given(st.lists(SHAPED, max_size=8), st.lists(st.integers(0, 8), max_size=4), st.randoms(use_true_random=False))
@settings(max_examples=2000, deadline=None)
def test_however_records_are_cut_up_repeated_and_mixed_the_last_report_of_a_slot_is_its_sum(
    jobs: list[JobUse], cuts: list[int], dice: Random
) -> None:
    """Slots are whole and the greater version replaces: records read piece by piece, twice over, sum up to the same."""
    reports: list[tuple[int, SlotKey, Mapping[RowKey, Amounts]]] = []
    for seq, cut in enumerate([*sorted(cuts), len(jobs)]):
        reports += [(seq, key, rows) for key, rows in slots_of(jobs[:cut]).items()]
    reports += dice.choices(reports, k=len(reports)) if reports else []
    dice.shuffle(reports)
    newest: dict[SlotKey, tuple[int, Mapping[RowKey, Amounts]]] = {}
    for seq, key, rows in reports:
        if key not in newest or newest[key][0] < seq:
            newest[key] = seq, rows
    booked = {key: rows for key, (_, rows) in newest.items()}
    assert booked == slots_of(jobs)
    for resource in ("cpu", "memory", "gpu"):
        total = sum(sum(cell.allocated) for rows in booked.values() for row, cell in rows.items() if row.resource == resource)
        assert total == sum(job.cost(resource) for job in jobs)


@given(SHAPED)
@settings(max_examples=500, deadline=None)
def test_a_row_that_is_nothing_is_left_out(job: JobUse) -> None:
    assert all(any(cell.allocated) for rows in slots_of([job]).values() for cell in rows.values())
    assert all(slots_of([job]).values())


@given(st.integers(0, 10**9), st.integers(0, 3 * HOUR))
@settings(max_examples=1000)
def test_a_split_covers_the_time_without_gap_or_overlap(start: int, seconds: int) -> None:
    at = start
    for hour, quarter, length in split(start, start + seconds):
        assert 0 < length <= QUARTER
        assert hour + quarter * QUARTER <= at < hour + (quarter + 1) * QUARTER
        assert hour % HOUR == 0
        at += length
    assert at == start + seconds


@given(JOB)
@settings(max_examples=1000)
def test_the_quarters_of_a_job_add_up_to_its_cost(job: JobUse) -> None:
    """A fractional factor is never rounded quarter by quarter: 333/1000 of 3 CPU seconds is 0, of 4 it is 1."""
    slots = slots_of([job])
    total = sum(sum(cell.allocated) for rows in slots.values() for cell in rows.values())
    assert total == job.cost("cpu") == job.allocated["cpu"] * (job.end - job.start) * job.factor_thousandths // 1000
    charged = sum(cell.charged for rows in slots.values() for cell in rows.values())
    assert charged == (0 if job.state in {"NODE_FAIL", "BOOT_FAIL"} else total)


@given(st.lists(JOB, max_size=6), st.integers(0, 6))
@settings(max_examples=300)
def test_slots_of_all_are_the_sums_of_slots_of_parts(jobs: list[JobUse], cut: int) -> None:
    sums: dict[tuple[SlotKey, RowKey], tuple[int, ...]] = {}
    for part in (jobs[:cut], jobs[cut:]):
        for key, rows in slots_of(part).items():
            for row, cell in rows.items():
                before = sums.get((key, row), (0,) * 8)
                sums[key, row] = tuple(a + b for a, b in zip(before, cell.allocated + cell.refunded, strict=True))
    whole = {(key, row): cell.allocated + cell.refunded for key, rows in slots_of(jobs).items() for row, cell in rows.items()}
    assert whole == sums


def test_quarters_lie_where_the_job_ran() -> None:
    """60 CPUs from 10:00 to 11:00 and 10 min into the next hour."""
    start = 10 * HOUR
    slots = slots_of([JobUse("1", "physics", "alice", start, start + HOUR + 600, {"cpu": 60})])
    row = RowKey("alice", "cpu")
    assert slots[SlotKey("physics", start)][row] == Amounts((54_000,) * 4)
    assert slots[SlotKey("physics", start + HOUR)][row] == Amounts((36_000, 0, 0, 0))
    assert len(slots) == 2


def test_a_job_that_ends_before_it_starts_costs_nothing() -> None:
    """Clocks that step back leave such records."""
    job = JobUse("1", "physics", "alice", 100, 40, {"cpu": 8})
    assert job.cost("cpu") == 0
    assert slots_of([job]) == {}


def test_what_a_job_does_not_hold_costs_nothing() -> None:
    assert JobUse("1", "physics", "alice", 0, 60, {"cpu": 8}).cost("gpu") == 0


@pytest.mark.parametrize(
    ("first", "second"), [((1, 7), (1, 8)), ((1, 7), (2, 1)), ((0, 999), (1, 0))], ids=["seq", "epoch", "epoch first"]
)
def test_versions_compare_by_epoch_then_seq(first: tuple[int, int], second: tuple[int, int]) -> None:
    assert SlotVersion(*first) < SlotVersion(*second)

"""Ceiling: the check rows of the design, the rule as a whole, and a machine that runs under it."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.ceiling import Child, Reading, Sample, growth, lag, limit, lowest, parent, run_minutes_wall, widest_gap
from bursar_domain.units import HOUR, MINUTE, UNSCALED, with_percent

H = HOUR  # unit-seconds of an hour; minutes below are TRES-minutes


def reading(counter: int, left: int, **more: int | None) -> Reading:
    """A reading whose two left figures are the same."""
    base = Reading(counter, left, left)
    return replace(base, **more)  # type: ignore[arg-type] # fields of Reading by name


ROWS = [
    ("counter 0", reading(0, 600 * H), 36_000),
    ("counter 24,000", reading(24_000, 600 * H), 60_000),
    ("used 1100 h, C 66,000", reading(66_000, -100 * H), 66_000),
    ("used 1100 h, C 0", reading(0, -100 * H), 1),
    ("roll-over", reading(54_000, 1000 * H), 114_000),
    ("node failure given back", reading(24_000, 1000 * H - 350 * H), 63_000),
    ("A ended, B has 80 h", reading(4_800, 80 * H), 9_600),
    ("behind", replace(reading(30_000, 33_000 * MINUTE), behind_seconds=36_000 * MINUTE - 60 * 6_000), 60_000),
    ("behind, counter lost", replace(reading(600, 36_000 * MINUTE), behind_seconds=36_000 * MINUTE - 60 * 1_100), 35_500),
]


@pytest.mark.parametrize(("found", "expect"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_check_rows(found: Reading, expect: int) -> None:
    assert limit(found) == lowest(found) == expect


@pytest.mark.parametrize(("in_force", "expect"), [(60_000, 60_000), (60_003, 59_500), (59_437, 59_437), (59_436, 59_500)])
def test_a_limit_inside_the_band_stays(in_force: int, expect: int) -> None:
    """Left 36,000, C 23,500, R 6,500, the records' remainder 6,000, recent use 600."""
    unseen = lag(6_500, 6_000 * MINUTE, 600 * MINUTE)
    assert unseen == 500 * MINUTE
    assert limit(Reading(23_500, 36_000 * MINUTE, 36_000 * MINUTE, in_force=in_force, lag_seconds=unseen)) == expect


def test_grace_and_memory_in_minutes() -> None:
    """100 minutes and 15 % of grace: 115; 10 GiB hours: 614,400 MiB minutes."""
    assert limit(reading(0, with_percent(100 * MINUTE, 15))) == 115
    ten_gib = replace(reading(0, UNSCALED.seconds_from_hours("memory", 10)), unit=UNSCALED.units("memory"))
    assert limit(ten_gib) == 614_400
    band = 3 + 614_400 // 20
    assert limit(replace(ten_gib, in_force=614_400 - band)) == 614_400 - band
    assert limit(replace(ten_gib, in_force=614_400 - band - 1)) == 614_400


def test_force_writes_the_exact_limit() -> None:
    assert limit(replace(reading(24_000, 600 * H), in_force=60_001)) == 60_001
    assert limit(replace(reading(24_000, 600 * H), in_force=60_001, force=True)) == 60_000


@pytest.mark.parametrize("in_force", [None, -1])
def test_no_limit_in_force_gets_the_exact_one(in_force: int | None) -> None:
    assert limit(replace(reading(24_000, 600 * H), in_force=in_force)) == 60_000


def test_a_zero_in_force_is_raised_to_one() -> None:
    """It lies inside the band of an empty account, but at 0 the scheduler holds jobs that cost nothing, too."""
    assert limit(replace(reading(0, 0), in_force=0)) == 1


SAMPLES = [
    ("grows", [Sample(0, 24_000), Sample(3600, 30_000)], 0, 100, 6_000),
    ("falls", [Sample(0, 24_000), Sample(300, 100), Sample(600, 600)], 0, 100, 1_100),
    ("from the last one before", [Sample(0, 10_000), Sample(300, 10_500), Sample(600, 11_000)], 300, 100, 500),
    ("none before", [Sample(100, 10), Sample(200, 30)], 0, 100, 20),
    ("one", [Sample(0, 10)], 0, 100, 0),
    ("none", [], 0, 100, 0),
]


@pytest.mark.parametrize(
    ("samples", "since", "capacity", "expect"), [row[1:] for row in SAMPLES], ids=[row[0] for row in SAMPLES]
)
def test_growth(samples: list[Sample], since: int, capacity: int, expect: int) -> None:
    assert growth(samples, since, capacity) == expect


@pytest.mark.parametrize(("since", "expect"), [(0, 290), (100, 290), (130, 290), (420, 20), (430, 20), (999, 0)])
def test_the_widest_gap_counts_from_the_last_sample_at_or_before(since: int, expect: int) -> None:
    samples = [Sample(100, 1), Sample(130, 2), Sample(420, 2), Sample(430, 9), Sample(450, 9)]
    assert widest_gap(samples, since) == expect
    assert widest_gap(samples[:1], since) == widest_gap([], since) == 0


@pytest.mark.parametrize(
    ("running", "records", "recent", "expect"),
    [(6_500, 360_000, 36_000, 30_000), (6_500, 360_000, 600, 600), (100, 360_000, 600, 0), (0, 0, 0, 0)],
)
def test_lag_is_between_nothing_and_the_recent_use(running: int, records: int, recent: int, expect: int) -> None:
    assert lag(running, records, recent) == expect


def test_parent_is_the_last_wall() -> None:
    children = [Child(5_000, 5_000, 600), Child(9_000, 3_000, 0)]
    assert parent(8_000, children) == 14_600
    assert parent(0, []) == 1


@pytest.mark.parametrize(("in_force", "expect"), [(14_000, 14_600), (15_368, 15_368), (15_369, 14_600), (-1, 14_600)])
def test_parent_is_raised_at_once_and_lowered_only_past_five_percent(in_force: int, expect: int) -> None:
    assert parent(8_000, [Child(5_000, 5_000, 600), Child(9_000, 3_000, 0)], in_force) == expect


@pytest.mark.parametrize(
    ("in_force", "expect"), [(None, 1000), (999, 1000), (1000, 1000), (1250, 1250), (1251, 1000), (-1, 1000)]
)
def test_running_wall_stays_between_one_and_one_and_a_quarter(in_force: int | None, expect: int) -> None:
    assert run_minutes_wall(3_000, 2_000, in_force) == expect


def test_running_wall_is_never_zero() -> None:
    assert run_minutes_wall(1_000, 1_000, None) == run_minutes_wall(1, 5_000, None) == 1


def reference(found: Reading) -> int:
    """The design's formula, written out."""

    def capped(seconds: int) -> int:
        return seconds if found.behind_seconds is None else min(seconds, found.behind_seconds)

    low = max(1, found.counter + max(0, capped(found.left_now) // 60))
    high = max(1, found.counter + max(0, (capped(found.left_then + found.lag_seconds) + 59) // 60)) + 2
    band = 3 + min(60 * found.unit, (low - found.counter) // 20)
    keep = found.in_force is not None and found.in_force >= 1 and not found.force and low - band <= found.in_force <= high
    return found.in_force if keep and found.in_force is not None else low


READINGS = st.builds(
    Reading,
    counter=st.integers(0, 5_000),
    left_now=st.integers(-100_000, 300_000),
    left_then=st.integers(-100_000, 300_000),
    in_force=st.one_of(st.none(), st.integers(-1, 12_000)),
    lag_seconds=st.integers(0, 5_000),
    behind_seconds=st.one_of(st.none(), st.integers(-50_000, 300_000)),
    force=st.booleans(),
    unit=st.sampled_from([1, 1024]),
)


@given(READINGS)
@settings(max_examples=1000)
def test_it_is_the_formula(found: Reading) -> None:
    assert limit(found) == reference(found)


@given(READINGS)
@settings(max_examples=1000)
def test_a_limit_once_written_stays(found: Reading) -> None:
    """Idempotence: the next cycle with the same figures writes nothing, and no limit is ever 0."""
    found = replace(found, left_then=max(found.left_then, found.left_now))
    written = limit(found)
    assert written >= 1
    assert limit(replace(found, in_force=written, force=False)) == written


@given(READINGS)
@settings(max_examples=1000)
def test_being_behind_never_loosens(found: Reading) -> None:
    assert lowest(found) <= lowest(replace(found, behind_seconds=None))


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("submit"), st.integers(1, 30), st.integers(1, 60)),
        st.tuples(st.just("run"), st.integers(1, 30), st.just(0)),
        st.tuples(st.just("cycle"), st.just(0), st.just(0)),
        st.tuples(st.just("top-up"), st.integers(1, 5), st.just(0)),
        st.tuples(st.just("node failure"), st.integers(0, 3), st.just(0)),
    ),
    max_size=60,
)


class Machine:
    """A scheduler that starts a job only if its time limit fits under the ceiling (``safe``); minutes, no lag.

    The agent's cycle is the rule under test; between cycles the ceiling stands still.
    """

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.ceiling = 1
        self.counter = 0
        self.charged = 0
        self.running: list[list[int]] = []  # cpus, minutes of the time limit that are left, minutes run

    def submit(self, cpus: int, minutes: int) -> bool:
        remainder = sum(job[0] * job[1] for job in self.running)
        fits = self.counter + remainder + cpus * minutes <= self.ceiling
        if fits:
            self.running.append([cpus, minutes, 0])
        return fits

    def run(self, minutes: int) -> None:
        for _ in range(minutes):
            for job in self.running:
                self.counter += job[0]
                self.charged += job[0]
                job[1] -= 1
                job[2] += 1
            self.running = [job for job in self.running if job[1]]

    def fail(self, which: int) -> None:
        if which < len(self.running):
            job = self.running.pop(which)
            self.charged -= job[0] * job[2]

    def cycle(self) -> None:
        left = (self.granted - self.charged) * MINUTE
        self.ceiling = limit(Reading(self.counter, left, left, in_force=self.ceiling))


@given(st.integers(0, 3_000), EVENTS)
@settings(max_examples=1000)
def test_a_machine_under_the_ceiling_never_charges_more_than_was_granted(
    granted: int, events: list[tuple[str, int, int]]
) -> None:
    """Whatever comes when: the documented slack is 2 unit-minutes; what fits in room less the band starts after a cycle."""
    machine = Machine(granted)
    for kind, first, second in events:
        if kind == "submit":
            machine.submit(first, second)
        elif kind == "run":
            machine.run(first)
        elif kind == "top-up":
            machine.granted += first * 60
        elif kind == "node failure":
            machine.fail(first)
        elif kind == "cycle":
            machine.cycle()
        committed = sum(job[0] * job[1] for job in machine.running)
        assert machine.charged + committed <= max(machine.granted, 0) + 2
    machine.cycle()
    committed = sum(job[0] * job[1] for job in machine.running)
    room = machine.granted - machine.charged - committed
    band = 3 + min(60, max(0, machine.granted - machine.charged) // 20)
    if room - band >= 1:
        assert machine.submit(1, room - band)

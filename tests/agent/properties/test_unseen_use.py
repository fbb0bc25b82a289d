"""Records are late, several allocations begin and end meanwhile, and counters are seen now and then.

Whenever the use was, head-room is never more than what is left; where a counter was looked at whenever anything began or
ended, it is all that is left. The oracle knows the jobs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from bursar_agent import grants, plan, qoslimits, unseen
from bursar_agent.plan import Figures, Situation
from bursar_agent.schedulers.base import AccountView, Observation, QosView, Reading
from bursar_agent.unseen import Counter, Unseen
from bursar_domain import ceiling
from bursar_domain.ceiling import Sample
from bursar_domain.units import HOUR, MINUTE, QUARTER
from bursar_testing import awards as books
from bursar_testing.agents import cluster_settings
from bursar_testing.awards import Award, Given, Span

START: Final = 470_000 * HOUR
LAST: Final = 8 * QUARTER
CAPACITY: Final = 8
OLD: Final = 1_000
"""Minutes that counters show from before."""
RESOURCES: Final = ({"name": "cpu", "trackable": "cpu", "capacity": CAPACITY},)
MODES: Final = tuple(cluster_settings("c", resources=RESOURCES, limit_mode=mode) for mode in ("Account", "QOS"))


@dataclass(frozen=True)
class Job:
    """Work that ran; ``known``: records show it, however late they are."""

    start: int
    end: int
    cpus: int
    known: bool

    def used(self, begin: int, until: int) -> int:
        """Unit-seconds between two times."""
        return self.cpus * max(0, min(self.end, until) - max(self.start, begin))


@dataclass(frozen=True)
class Site:
    """All that happened up to ``now``. ``looks``: when counters were seen; they move every ``period`` seconds."""

    awards: list[Award]
    jobs: list[Job]
    watermark: int
    now: int
    looks: tuple[int, ...]
    period: int

    def counter(self, at: int) -> int:
        """Minutes that it shows."""
        shown = at - at % self.period if self.period else at
        return OLD + sum(job.used(0, shown) for job in self.jobs) // MINUTE

    def left(self) -> int:
        """What is left indeed."""
        return max(0, books.left(self.awards, books.by_quarter(self.jobs, self.now), self.now))

    def room(self, mode: int) -> int:
        """Unit-seconds that the plan lets run from now on."""
        found = plan.make(self.situation(mode)).accounts["aa"].memory
        hidden = sum(job.used(0, self.now) for job in self.jobs) - MINUTE * (self.counter(self.now) - OLD)
        if mode:
            return sum(MINUTE * (limits["cpu"] - OLD) for limits in found.qoses.values() if limits["cpu"] > 1) - hidden
        return MINUTE * (found.limits["cpu"] - self.counter(self.now)) - hidden

    def situation(self, mode: int) -> Situation:
        """As the agent sees it, for the first time."""
        entry = books.entry("aa", self.awards)
        shown = {"cpu": [*books.by_quarter(self.jobs, self.watermark).items(), *self.after().items()]}
        reading = Reading(limit=1, counter=self.counter(self.now))
        view = AccountView("aa", owned=True, parent="bursar", readings={"cpu": reading})
        charged = grants.charge(grants.lay_out(entry), shown)
        names = qoslimits.names_of(MODES[mode], charged.grants).values()
        qoses = {name: QosView(name, {"cpu": Reading(limit=1, counter=OLD)}) for name in names}
        root = AccountView("bursar", owned=True, parent="root")
        return Situation(
            settings=MODES[mode],
            entries={"aa": entry},
            observation=Observation(self.now, {"aa": view}, root, qoses=qoses),
            figures={"aa": Figures(charged, after_watermark={"cpu": sum(self.after().values())})},
            samples={("aa", "cpu"): [Sample(at, self.counter(at)) for at in self.looks]},
            watermark=self.watermark,
            counter_seconds=self.period,
        )

    def after(self) -> dict[int, int]:
        """What records show of the time after their end, by quarters."""
        known = [job for job in self.jobs if job.known]
        before = books.by_quarter(known, self.watermark)
        return {at: amount - before.get(at, 0) for at, amount in books.by_quarter(known, self.now).items()}


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    """One window or two, with a top-up or a shrink."""
    begin, lasts = draw(st.integers(-2, 7)), draw(st.lists(st.integers(1, 8), min_size=1, max_size=2))
    found, start = [], START + begin * QUARTER
    for quarters in lasts:
        end = start + quarters * QUARTER
        found.append(Span(start, end, [Given(start, draw(st.integers(0, 6)))]))
        if quarters > 1 and draw(st.booleans()):
            found[-1].give(end - QUARTER, granted=draw(st.integers(0, 6)))
        start = end
    return found


@st.composite
def sites(draw: st.DrawFn, *, dense: bool) -> Site:
    """Whole minutes, so that no counter is rounded; ``dense``: counters show all at once and are seen at every cut."""
    found = []
    for number, windows in enumerate(draw(st.lists(spans(), min_size=1, max_size=3))):
        grace, debt = draw(st.sampled_from([0, 0, 50])), draw(st.booleans())
        closed = windows[0].start + QUARTER if draw(st.integers(0, 5)) == 5 else None
        found.append(Award(windows, grace, debt, uid=f"u{number}", closed_from=closed))
        if draw(st.integers(0, 3)) == 3:
            moved = windows[0].start + draw(st.integers(1, 4)) * QUARTER
            found[-1].past_ends = ((moved, moved + draw(st.integers(0, 8)) * QUARTER),)
    minutes = st.integers(0, LAST // MINUTE)
    watermark = START + draw(st.integers(0, LAST // MINUTE // 3)) * MINUTE
    now = START + LAST - draw(st.integers(0, LAST // MINUTE // 2)) * MINUTE
    jobs = []
    for begin, lasts, cpus, known in draw(
        st.lists(
            st.tuples(minutes, st.integers(1, 120), st.integers(1, CAPACITY), st.sampled_from([False, False, True])), max_size=6
        )
    ):
        start = START + begin * MINUTE
        if start < now:
            jobs.append(Job(start, min(now, start + lasts * MINUTE), cpus, known))
    looks = {START + minute * MINUTE for minute in draw(st.sets(minutes, max_size=8))}
    pause = QUARTER if dense else draw(st.sampled_from([2 * MINUTE, 5 * MINUTE, HOUR]))
    kept = tuple(sorted({at for at in (*looks, *range(START, now, pause)) if watermark <= at < now} | {watermark, now}))
    return Site(found, jobs, watermark, now, kept, 0 if dense else draw(st.sampled_from([0, 0, 7 * MINUTE, 13 * MINUTE])))


def one(begin: int, lasts: int, hours: int, uid: str) -> Award:
    """An allocation of one window, in quarters."""
    start = START + begin * QUARTER
    return Award([Span(start, start + lasts * QUARTER, [Given(start, hours)])], uid=uid)


def beside(*looks: int, used: int = 15, period: int = 0) -> Site:
    """A's hours are used for some minutes; after half an hour B runs beside it for a quarter, and would be charged first."""
    seen = tuple(START + minute * MINUTE for minute in looks)
    job = Job(START, START + used * MINUTE, 2, known=False)
    return Site([one(0, 40, 2, "a"), one(2, 1, 1, "b")], [job], START, START + HOUR, seen, period)


CLOSE: Final = beside(0, 15, 30, 45, 60)
ACROSS: Final = beside(0, 40, 60)
LAGGING: Final = beside(0, 30, 36, 45, 60, used=30, period=7 * MINUTE)
EXAMPLES: Final = settings(max_examples=2_000, deadline=None)


@pytest.mark.parametrize("mode", [0, 1], ids=["Account", "QOS"])
def test_head_room_is_never_more_than_what_is_left_whenever_the_use_was(mode: int) -> None:
    @EXAMPLES
    @example(CLOSE)
    @example(ACROSS)
    @example(LAGGING)
    @given(sites(dense=False))
    def holds(site: Site) -> None:
        assert site.room(mode) <= site.left(), "too much head-room"

    holds()


@pytest.mark.parametrize("mode", [0, 1], ids=["Account", "QOS"])
def test_head_room_is_all_that_is_left_where_counters_were_seen_at_every_cut(mode: int) -> None:
    @EXAMPLES
    @example(CLOSE)
    @given(sites(dense=True))
    def holds(site: Site) -> None:
        assert site.room(mode) == site.left()

    holds()


# Would it be noticed? Each of these puts something down where it need not have been.


def before_the_last_cut(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """All that is older than the last cut just before it."""
    minutes = ceiling.growth(counter.samples, starts[0], counter.capacity)
    young = MINUTE * ceiling.growth(counter.samples, starts[-1], counter.capacity) - known[-1]
    rest = MINUTE * minutes - sum(known)
    young = max(0, min(young, rest))
    return Unseen(((starts[-1] - 1, rest - young), (starts[-1], young)) if len(starts) > 1 and rest > 0 else (), 0)


def put_down(counter: Counter, starts: Sequence[int], known: Sequence[int], *, late: bool) -> Unseen:
    """What grew across a cut on one side of it."""
    grown = [0] * len(starts)
    for before, after in pairwise(counter.samples):
        at = after.at - 1 if late else before.at
        number = sum(at >= start for start in starts[1:])
        grown[number] += MINUTE * (after.minutes - before.minutes)
    return Unseen(tuple((at, max(0, more - less)) for at, more, less in zip(starts, grown, known, strict=True)), 0)


def younger(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """Just before the later sample."""
    return put_down(counter, starts, known, late=True)


def older(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """Just after the earlier sample."""
    return put_down(counter, starts, known, late=False)


def prompt(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """A counter that lags is taken for one that does not."""
    return find(Counter(counter.samples, counter.capacity), starts, known)


def nowhere(counter: Counter, starts: Sequence[int], known: Sequence[int]) -> Unseen:
    """What can't be put down to a piece is forgotten."""
    return Unseen(find(counter, starts, known).placed, 0)


find: Final = unseen.find


@pytest.mark.parametrize("mode", [0, 1], ids=["Account", "QOS"])
@pytest.mark.parametrize("fault", [before_the_last_cut, younger, older, prompt, nowhere])
def test_a_placement_with_a_fault_is_found_out(
    fault: Callable[[Counter, Sequence[int], Sequence[int]], Unseen], mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unseen, "find", fault)

    @settings(EXAMPLES, phases=[Phase.explicit, Phase.generate], derandomize=True, database=None, report_multiple_bugs=False)
    @example(CLOSE)
    @example(ACROSS)
    @example(LAGGING)
    @given(sites(dense=False))
    def holds(site: Site) -> None:
        assert site.room(mode) <= site.left(), "too much head-room"

    with pytest.raises(AssertionError, match="too much head-room"):
        holds()

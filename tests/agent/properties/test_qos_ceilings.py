"""Limit mode QOS whatever happens: the QOSes of one account together never let more run than its allocations have left.

Real plans, written phase by phase over a model of a scheduler, so that a crash between two phases is looked at: jobs under any
QOS, counters that fall, limits and lists edited by hand, records that come late, top-ups, shrinks, allocations that begin and
end, restarts, and the mode switched to Account and back.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from bursar_agent import anchors, grants, plan, qoslimits, qosnames
from bursar_agent.anchors import Unwatched
from bursar_agent.grants import Charged, Grants
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import Figures, Situation
from bursar_agent.samples import Samples
from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.slurm import qos
from bursar_agent.shares import shares
from bursar_domain.ceiling import Sample
from bursar_domain.units import HOUR, MINUTE, QUARTER
from bursar_testing import awards
from bursar_testing.agents import cluster_settings
from bursar_testing.awards import Award, Given, Span
from bursar_testing.qosmodel import Job, Machine

START: Final = 470_000 * HOUR
CAPACITY: Final = 8
RESOURCES: Final = ({"name": "cpu", "trackable": "cpu", "capacity": CAPACITY},)
MODES: Final = {mode: cluster_settings("c", resources=RESOURCES, limit_mode=mode) for mode in ("QOS", "Account")}
CYCLE_SECONDS: Final = 10
ANY_PAUSE: Final = 10**7
MOST_AWARDS: Final = 4
SLACK: Final = 5 * MINUTE
"""For each QOS: two minutes of the rule, and those that counter, remainder and growth are rounded by."""


@given(st.lists(st.tuples(st.integers(-50, 100), st.integers(0, 150)), max_size=4), st.integers(0, 100))
@settings(max_examples=2_000, deadline=None)
def test_shares_are_what_is_left_and_nobody_starts_what_others_use_up(pairs: list[tuple[int, int]], elsewhere: int) -> None:
    lefts, running = [left for left, _ in pairs], [run for _, run in pairs]
    found = shares(lefts, running, elsewhere)
    total, promised = max(0, sum(lefts)), elsewhere + sum(running)
    assert all(0 <= room <= max(0, left) for room, left in zip(found, lefts, strict=True))
    assert sum(found) <= total
    startable = sum(max(0, room - run) for room, run in zip(found, running, strict=True))
    assert startable <= max(0, total - promised)
    if all(left >= run for left, run in pairs) and elsewhere <= sum(left - run for left, run in pairs):
        assert startable == sum(lefts) - promised  # nothing that fits is refused


class Ceilings(RuleBasedStateMachine):
    """One account with a few allocations.

    ``frozen``: since when records are late; ``read_at``: up to when the agent has them. ``unseen``: what counters lost while
    nobody could know; ``losses``: by counter, since the last look. ``seen``: minutes of counters at the last look.
    """

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.now, self.mode = Machine(), START, "QOS"
        self.awards: list[Award] = []
        self.memory: dict[str, AccountMemory] = {}
        self.frozen: int | None = None
        self.in_doubt = False
        self.restart()
        self.losses: dict[str, int] = {}
        self.unseen = 0

    def restart(self) -> None:
        """Counters are watched anew."""
        self.samples, self.seen = Samples(), dict[str, int]()
        self.read_at: int | None = None

    @initialize(
        hours=st.lists(st.tuples(st.integers(0, 20), st.integers(2, 30)), min_size=1, max_size=3),
        cycle_seconds=st.sampled_from([CYCLE_SECONDS, ANY_PAUSE, ANY_PAUSE]),
    )
    def begin(self, hours: list[tuple[int, int]], cycle_seconds: int) -> None:
        """Allocations with hours and ends. ``cycle_seconds``: how far apart samples may be and yet prove something."""
        self.cycle_seconds = cycle_seconds
        for granted, lasts in hours:
            self.award(granted, lasts * HOUR)
        self.cycle()

    def award(self, hours: int, seconds: int) -> None:
        """One more allocation, from this quarter hour on."""
        start = self.now - self.now % QUARTER
        self.awards.append(Award([Span(start, start + seconds, [Given(start, hours)])], uid=f"u{len(self.awards)}"))

    # What happens

    @rule(seconds=st.sampled_from([1, 10, 61, 300, 901, HOUR, 3 * HOUR]))
    def advance(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds

    @rule(which=st.integers(0, 3), cpus=st.integers(1, CAPACITY), minutes=st.integers(1, 300), percent=st.integers(1, 100))
    def submit(self, which: int, cpus: int, minutes: int, percent: int) -> None:
        """A job under one of the QOSes, where it may start."""
        names = self.machine.usable()
        busy = sum(job.cpus for job in self.machine.jobs if self.now < job.end)
        if names and busy + cpus <= CAPACITY:
            name = names[which % len(names)]
            if cpus * minutes * MINUTE <= self.machine.startable(name, self.now):
                end = self.now + max(1, minutes * MINUTE * percent // 100)
                self.machine.jobs.append(Job(name, cpus, self.now, end, self.now + minutes * MINUTE))

    @rule(which=st.integers(0, 3), cpus=st.integers(1, CAPACITY), minutes=st.integers(30, 300))
    def work(self, which: int, cpus: int, minutes: int) -> None:
        """A job that runs to its end, where it may start; then the agent looks."""
        self.submit(which, cpus, minutes, 100)
        self.advance(minutes * MINUTE)
        self.cycle()

    @rule(which=st.integers(0, 3), keep_percent=st.sampled_from([0, 0, 50]))
    def counter_falls(self, which: int, keep_percent: int) -> None:
        """One is reset by hand, or all are lost."""
        names = list(self.machine.limits)
        for name in names if which == 3 else names[which : which + 1]:
            self.losses[name] = self.losses.get(name, 0) + self.machine.lose(name, self.now, keep_percent)

    @rule()
    def records_freeze_or_come(self) -> None:
        """The feed stops, or catches up."""
        self.frozen = self.now if self.frozen is None else None

    @rule(which=st.integers(0, MOST_AWARDS - 1), hours=st.integers(-10, 10))
    def grant_changes(self, which: int, hours: int) -> None:
        """A top-up or a shrink."""
        award = self.awards[which % len(self.awards)]
        if award.gives(self.now):
            (window,) = award.windows
            window.give(self.now, granted=max(0, window.at(self.now).granted + hours))
            award.revision += 1

    @rule(hours=st.integers(0, 20), quarters=st.sampled_from([1, 2, 4, 20, 100]))
    def another_begins(self, hours: int, quarters: int) -> None:
        """One more allocation, if there are few."""
        if len(self.awards) < MOST_AWARDS:
            self.award(hours, quarters * QUARTER)

    @rule(hours=st.integers(0, 10))
    def another_comes_and_goes(self, hours: int) -> None:
        """From the next quarter hour on, for one, with the agent looking before and after."""
        self.advance(QUARTER - self.now % QUARTER)
        self.cycle()
        self.another_begins(hours, 1)
        self.cycle()
        self.advance(QUARTER)
        self.cycle()

    @rule(which=st.integers(0, MOST_AWARDS - 1))
    def one_is_deleted(self, which: int) -> None:
        """It gives nothing any more; use of this quarter hour is still put down to it."""
        if which < len(self.awards) and self.awards[which].gives(self.now):
            self.awards[which].closed_from = self.now - self.now % QUARTER + QUARTER
            self.awards[which].revision += 1

    @rule(which=st.integers(0, 3), limit=st.integers(0, 5_000))
    def somebody_edits_a_limit(self, which: int, limit: int) -> None:
        """By hand, behind our back."""
        names = list(self.machine.limits)
        self.machine.limits[names[which % len(names)]] = limit

    @rule()
    def somebody_takes_the_list_away(self) -> None:
        """By hand: jobs may run without a ceiling until it is back, and nobody but the account's counter sees them."""
        self.machine.listed = ()

    @rule()
    def the_mode_changes(self) -> None:
        """To Account, or back."""
        self.mode = "Account" if self.mode == "QOS" else "QOS"
        self.seen = {}
        self.cycle()

    @rule(remembers=st.booleans())
    def agent_restarts(self, remembers: bool) -> None:
        """Its memory may be lost."""
        self.memory = self.memory if remembers else {}
        self.restart()

    @rule(crash_after=st.integers(0, 3), reads=st.booleans())
    def cycle(self, crash_after: int = 3, reads: bool = True) -> None:
        """The agent looks and writes, between two reads of records perhaps; it may crash on the way."""
        made = self.plan(reads=reads)
        parts = self.phases(made.change) if made.change else ()
        self.check_phases(parts)
        for number, part in enumerate(parts):
            if number == crash_after:
                self.in_doubt = True
                return
            self.machine.write(part)
        self.memory, self.in_doubt = {"aa": made.memory}, False
        self.check()

    # What must hold

    def check_phases(self, parts: Sequence[AccountChange]) -> None:
        """A crash between two of them leaves no more than there was, or than there will be."""
        tried = deepcopy(self.machine)
        rooms = [tried.whole_room(self.now)]
        for part in parts:
            tried.write(part)
            rooms.append(tried.whole_room(self.now))
        assert max(rooms) <= max(rooms[0], rooms[-1]) + self.slack(), "too much head-room between two phases"

    def check(self) -> None:
        """Together no more than what is left; nothing starts that what runs will use up; what fits is not refused."""
        left, room = self.left(), self.machine.whole_room(self.now)
        assert room <= left + self.slack() + self.unseen, "too much head-room"
        if self.mode == "Account":
            return
        promised = self.machine.running("", self.now)
        startable = sum(self.machine.startable(name, self.now) for name in self.machine.usable())
        assert startable <= max(0, left - promised) + self.slack() + self.unseen, "more may start than is left"
        if self.read_at == self.now:
            assert room >= left - promised - self.slack() - HOUR * len(self.machine.usable()), "too little head-room"

    def phases(self, change: AccountChange) -> Sequence[AccountChange]:
        """As the plug-in writes them."""
        return qos.phases(change)

    def charged(self, laid_out: Grants, until: int) -> Charged:
        """The agent's books up to a second."""
        return grants.charge(laid_out, {"cpu": [*awards.by_quarter(self.machine.jobs, until).items()]})

    def watched(self) -> Mapping[tuple[str, str], Sequence[Sample]]:
        """What counters were seen to be."""
        return self.samples.view()

    def slack(self) -> int:
        """For rounding."""
        return SLACK * max(1, len(self.machine.limits))

    def left(self) -> int:
        """By the jobs that ran."""
        return max(0, awards.left(self.awards, awards.by_quarter(self.machine.jobs, self.now), self.now))

    def plan(self, *, reads: bool) -> plan.AccountPlan:
        """A cycle over what is there."""
        observation, mode, entry = self.machine.observe(self.now), MODES[self.mode], awards.entry("aa", self.awards)
        laid_out = grants.lay_out(entry)
        names = {*qoslimits.names_of(mode, laid_out).values()}
        self.samples.take(observation, mode.resources, ["aa"], {"aa": names} if self.mode == "QOS" else None)
        fresh = reads or self._must_read(laid_out)
        if fresh:
            self.read_at = self.now if self.frozen is None else self.frozen
            self.samples.forget_before(self.read_at)
        assert self.read_at is not None
        self._forgive()
        charged = self.charged(laid_out, self.read_at)
        self._anchor(charged, self.read_at)
        situation = Situation(
            settings=mode,
            entries={"aa": entry},
            observation=observation,
            figures={"aa": Figures(charged)},
            memories=self.memory,
            samples=self.watched(),
            in_doubt=frozenset({"aa"} if self.in_doubt else ()),
            watermark=self.read_at,
            fresh=fresh,
            cycle_seconds=self.cycle_seconds,
        )
        return plan.make(situation).accounts["aa"]

    def _must_read(self, laid_out: Grants) -> bool:
        """As cycles do: at the start, where a counter fell or was not watched, and when something that was dated came."""
        if self.read_at is None or self.samples.has_begun_anew or self.samples.is_any_lost:
            return True
        return self.samples.is_any_sparse(self.read_at, 2 * CYCLE_SECONDS) or bool(
            laid_out.cuts_between(self.read_at, self.now)
        )

    def _forgive(self) -> None:
        """A loss that no look shows while records are late frees old head-room until they come.

        Where QOSes carry the limits the account's own counter may fall for other reasons.
        """
        for name, lost in self.losses.items():
            is_seen = self.machine.counter(name, self.now) // MINUTE < self.seen.get(name, 0)
            self.unseen += 0 if is_seen and (name or self.mode == "Account") else lost
        self.unseen = 0 if self.read_at == self.now else self.unseen
        self.losses = {}
        self.seen = {name: self.machine.counter(name, self.now) // MINUTE for name in ("", *self.machine.limits)}

    def _anchor(self, charged: Charged, watermark: int) -> None:
        """As cycles do where nobody watched since records ended."""
        series = self.samples.series["aa", "cpu"]
        if watermark < self.now and series[0].at > watermark:
            known, has_qoses = self.memory.get("aa", AccountMemory("aa")), self.mode == "QOS"
            account = Unwatched(charged, known, watermark, in_doubt=self.in_doubt, has_qoses=has_qoses)
            series.insert(0, anchors.anchor(account, MODES[self.mode].resources[0], series[0], 0))


EXAMPLES: Final = settings(max_examples=2_000, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.timeout(300)
def test_all_qoses_together_never_let_more_run_than_is_left() -> None:
    run_state_machine_as_test(Ceilings, settings=EXAMPLES)


# Would it be noticed? Each of these agents has one thing wrong.


class WholeRoom(Charged):
    """Each QOS is told what all have."""

    def lefts(self, now: int, resource: str, watermark: int | None = None) -> dict[str, int]:
        """The sum, for each."""
        found = super().lefts(now, resource, watermark)
        return dict.fromkeys(found, sum(found.values()))


class Generous(Ceilings):
    """Without a look at the allocation."""

    def charged(self, laid_out: Grants, until: int) -> Charged:
        """Books that make no difference."""
        found = super().charged(laid_out, until)
        return WholeRoom(found.grants, found.use, found.books)


class Backwards(Ceilings):
    """What loosens is written first."""

    def phases(self, change: AccountChange) -> Sequence[AccountChange]:
        """The other way round, births where they must be."""
        first, *rest = super().phases(change)
        return [first, *rest] if first.create or any(item.create for item in first.qoses) else [*reversed(rest), first]


class WithoutGrowth(Ceilings):
    """Use that only counters show is not counted."""

    def watched(self) -> Mapping[tuple[str, str], Sequence[Sample]]:
        """Counters that never moved."""
        return {key: [Sample(item.at, own[-1].minutes) for item in own] for key, own in super().watched().items()}


class JustBefore(Charged):
    """What was used before the last cut and no record shows is put down just before it."""

    def lefts_after(
        self, now: int, resource: str, more: Sequence[tuple[int, int]], watermark: int | None = None
    ) -> dict[str, int]:
        """As if it had been used there."""
        cut = max(self.grants.cuts_between(0, now))
        return super().lefts_after(now, resource, [(at if at >= cut else cut - 1, amount) for at, amount in more], watermark)


class Belated(Ceilings):
    """It does not matter when between two cuts something was used."""

    def charged(self, laid_out: Grants, until: int) -> Charged:
        """Books that take it for younger than it is."""
        found = super().charged(laid_out, until)
        return JustBefore(found.grants, found.use, found.books)


QUICK: Final = settings(
    EXAMPLES, max_examples=10_000, phases=[Phase.generate], derandomize=True, database=None, report_multiple_bugs=False
)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", [Generous, Backwards, WithoutGrowth, Belated])
def test_an_agent_with_a_fault_is_found_out(machine: type[Ceilings]) -> None:
    with pytest.raises(AssertionError, match=r"head-room|more may start"):
        run_state_machine_as_test(machine, settings=QUICK)


def test_names_tell_clusters_accounts_and_allocations_apart() -> None:
    names = {qosnames.name(*key) for key in (("a", "b", "c"), ("b", "b", "c"), ("a", "c", "c"), ("a", "b", "d"))}
    assert len(names) == 4
    assert all(qosnames.is_ours(name) and len(name) <= 40 for name in (*names, qosnames.name("a", "x" * 32, "u")))

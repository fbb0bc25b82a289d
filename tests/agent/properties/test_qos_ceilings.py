"""Limit mode QOS whatever happens: the QOSes of one account together never let more run than its allocations have left.

Real plans, written phase by phase over a model of a scheduler, so that a crash between two phases is looked at: jobs under any
QOS, counters that fall, limits and lists edited by hand, records that come late, top-ups, shrinks, allocations that begin and
end, restarts, and the mode switched to Account and back.
"""

from collections.abc import Mapping, Sequence
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
from bursar_domain.units import HOUR, MINUTE
from bursar_domain.wire import AccountEntry
from bursar_testing.agents import account, allocation, cluster_settings
from bursar_testing.qosmodel import Job, Machine

START: Final = 470_000 * HOUR
CAPACITY: Final = 8
RESOURCES: Final = ({"name": "cpu", "trackable": "cpu", "capacity": CAPACITY},)
MODES: Final = {mode: cluster_settings("c", resources=RESOURCES, limit_mode=mode) for mode in ("QOS", "Account")}
CYCLE_SECONDS: Final = 10
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
    """One account with two or three allocations. ``watermark``: None while records are current."""

    def __init__(self) -> None:
        super().__init__()
        self.machine, self.now, self.mode = Machine(), START, "QOS"
        self.frozen: int | None = None
        self.memory: dict[str, AccountMemory] = {}
        self.samples = Samples()
        self.is_blind = False
        self.in_doubt = False
        self.revision = 1

    @initialize(hours=st.lists(st.tuples(st.integers(0, 20), st.integers(2, 30)), min_size=1, max_size=3))
    def begin(self, hours: list[tuple[int, int]]) -> None:
        """Allocations with hours and ends."""
        self.granted = {f"u{n}": [(START, given)] for n, (given, _) in enumerate(hours)}
        self.ends = {f"u{n}": START + lasts * HOUR for n, (_, lasts) in enumerate(hours)}
        self.cycle()

    def entry(self) -> AccountEntry:
        """What is signed."""
        made = []
        for uid, steps in self.granted.items():
            base = allocation(uid, steps[-1][1], start=START, end=self.ends[uid], revision=self.revision)
            (window,) = base.windows
            laid = tuple(window.steps[0].model_copy(update={"at": at, "granted": {"cpu": n * HOUR}}) for at, n in steps)
            made.append(base.model_copy(update={"windows": (window.model_copy(update={"steps": laid}),)}))
        return account("aa", *made)

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

    @rule(which=st.integers(0, 3), keep_percent=st.sampled_from([0, 0, 50]))
    def counter_falls(self, which: int, keep_percent: int) -> None:
        """One is reset by hand, or all are lost."""
        names = list(self.machine.limits)
        for name in names if which == 3 else names[which : which + 1]:
            kept = self.machine.counter(name, self.now) * keep_percent // 100
            self.machine.lost[name] = self.machine.lost.get(name, 0) + self.machine.counter(name, self.now) - kept
            series = self.samples.series.get((name or "aa", "cpu"), [])
            # A loss that no sample shows while records are late frees old head-room until they come.
            self.is_blind |= self.frozen is not None or not series

    @rule()
    def records_freeze_or_come(self) -> None:
        """The feed stops, or catches up."""
        self.frozen = self.now if self.frozen is None else None

    @rule(uid=st.integers(0, 2), hours=st.integers(-10, 10))
    def grant_changes(self, uid: int, hours: int) -> None:
        """A top-up or a shrink."""
        name = f"u{uid % len(self.granted)}"
        self.granted[name].append((self.now, max(0, self.granted[name][-1][1] + hours)))
        self.revision += 1

    @rule(hours=st.integers(0, 20), lasts=st.integers(1, 30))
    def another_begins(self, hours: int, lasts: int) -> None:
        """One more allocation, if there are few."""
        if len(self.granted) < 4:
            self.ends[f"u{len(self.granted)}"] = self.now + lasts * HOUR
            self.granted[f"u{len(self.granted)}"] = [(self.now, hours)]
            self.revision += 1

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
        self.cycle()

    @rule(remembers=st.booleans())
    def agent_restarts(self, remembers: bool) -> None:
        """Counters are watched anew; its memory may be lost."""
        self.samples = Samples()
        self.memory = self.memory if remembers else {}

    @rule(crash_after=st.integers(0, 3))
    def cycle(self, crash_after: int = 3) -> None:
        """The agent looks and writes; it may crash on the way."""
        made = self.plan()
        after = self.left()
        before = max(after, self.room())
        parts = self.phases(made.change) if made.change else ()
        for number, part in enumerate(parts):
            if number == crash_after:
                self.in_doubt = True
                return
            self.machine.write(part)
            assert self.room() <= before + self.slack(), "too much head-room between two phases"
        self.memory, self.in_doubt = {"aa": made.memory}, False
        if self.frozen is None:
            self.is_blind = False
        if not self.is_blind:
            self.check(after)

    # What must hold

    def check(self, left: int) -> None:
        """Together no more than what is left; nothing starts that what runs will use up."""
        assert self.room() <= max(0, left) + self.slack(), "too much head-room"
        promised = self.machine.running("", self.now)
        startable = sum(self.machine.startable(name, self.now) for name in self.machine.usable())
        if self.mode == "QOS":
            assert startable <= max(0, left - promised) + self.slack(), "more may start than is left"

    def phases(self, change: AccountChange) -> Sequence[AccountChange]:
        """As the plug-in writes them."""
        return qos.phases(change)

    def charged(self, laid_out: Grants, until: int) -> Charged:
        """The books up to a second."""
        return grants.charge(laid_out, {"cpu": self.use(until)})

    def watched(self) -> Mapping[tuple[str, str], Sequence[Sample]]:
        """What counters were seen to be."""
        return self.samples.view()

    def room(self) -> float:
        """Of everything that jobs may use."""
        return sum(self.machine.room(name, self.now) for name in self.machine.usable())

    def slack(self) -> int:
        """For rounding."""
        return SLACK * max(1, len(self.machine.limits))

    def left(self) -> int:
        """By the list of jobs."""
        laid_out = grants.lay_out(self.entry())
        return max(0, grants.charge(laid_out, {"cpu": self.use(self.now)}).left(self.now, "cpu"))

    def use(self, until: int) -> list[tuple[int, int]]:
        """Every minute of every job before a second, as records would show it."""
        found = []
        for job in self.machine.jobs:
            for at in range(job.start - job.start % 900, min(job.end, until), 900):
                amount = job.used(min(until, at + 900)) - job.used(at)
                found.append((max(at, job.start), amount))
        return found

    def plan(self) -> plan.AccountPlan:
        """A cycle over what is there."""
        observation, mode, entry = self.machine.observe(self.now), MODES[self.mode], self.entry()
        laid_out, until = grants.lay_out(entry), self.now if self.frozen is None else self.frozen
        names = {*qoslimits.names_of(mode, laid_out).values()}
        self.samples.take(observation, mode.resources, ["aa"], {"aa": names} if self.mode == "QOS" else None)
        if self.frozen is None:
            self.samples.forget_before(until)
        charged = self.charged(laid_out, until)
        self._anchor(charged, until)
        found = plan.make(
            Situation(
                settings=mode,
                entries={"aa": entry},
                observation=observation,
                figures={"aa": Figures(charged)},
                memories=self.memory,
                samples=self.watched(),
                in_doubt=frozenset({"aa"} if self.in_doubt else ()),
                watermark=until,
                cycle_seconds=CYCLE_SECONDS * 10**6,
            )
        )
        return found.accounts["aa"]

    def _anchor(self, charged: Charged, watermark: int) -> None:
        """As cycles do where nobody watched since records ended."""
        series = self.samples.series["aa", "cpu"]
        if watermark < self.now and series[0].at > watermark:
            known, has_qoses = self.memory.get("aa", AccountMemory("aa")), self.mode == "QOS"
            account = Unwatched(charged, known, watermark, in_doubt=self.in_doubt, has_qoses=has_qoses)
            series.insert(0, anchors.anchor(account, MODES[self.mode].resources[0], series[0], 0))


EXAMPLES: Final = settings(max_examples=400, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck))


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
    """Use that only counters show is not counted. That shows where jobs run between two looks, which chance seldom makes."""

    @rule(which=st.integers(0, 3), cpus=st.integers(1, CAPACITY), minutes=st.integers(30, 300))
    def work(self, which: int, cpus: int, minutes: int) -> None:
        """A job that runs to its end, where it may start; then the agent looks."""
        self.submit(which, cpus, minutes, 100)
        self.advance(minutes * MINUTE)
        self.cycle()

    def watched(self) -> Mapping[tuple[str, str], Sequence[Sample]]:
        """Counters that never moved."""
        return {key: [Sample(item.at, own[-1].minutes) for item in own] for key, own in super().watched().items()}


QUICK: Final = settings(EXAMPLES, phases=[Phase.generate], derandomize=True, database=None, report_multiple_bugs=False)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("machine", [Generous, Backwards, WithoutGrowth])
def test_an_agent_with_a_fault_is_found_out(machine: type[Ceilings]) -> None:
    with pytest.raises(AssertionError, match=r"head-room|more may start"):
        run_state_machine_as_test(machine, settings=QUICK)


def test_names_tell_clusters_accounts_and_allocations_apart() -> None:
    names = {qosnames.name(*key) for key in (("a", "b", "c"), ("b", "b", "c"), ("a", "c", "c"), ("a", "b", "d"))}
    assert len(names) == 4
    assert all(qosnames.is_ours(name) and len(name) <= 40 for name in (*names, qosnames.name("a", "x" * 32, "u")))

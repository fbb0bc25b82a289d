"""One account, real cycles over a model of a scheduler, and all that may happen to both: a state machine for hypothesis."""

import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from bursar_agent import plan, settled
from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.plan import Situation
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.units import HOUR, MINUTE, QUARTER
from bursar_domain.wire import Root
from bursar_testing import awards
from bursar_testing.agents import cluster_settings
from bursar_testing.awards import Award, Given, Span
from bursar_testing.ceilingmodel import ACCOUNT, CAPACITY, ModelScheduler

START: Final = 470_000 * HOUR
SHARED: Final = Path("/dev/shm")
SIGNER: Final = Signer(bytes(32))
CLUSTER: Final = cluster_settings("c", resources=({"name": "cpu", "trackable": "cpu", "capacity": CAPACITY},))
LONG_CYCLE: Final = 600
MOST_AWARDS: Final = 4
SLACK_SECONDS: Final = 4 * MINUTE  # two minutes of the rule, and those that counter and growth are rounded by


class Watched(Cycles):
    """The agent's cycles; what it takes for right without looking is looked at all the same."""

    def situation(self, state: DesiredState, observation: Any) -> Situation:
        """The situation, compared on the way."""
        found = super().situation(state, observation)
        fresh = plan.make(found).accounts
        for name, made in settled.still(self._settled, found).items():
            assert fresh[name] == made
        return found


def done(work: Coroutine[Any, Any, bool]) -> bool:
    """Run what never waits."""
    try:
        work.send(None)
    except StopIteration as stop:
        return bool(stop.value)
    raise AssertionError("the model scheduler does not wait")


class Ceilings(RuleBasedStateMachine):
    """One account. ``unseen``: what counters lost while nobody could know.

    ``cycle_seconds``: how far apart counters may be looked at and yet prove something. Where that is long the agent looks as
    often while time passes; else it sleeps.
    """

    cycles_class: type[Cycles] = Watched
    forgets_refunds = False

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="bursar-", dir=SHARED if SHARED.is_dir() else None))
        self.generation, self.is_expired = 0, False
        self.unseen = self.lost = 0

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.directory)

    @initialize(
        period=st.sampled_from([0, 0, 60, 300]),
        hours=st.lists(st.integers(0, 30), min_size=2, max_size=3),
        grace=st.sampled_from([0, 0, 10]),
        debt=st.booleans(),
        cycle_seconds=st.sampled_from([10, LONG_CYCLE]),
    )
    def begin(self, period: int, hours: list[int], grace: int, debt: bool, cycle_seconds: int) -> None:
        """An allocation of two or three windows of eight hours; the agent meets it for the first time."""
        spans = [(START + n * 8 * HOUR, START + (n + 1) * 8 * HOUR) for n in range(len(hours))]
        windows = [Span(a, b, [Given(a, given)]) for (a, b), given in zip(spans, hours, strict=True)]
        self.award = Award(windows, grace, debt)
        self.awards, self.cycle_seconds = [self.award], cycle_seconds
        self.scheduler = ModelScheduler(START, period)
        self.scheduler.forgets_refunds = self.forgets_refunds
        self.settings = AgentSettings.model_validate(
            {
                "cluster": "c",
                "gateway": "https://127.0.0.1:1",
                "state_directory": self.directory,
                "scheduler": "simulator",
                "cycle_interval_seconds": cycle_seconds,
                "counter_period_seconds": period,
            }
        )
        self.restart()
        self.publish()
        self.cycle()

    def publish(self, *, is_expired: bool = False) -> None:
        """A newer state is signed."""
        self.generation, self.is_expired = self.generation + 1, is_expired
        until = 0 if is_expired else 2**40
        root = Root(
            cluster="c",
            epoch=1,
            generation=self.generation,
            acknowledged=10**6,
            issued_at=0,
            valid_until=until,
            digest="d",
        )
        entry = awards.entry(ACCOUNT, self.awards, members=("ann",))
        self.state = DesiredState(SIGNER.sign(root), CLUSTER, {ACCOUNT: entry}, {ACCOUNT: entry.digest()})

    # What happens

    @rule(cpus=st.integers(1, 8), minutes=st.integers(1, 300), percent=st.integers(1, 100))
    def submit(self, cpus: int, minutes: int, percent: int) -> None:
        """A job that may run for less than its time limit."""
        self.scheduler.submit(cpus, minutes * MINUTE, max(1, minutes * MINUTE * percent // 100))

    @rule(cpus=st.integers(1, 8), minutes=st.integers(30, 300), fails=st.booleans())
    def work(self, cpus: int, minutes: int, fails: bool) -> None:
        """A job that runs to its end, or until a node fails just before; then the agent looks."""
        if self.scheduler.submit(cpus, minutes * MINUTE, minutes * MINUTE):
            self.advance(minutes * MINUTE - 1)
            if fails:
                self.scheduler.fail(len(self.scheduler.running) - 1)
            self.advance(10)
            self.cycle()

    @rule(seconds=st.sampled_from([-7, 0, 5, 400]), which=st.integers(0, MOST_AWARDS - 1))
    def window_ends(self, seconds: int, which: int) -> None:
        """On to a little before or after the end of a window; the agent looks."""
        end = self.awards[which % len(self.awards)].window(self.scheduler.now).end
        self.advance(max(0, end + seconds - self.scheduler.now))
        self.cycle()

    @rule(hours=st.integers(0, 10), quarters=st.sampled_from([1, 1, 2, 4, 16]), grace=st.sampled_from([0, 0, 20]))
    def another_begins(self, hours: int, quarters: int, grace: int) -> None:
        """One more allocation from this quarter hour on, if there are few."""
        if len(self.awards) < MOST_AWARDS:
            start = self.scheduler.now - self.scheduler.now % QUARTER
            window = Span(start, start + quarters * QUARTER, [Given(start, hours)])
            self.awards.append(Award([window], grace, uid=f"y{len(self.awards)}"))
            self.publish()

    @rule(hours=st.integers(0, 10))
    def another_comes_and_goes(self, hours: int) -> None:
        """From the next quarter hour on, for one, with the agent looking before and after."""
        self.advance(QUARTER - self.scheduler.now % QUARTER)
        self.cycle()
        self.another_begins(hours, 1, 0)
        self.cycle()
        self.advance(QUARTER)
        self.cycle()

    @rule(which=st.integers(1, MOST_AWARDS - 1))
    def one_is_deleted(self, which: int) -> None:
        """It gives nothing any more; use of this quarter hour is still put down to it."""
        now = self.scheduler.now
        if which < len(self.awards) and self.awards[which].gives(now):
            self.awards[which].closed_from = now - now % QUARTER + QUARTER
            self.publish()

    @rule(seconds=st.sampled_from([1, 7, 10, 19, 30, 61, 300, 900, 1801, HOUR, 3 * HOUR]))
    def advance(self, seconds: int) -> None:
        """Time passes, up to a while after the end."""
        until = min(self.scheduler.now + seconds, self.award.end + HOUR)
        if self.cycle_seconds == LONG_CYCLE:
            while self.scheduler.now + LONG_CYCLE < until:
                self.scheduler.now += LONG_CYCLE
                self.look(urgent=False)
        self.scheduler.now = max(self.scheduler.now, until)

    @rule(urgent=st.booleans(), again=st.integers(0, 2))
    def cycle(self, urgent: bool = False, again: int = 0) -> None:
        """The agent looks, once or a few times at a short distance."""
        self.look(urgent=urgent)
        for _ in range(again):
            self.scheduler.now += 10
            self.look(urgent=urgent)

    @rule(which=st.integers(0, 9))
    def node_fails(self, which: int) -> None:
        """What the job used is refunded."""
        self.scheduler.fail(which)

    @rule(keep_percent=st.sampled_from([0, 0, 10, 90]))
    def counter_falls(self, keep_percent: int) -> None:
        """State files lost, or reset by hand."""
        before = self.scheduler.counter()
        self.scheduler.lose(keep_percent)
        self.lost += before - self.scheduler.counter()

    @rule()
    def records_freeze_or_come(self) -> None:
        """The feed stops, or catches up."""
        self.scheduler.frozen = self.scheduler.now if self.scheduler.frozen is None else None

    @rule()
    def scheduler_can_not_be_read(self) -> None:
        """For one cycle."""
        self.scheduler.is_away = True
        assert not done(self.agent.run(self.state))
        self.scheduler.is_away = False

    @rule(hours=st.integers(-15, 15))
    def grant_changes(self, hours: int) -> None:
        """A top-up or a shrink of the window that runs."""
        window = self.award.window(self.scheduler.now)
        window.give(self.scheduler.now, granted=max(0, window.at(self.scheduler.now).granted + hours))
        self.award.revision += 1
        self.publish()

    @rule(hours=st.integers(-5, 5))
    def somebody_adjusts(self, hours: int) -> None:
        """An adjustment by hand."""
        self.award.window(self.scheduler.now).give(self.scheduler.now, adjusted=hours)
        self.publish()

    @precondition(lambda self: self.award.window(self.scheduler.now) is not self.award.windows[0])
    @rule(hours=st.integers(0, 5))
    def hours_are_carried_in(self, hours: int) -> None:
        """The window before is closed; that takes records up to there."""
        window = self.award.window(self.scheduler.now)
        watermark = self.agent.book.watermark
        if watermark is not None and watermark >= window.start:
            window.give(self.scheduler.now, carried=hours)
            self.publish()

    @rule()
    def agent_restarts(self) -> None:
        """Journal and books are read again."""
        self.restart()

    @rule(limit=st.one_of(st.none(), st.integers(0, 5_000)))
    def somebody_edits_the_limit(self, limit: int | None) -> None:
        """By hand, behind our back."""
        if self.scheduler.exists:
            self.scheduler.limit = limit

    @rule()
    def state_expires(self) -> None:
        """The control plane is away for long; it is back with the next thing that it says."""
        self.publish(is_expired=True)

    # What must hold

    def restart(self) -> None:
        """The agent begins with what is on disk."""
        clocks = Clocks(wall=lambda: float(START), monotonic=self._monotonic)
        book = UsageBook(self.directory, epoch=1)
        self.agent = self.cycles_class(self.settings, self.scheduler, Journal(self.directory), book, Outbox("s"), clocks)

    def _monotonic(self) -> float:
        return float(self.scheduler.now)

    def look(self, *, urgent: bool) -> None:
        """One cycle, and the two promises."""
        series = self.agent._samples.series.get((ACCOUNT, "cpu"), [])
        is_seen = bool(series) and self.scheduler.counter() // MINUTE < series[-1].minutes
        if not done(self.agent.run(self.state, urgent=urgent)):
            return
        self._forgive(is_seen=is_seen)
        if not self.scheduler.exists:
            return
        left, room = self.left(), self.head_room()
        assert room is not None
        assert room <= max(left, 0) + SLACK_SECONDS + self.unseen, "too much head-room"
        if not self.is_expired and self._is_complete():
            lag = self.scheduler.in_use * (self.scheduler.period + self.cycle_seconds + 120)
            assert room >= left - self._band(left) - lag, "too little head-room"
            assert self.scheduler.wall is not None
            shown = max(1, (self.scheduler.limit or 0) - self.scheduler.counter() // MINUTE)
            assert shown <= self.scheduler.wall <= shown + shown // 4

    def left(self) -> int:
        """By the jobs that ran; what a node's failure ended is not charged."""
        charged = (job for job in self.scheduler.jobs if not job.failed)
        return awards.left(self.awards, awards.by_quarter(charged, self.scheduler.now), self.scheduler.now)

    def head_room(self) -> int | None:
        """Unit-seconds between the limit and everything that was used up to now."""
        limit = self.scheduler.limit
        return None if limit is None else limit * MINUTE - self.scheduler.counter(exact=True)

    def _forgive(self, *, is_seen: bool) -> None:
        """A loss that no sample shows while records are late frees old head-room until they come."""
        if self._is_complete():
            self.unseen = 0
        elif not is_seen:
            self.unseen += self.lost
        self.lost = 0

    def _is_complete(self) -> bool:
        return self.agent._is_fresh and self.agent.book.watermark == self.scheduler.now

    @staticmethod
    def _band(left: int) -> int:
        return (3 + min(60, max(0, left) // MINUTE // 20) + 2) * MINUTE

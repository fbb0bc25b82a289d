"""One cycle: observe, count, plan, brake, apply, read back, journal; what came of it goes into the outbox."""

import itertools
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import structlog

from bursar_agent import anchors, brake, grants, plan, qoslimits, settled, states
from bursar_agent.anchors import Unwatched
from bursar_agent.brake import Verdict
from bursar_agent.grants import Charged, Grants
from bursar_agent.journal import Journal
from bursar_agent.memory import AccountMemory
from bursar_agent.outbox import Cycle, Outbox
from bursar_agent.plan import AccountPlan, Figures, Plan, Situation
from bursar_agent.samples import Samples
from bursar_agent.schedulers.base import Observation, Outcome, Scheduler, SchedulerError
from bursar_agent.settings import AgentSettings
from bursar_agent.settled import Settled
from bursar_agent.slices import DistrustedRead, IsOurs
from bursar_agent.sweep import Sweep
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_agent.verify import DesiredState
from bursar_crds.reasons import Reason
from bursar_domain.wire import AccountEntry, AccountState, Miss

log = structlog.get_logger(__name__)
URGENT_SECONDS = 10.0
READ_BACK_SECONDS = 5.0  # how long a cycle may be held up by use from before the books begin
MOST_UNSENT = 50_000  # slots; older use waits until these are told
SHORTEST_CYCLE_SECONDS = 10.0  # the scheduler's clock counts whole seconds, and a look takes some


@dataclass(frozen=True, slots=True)
class Clocks:
    """Wall clock for validity and reports, a monotonic one for pauses."""

    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic


class Cycles:
    """Runs cycles over one scheduler; one at a time."""

    def __init__(
        self,
        settings: AgentSettings,
        scheduler: Scheduler,
        journal: Journal,
        book: UsageBook,
        outbox: Outbox,
        clocks: Clocks | None = None,
    ) -> None:
        self.scheduler, self.journal, self.book, self.outbox = scheduler, journal, book, outbox
        self.clocks = clocks or Clocks()
        self.misses: tuple[Miss, ...] = ()
        self.is_skewed = False
        self._settings = settings
        self._reader = UsageReader(
            book, settings.usage_overlap_seconds, settings.counter_period_seconds + round(settings.cycle_interval_seconds)
        )
        self._sweep = Sweep(book, self._reader, settings.state_directory, settings.usage_sweep_days)
        self._samples = Samples()
        self._counted_at: float | None = None
        self._counted_to: int | None = None
        self._is_fresh = False
        self._unresolved: dict[tuple[str, str], float] = {}
        self._cycle_seconds = max(SHORTEST_CYCLE_SECONDS, settings.cycle_interval_seconds)
        self._settled: Mapping[str, Settled] = {}
        self._states: Mapping[str, tuple[AccountPlan, AccountState]] = {}
        self._observed: tuple[int, float] | None = None
        self._last: Observation | None = None
        self._laid_out: Mapping[str, AccountEntry] = {}
        self._layouts: Mapping[str, Grants] = {}
        self._charged: Mapping[str, Charged] = {}

    async def run(self, state: DesiredState, *, urgent: bool = False) -> bool:
        """One cycle; False where the scheduler could not be read and so nothing was written.

        ``urgent``: somebody waits for a change; records that are a few seconds old will do, for the counters tell the rest.
        """
        try:
            observation = await self.scheduler.observe(state.settings)
            self._last = observation
            self._observed = (observation.time, self.clocks.monotonic())
            self._samples.take(observation, state.settings.resources, state.entries, self._qoses(state))
            await self.count(state, observation, urgent=urgent)
        except (SchedulerError, DistrustedRead) as error:
            self._counted_at = None
            log.warning("nothing is written in this cycle", reason=str(error))
            self._report_away(state, str(error))
            return False
        situation = self.situation(state, observation)
        planned = plan.make(situation, settled.still(self._settled, situation))
        self._settled = settled.settle(self._settled, situation, planned)
        verdict = self._judge(state, planned, observation)
        outcomes = await self._apply(state, planned, verdict)
        self._finish(state, observation, planned, verdict, outcomes)
        return True

    # Count

    async def count(self, state: DesiredState, observation: Observation, *, urgent: bool = False) -> None:
        """Read job records when it is time, at a boundary, when a counter was lost, and as long as the last read failed."""
        if self.book.covered_from is None and not any(view.owned for view in observation.accounts.values()):
            self.book.begin(observation.time)
        self._is_fresh = self._is_due(state, observation, URGENT_SECONDS if urgent else 0)
        is_ours = self._is_ours(state, observation)
        starts = (first for grants_of in self.layouts(state).values() if (first := grants_of.first) is not None)
        first = min(starts, default=observation.time)
        if self._is_fresh:
            await self._read(is_ours, min(first, observation.time), observation.time)
        await self._read_back(is_ours, first)

    @staticmethod
    def _is_ours(state: DesiredState, observation: Observation) -> IsOurs:
        ours = {*state.entries, *(name for name, view in observation.accounts.items() if view.owned)}
        return lambda job: job.account in ours

    async def _read(self, is_ours: IsOurs, first: int, now: int) -> None:
        read = await self._reader.read(self.scheduler, is_ours, first, now)
        self._counted_at, self._counted_to = self.clocks.monotonic(), now
        if read.bad_rows:
            log.warning("job records that can't be read were left out", rows=read.bad_rows)

    async def _read_back(self, is_ours: IsOurs, first: int) -> None:
        """Use from before the books begin. Nothing is planned for whoever had it before it is counted; others don't wait."""
        until = self.clocks.monotonic() + READ_BACK_SECONDS

        def may_go_on() -> bool:
            return self.clocks.monotonic() < until and len(self.book.unsent) < MOST_UNSENT

        try:
            await self._reader.read_back(self.scheduler, is_ours, first, may_go_on)
        except SchedulerError as error:
            log.warning("older use is read later", reason=str(error), covered_from=self.book.covered_from)

    async def sweep(self, state: DesiredState) -> int:
        """Read some old records again if it is time; how many slots changed. May run beside a cycle."""
        if self._last is None:
            return 0
        return await self._sweep.step(self.scheduler, self._is_ours(state, self._last), self._last.time)

    def _is_due(self, state: DesiredState, observation: Observation, patience_seconds: float) -> bool:
        if self._counted_at is None or self._counted_to is None or self._samples.is_any_lost or self._samples.has_begun_anew:
            return True
        if self.clocks.monotonic() - self._counted_at >= max(patience_seconds, self._settings.usage_interval_seconds):
            return True
        if self._samples.is_any_sparse(self.book.watermark, 2 * self._cycle_seconds):
            return True
        cuts = (laid_out.next_cut(self._counted_to) for laid_out in self.layouts(state).values())
        return any(cut is not None and cut <= observation.time for cut in cuts)

    def seconds_to_cut(self) -> float | None:
        """Until a window begins or ends somewhere, or something else that was dated comes, were the scheduler's clock ours."""
        if self._observed is None:
            return None
        at, seen = self._observed
        cut = min((cut for laid_out in self._layouts.values() if (cut := laid_out.next_cut(at)) is not None), default=None)
        return None if cut is None else max(0.0, cut - at - (self.clocks.monotonic() - seen))

    def layouts(self, state: DesiredState) -> Mapping[str, Grants]:
        """Every entry laid out; one that is the same as before costs nothing."""
        if self._laid_out is not state.entries:
            before, self._laid_out = self._layouts, state.entries
            self._layouts = {
                name: kept if (kept := before.get(name)) is not None and kept.entry is entry else grants.lay_out(entry)
                for name, entry in state.entries.items()
            }
        return self._layouts

    def _qoses(self, state: DesiredState) -> Mapping[str, Collection[str]] | None:
        """In limit mode QOS the QOSes of each account."""
        if state.settings.limit_mode != "QOS":
            return None
        memories = self.journal.memories
        return {
            name: {*qoslimits.names_of(state.settings, laid_out).values(), *(memories[name].qoses if name in memories else ())}
            for name, laid_out in self.layouts(state).items()
        }

    # Plan

    def situation(self, state: DesiredState, observation: Observation) -> Situation:
        """Everything that the plan depends on."""
        now = self.clocks.wall()
        figures = self._figures(state, observation.time)
        self._anchor(state, observation, figures)
        return Situation(
            settings=state.settings,
            entries=state.entries,
            digests=state.digests,
            observation=observation,
            figures=figures,
            memories=self.journal.memories,
            samples=self._samples.view(),
            in_doubt=frozenset(self.journal.in_doubt),
            unresolved=self._still_unresolved(),
            watermark=self.book.watermark,
            expired=state.is_expired(int(now)),
            skewed=self.is_skewed,
            fresh=self._is_fresh,
            cycle_seconds=self._cycle_seconds,
            counter_seconds=self._settings.counter_period_seconds,
        )

    def _figures(self, state: DesiredState, now: int) -> Mapping[str, Figures]:
        recent = self._reader.recent
        counted = {name: item for name, item in self.layouts(state).items() if self._reader.is_covered(item.first)}
        self._charged = {name: self._charge(name, laid_out, now) for name, laid_out in counted.items()}
        return {
            name: Figures(
                charged=charged,
                after_observation=recent.after_observation.get(name, {}) if self._is_fresh else {},
                after_watermark=recent.after_watermark.get(name, {}),
                remaining=recent.remaining.get(name, {}) if self._is_fresh else {},
                recent=recent.recent.get(name, {}) if self._is_fresh else {},
                committed=recent.committed.get(name, {}),
                rates=grants.rates(charged, now),
            )
            for name, charged in self._charged.items()
        }

    def _anchor(self, state: DesiredState, observation: Observation, figures: Mapping[str, Figures]) -> None:
        """Where records end before anybody watched a counter, say what it may have been then."""
        watermark = self.book.watermark
        if watermark is None or watermark >= observation.time:
            return
        for name, resource in itertools.product(figures, state.settings.resources):
            series = self._samples.series.get((name, resource.trackable))
            if series and series[0].at > watermark:
                account = Unwatched(
                    charged=figures[name].charged,
                    memory=self.journal.memories.get(name) or AccountMemory(name),
                    watermark=watermark,
                    is_new=name not in observation.accounts and len(series) == 1,
                    in_doubt=name in self.journal.in_doubt,
                    has_qoses=state.settings.limit_mode == "QOS",
                )
                after = figures[name].after_watermark.get(resource.name, 0)
                series.insert(0, anchors.anchor(account, resource, series[0], after))

    def _charge(self, name: str, laid_out: Grants, now: int) -> Charged:
        """Folded anew only where the entry or the use is another than before."""
        use, before = self.book.quarters(name, grants.boundaries(laid_out, now)), self._charged.get(name)
        if before is not None and before.grants is laid_out and (before.use is use or before.use == use):
            return before
        return grants.charge(laid_out, use)

    def _still_unresolved(self) -> dict[str, frozenset[str]]:
        now = self.clocks.monotonic()
        self._unresolved = {key: until for key, until in self._unresolved.items() if until > now}
        found: dict[str, set[str]] = {}
        for account, user in self._unresolved:
            found.setdefault(account, set()).add(user)
        return {account: frozenset(users) for account, users in found.items()}

    def _judge(self, state: DesiredState, planned: Plan, observation: Observation) -> Verdict:
        owned = sum(view.owned for view in observation.accounts.values())
        verdict = brake.judge(state.settings, state.signed.root, planned, owned, self.journal.engaged)
        self.journal.set_brake(verdict.engaged)
        if verdict.brake is not None:
            log.error("the brake holds", message=verdict.brake.message, changes=verdict.brake.changes)
        return verdict

    # Apply

    async def _apply(self, state: DesiredState, planned: Plan, verdict: Verdict) -> dict[str, Outcome]:
        changes = planned.changes
        if not changes or not verdict.may_run or state.settings.enforcement != "Enforce":
            return {}
        self.journal.intend((change.account for change in changes), state.generation)
        try:
            outcomes = await self.scheduler.apply(state.settings, changes)
        except SchedulerError as error:
            log.warning("the effect of a write is unknown", reason=str(error))
            outcomes = [Outcome(change.account, False, str(error)) for change in changes]
        self._note_missing(outcomes)
        return {outcome.account: outcome for outcome in outcomes}

    def _note_missing(self, outcomes: Iterable[Outcome]) -> None:
        until = self.clocks.monotonic() + self._settings.retry_members_seconds
        for outcome in outcomes:
            self._unresolved |= {(outcome.account, user): until for user in outcome.users_missing}

    def _finish(
        self,
        state: DesiredState,
        observation: Observation,
        planned: Plan,
        verdict: Verdict,
        outcomes: Mapping[str, Outcome],
    ) -> None:
        """Journal what is proven, then tell it."""
        at = self.clocks.wall()
        if state.settings.enforcement == "Enforce":
            self._journal(state, planned, outcomes)
        committed = {name: dict(amounts) for name, amounts in self._reader.recent.committed.items()}
        same = {name: told for name, (made, told) in self._states.items() if self._is_settled(name, made, planned)}
        found = states.states(state.settings, observation, planned, outcomes, verdict.brake, committed, same)
        self._states = {name: (planned.accounts[name], told) for name, told in found.items()}
        held_back = [name for name, state_ in found.items() if state_.state == "Failed"]
        if held_back:
            log.warning("accounts failed", accounts=held_back[:20], count=len(held_back), error=found[held_back[0]].error)
        proven = states.revisions(state.settings, state.entries, planned, outcomes)
        self.outbox.put(self._cycle(state, observation.time, planned, verdict), found, proven, at)
        if self._is_fresh and self.book.watermark is not None:
            self._samples.forget_before(self.book.watermark)

    def _is_settled(self, name: str, made: AccountPlan, planned: Plan) -> bool:
        return planned.accounts.get(name) is made and name in self._settled

    def _journal(self, state: DesiredState, planned: Plan, outcomes: Mapping[str, Outcome]) -> None:
        proven = [item for item in planned.accounts.values() if states.is_proven(item, outcomes)]
        unresolved = self._still_unresolved()
        memories = [_without(item.memory, unresolved.get(item.account, frozenset())) for item in proven]
        root = state.settings.root_account
        self.journal.prove(memories)
        if states.wall_holds(planned, outcomes, root):
            self.journal.settle(root)

    def _cycle(self, state: DesiredState, scheduler_time: int, planned: Plan, verdict: Verdict) -> Cycle:
        root = state.signed.root
        return Cycle(
            generation=root.generation,
            digest=root.digest,
            scheduler_time=scheduler_time,
            enforced_at=int(self.clocks.wall()),
            brake=verdict.brake,
            misses=self.misses + self._own_misses(state, planned),
        )

    def _own_misses(self, state: DesiredState, planned: Plan) -> tuple[Miss, ...]:
        """What is wrong on our side of the scheduler."""
        found: list[Miss] = []
        if state.is_expired(int(self.clocks.wall())):
            message = "the signed state is past its validity: nothing is loosened any more"
            found.append(Miss(reason=Reason.STATE_EXPIRED, message=message, remedy="look whether operator and gateway run"))
        if names := planned.falling_back:
            message = f"{len(names)} accounts such as {names[0]} should land softly and are held"
            remedy = "make a QOS with UsageFactor=0 and Flags=UsageFactorSafe, and name it in soft_land_qos of the plug-in"
            found.append(Miss(reason=Reason.SOFT_LAND_QOS_MISSING, message=message, remedy=remedy))
        if rows := self._reader.recent.bad_rows:
            message = f"{rows} job records can't be read and are not counted"
            found.append(Miss(reason=Reason.RECORDS_UNREADABLE, message=message, remedy="see the agent's log"))
        if self.is_skewed:
            message = "the clocks of gateway and agent differ by more than a minute: no period is decided"
            found.append(Miss(reason=Reason.CLOCK_SKEW, message=message, remedy="synchronise the clock of this host"))
        return tuple(found)

    def _report_away(self, state: DesiredState, reason: str) -> None:
        """Tell that the scheduler can't be read, with everything else as it was last seen."""
        away = Miss(
            reason=Reason.SCHEDULER_UNAVAILABLE, message=reason[:1000], remedy="look at the scheduler and its accounting"
        )
        known = self.outbox.cycle
        if known is not None:
            self.outbox.put(replace(known, misses=(*self.misses, away)), self.outbox.states, {}, self.clocks.wall())


def _without(memory: AccountMemory, users: frozenset[str]) -> AccountMemory:
    """Members that were in fact added."""
    return replace(memory, members=tuple(user for user in memory.members if user not in users)) if users else memory


def render(scheduler: Scheduler, state: DesiredState, planned: Plan) -> Sequence[str]:
    """The exact commands."""
    return scheduler.render(state.settings, planned.changes)

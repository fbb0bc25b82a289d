"""A simulated cluster with the real agent: signed state in, cycles over the simulator, pages of usage and status out."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bursar_agent import verify
from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox, usage_pages
from bursar_agent.schedulers.base import AccountChange
from bursar_agent.settings import AgentSettings
from bursar_agent.slices import LOWER_READS_BEFORE_BELIEF
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.buckets import SlotVersion
from bursar_domain.keys import Signer, fingerprint
from bursar_domain.ladder import Action
from bursar_domain.units import MINUTE, UNSCALED, trackable
from bursar_domain.wire import AccountEntry, ClusterSettings, Delta, TrackedResource
from bursar_ledger import Ledger
from bursar_testing.scenarios.books import Report
from bursar_testing.scenarios.engine import moments
from bursar_testing.scenarios.ledgerbooks import PageReport
from bursar_testing.scenarios.machine import ScenarioScheduler
from bursar_testing.scenarios.model import RecordOf, Scenario
from bursar_testing.wires import hello

EPOCH = 1
VALID_SECONDS = 30 * 86_400
LATEST_RECORD_SECONDS = 604_800
SESSION = "session"


@dataclass
class SimulatedCluster:
    """One machine and its agent. ``wanted``: what is signed; what was not delivered waits in the agent's books."""

    name: str
    ledger: Ledger
    settings: ClusterSettings
    scheduler: ScenarioScheduler
    outbox: Outbox
    book: UsageBook
    cycles: Cycles
    members: Mapping[str, tuple[str, ...]]
    signer: Signer
    state: DesiredState | None = None
    wanted: Mapping[str, AccountEntry] = field(default_factory=dict)
    delivered: list[PageReport] = field(default_factory=list)

    @classmethod
    async def of(cls, scenario: Scenario, name: str, ledger: Ledger, folder: Path, signer: Signer) -> "SimulatedCluster":
        """The cluster as the scenario begins."""
        jobs = [job for job in scenario.jobs if job.cluster == name]
        settings = cluster_settings(scenario, name)
        start = moments(scenario)[0]
        scheduler = ScenarioScheduler(folder, start, scenario.clusters[name].resources["cpu"], jobs)
        outbox, book = Outbox(SESSION), UsageBook(folder, EPOCH)
        ticks = iter(range(2**40))
        clocks = Clocks(wall=lambda: float(scheduler.machine.now), monotonic=lambda: float(next(ticks)))
        cycles = Cycles(agent_settings(name, folder), scheduler, Journal(folder), book, outbox, clocks)
        accounts = {form.project for form in scenario.allocations.values()} | {job.project for job in jobs}
        members = {account: tuple(sorted({job.user for job in jobs if job.project == account})) for account in accounts}
        cluster = cls(name, ledger, settings, scheduler, outbox, book, cycles, members, signer)
        await cluster._begin(start)
        return cluster

    async def _begin(self, start: int) -> None:
        """The agent's session; where nothing is enforced the accounts are there already, made by somebody else's hand."""
        await self.ledger.record_hello(self.name, hello(SESSION, start), start)
        if self.settings.enforcement == "Observe":
            open_ = {resource.trackable: -1 for resource in self.settings.resources}
            made = [
                AccountChange(account, create=True, description=f"bursar:{account}", limits=open_, add_members=frozenset(users))
                for account, users in sorted(self.members.items())
            ]
            await self.scheduler.apply(self.settings, made)

    async def advance(self, now: int) -> None:
        """Let time pass."""
        self.scheduler.run_to(now)

    async def submit(self, now: int) -> None:
        """Hand in the jobs of this second."""
        self.scheduler.hand_in(now)

    def record(self, event: RecordOf) -> None:
        """A record changes."""
        self.scheduler.record(event)

    def lose_counters(self) -> None:
        """The scheduler forgets what it counted."""
        self.scheduler.machine.lose_counters()

    async def cycle(self, desired: Mapping[str, AccountEntry] | None) -> None:
        """One cycle of the agent; where it believes no records that shrink it looks again, as it would a moment later."""
        if desired is not None:
            await self._publish(desired)
        if self.state is None:
            return
        for _ in range(LOWER_READS_BEFORE_BELIEF):
            if await self.cycles.run(self.state):
                break
        if desired is not None:
            await self._tell()

    async def _publish(self, desired: Mapping[str, AccountEntry]) -> None:
        """Sign what is news into the ledger, or the same anew when it is time; take over from there what verifies."""
        wanted = {name: entry.model_copy(update={"members": self.members[name]}) for name, entry in desired.items()}
        entries = [*wanted.values()] if wanted != self.wanted else []
        self.wanted, now = wanted, self.scheduler.machine.now
        await self.ledger.publish(
            self.settings, entries, epoch=1, acknowledged=0, now=now, valid_seconds=VALID_SECONDS, sign=self.signer.sign
        )
        found = await self.ledger.desired_document(self.name, self.state.generation if self.state else 0, now=now)
        if found is not None:
            delta = Delta.model_validate_json(found.body)
            self.state = verify.accept(self.state, delta, self.name, fingerprint(self.signer.public_key))

    async def _tell(self) -> None:
        pages, cycle = self.outbox.pages(), self.outbox.cycle
        for page in pages:
            await self.ledger.record_status(self.name, page, self.scheduler.machine.now)
        self.outbox.told(pages, cycle)

    def committed(self, account: str) -> Mapping[str, int]:
        """What running jobs may still use, as the agent reports it."""
        state = self.outbox.states.get(account)
        return {} if state is None else state.committed

    def take_reports(self) -> list[Report]:
        """What is to be delivered: the engine delivers all of it."""
        found: list[PageReport] = []
        for page, slots in usage_pages(self.book, SESSION):
            now = self.scheduler.machine.now
            version = SlotVersion(self.book.epoch, self.book.seq)
            found.append(PageReport(self.name, version, {}, page.watermark or 0, page, now))
            self.book.sent(slots, page.watermark, rebuilt=page.rebuilt)
        self.delivered += found
        return [*found]

    def old_reports(self) -> list[Report]:
        """What was delivered before comes again: under its own number, and as if it had never been taken."""
        now = self.scheduler.machine.now
        old = [*self.delivered[:1], *self.delivered[-2:], *self.delivered[:1]]
        again = [report.page.model_copy(update={"report_id": uuid.uuid4().hex}) for report in old]
        fresh = [PageReport(self.name, report.version, {}, 0, page, now) for report, page in zip(old, again, strict=True)]
        return [*old, *fresh]

    def account_action(self, account: str) -> Action:
        """What the scheduler itself holds the account to; it knows nothing of a notice, which the agent reports."""
        found = self.scheduler.machine.accounts.get(account)
        told = Action(state.enforcement) if (state := self.outbox.states.get(account)) else Action.NONE
        if found is None or self.settings.enforcement == "Observe":
            return told
        if found.blocked or found.held:
            return Action.BLOCK if found.blocked else Action.HOLD
        if found.qos:
            return Action.SOFT_LAND
        listed = {trackable(name) for entry in self.wanted[account].allocations for name in entry.granted}
        if any(found.concurrent.get(name) for name in listed):
            return Action.THROTTLE
        return told if told in (Action.NONE, Action.NOTIFY) else Action.NONE

    async def headroom(self, account: str, resource: str) -> int | str | None:
        """Limit less counter; `closed` where nothing of it may be held at all, `open` where nothing limits it."""
        found = self.scheduler.machine.accounts.get(account)
        name = trackable(resource)
        if found is None or found.concurrent.get(name) == 0:
            return 0 if found is None else "closed"
        limit = found.limits.get(name)
        if limit is None:
            return "open"
        used = found.done[name] + found.promised[name] - found.remainder(name, self.scheduler.machine.tick)
        return max(0, limit * MINUTE - used)

    def job_states(self) -> Mapping[str, str]:
        """As the machine has them."""
        return self.scheduler.job_states()

    async def close(self) -> None:
        """Let go."""
        await self.scheduler.close()


def cluster_settings(scenario: Scenario, name: str) -> ClusterSettings:
    """What the Cluster object would say."""
    form = scenario.clusters[name]
    resources = tuple(
        TrackedResource(name=resource, trackable=trackable(resource), capacity=units * UNSCALED.units(resource))
        for resource, units in form.resources.items()
    )
    return ClusterSettings(
        cluster=name, scheduler_name=name, root_account="bursar", enforcement=form.enforcement, resources=resources
    )


def agent_settings(name: str, folder: Path) -> AgentSettings:
    """An agent that reads records at every look, for a week back."""
    return AgentSettings.model_validate(
        {
            "cluster": name,
            "gateway": "https://127.0.0.1:1",
            "state_directory": folder,
            "scheduler": "simulator",
            "usage_interval_seconds": 0.05,
            "usage_overlap_seconds": LATEST_RECORD_SECONDS,
            "cycle_interval_seconds": 3600,
        }
    )

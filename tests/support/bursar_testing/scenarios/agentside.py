"""The real agent of a scenario's cluster, whatever schedules there: signed state in, cycles, pages of usage and status out."""

import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bursar_agent import verify
from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox, usage_pages
from bursar_agent.schedulers.base import AccountView, Scheduler
from bursar_agent.schedulers.simulator.accounts import Account
from bursar_agent.settings import AgentSettings
from bursar_agent.slices import LOWER_READS_BEFORE_BELIEF
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.buckets import SlotVersion
from bursar_domain.keys import Signer, fingerprint
from bursar_domain.ladder import Action
from bursar_domain.units import trackable
from bursar_domain.wire import AccountEntry, ClusterSettings, Delta
from bursar_ledger import Ledger
from bursar_testing.scenarios.books import Report
from bursar_testing.scenarios.ledgerbooks import PageReport
from bursar_testing.scenarios.model import Scenario
from bursar_testing.wires import hello

EPOCH = 1
VALID_SECONDS = 30 * 86_400
LATEST_RECORD_SECONDS = 604_800
SESSION = "session"


@dataclass(kw_only=True)
class AgentSide:
    """``wanted``: what is signed; what was not delivered waits in the agent's books."""

    name: str
    ledger: Ledger
    settings: ClusterSettings
    outbox: Outbox
    book: UsageBook
    cycles: Cycles
    members: Mapping[str, tuple[str, ...]]
    signer: Signer
    now: Callable[[], int]
    state: DesiredState | None = None
    wanted: Mapping[str, AccountEntry] = field(default_factory=dict)
    delivered: list[PageReport] = field(default_factory=list)

    @classmethod
    async def of(
        cls,
        scenarios: Iterable[Scenario],
        settings: ClusterSettings,
        scheduler: Scheduler,
        ledger: Ledger,
        folder: Path,
        now: Callable[[], int],
    ) -> "AgentSide":
        """An agent that has just said hello."""
        name, ticks = settings.cluster, iter(range(2**40))
        outbox, book = Outbox(SESSION), UsageBook(folder, EPOCH)
        clocks = Clocks(wall=lambda: float(now()), monotonic=lambda: float(next(ticks)))
        cycles = Cycles(agent_settings(settings, folder), scheduler, Journal(folder), book, outbox, clocks)
        side = cls(
            name=name,
            ledger=ledger,
            settings=settings,
            outbox=outbox,
            book=book,
            cycles=cycles,
            members=members_of(scenarios, name),
            signer=Signer.generate(),
            now=now,
        )
        await ledger.record_hello(name, hello(SESSION, now()), now())
        return side

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
        self.wanted, now = wanted, self.now()
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
            await self.ledger.record_status(self.name, page, self.now())
        self.outbox.told(pages, cycle)

    def committed(self, account: str) -> Mapping[str, int]:
        """What running jobs may still use, as the agent reports it."""
        state = self.outbox.states.get(account)
        return {} if state is None else state.committed

    def take_reports(self) -> list[Report]:
        """What is to be delivered: the engine delivers all of it."""
        found: list[PageReport] = []
        for page, slots in usage_pages(self.book, SESSION):
            version = SlotVersion(self.book.epoch, self.book.seq)
            found.append(PageReport(self.name, version, {}, page.watermark or 0, page, self.now()))
            self.book.sent(slots, page.watermark, rebuilt=page.rebuilt)
        self.delivered += found
        return [*found]

    def old_reports(self) -> list[Report]:
        """What was delivered before comes again: under its own number, and as if it had never been taken."""
        old = [*self.delivered[:1], *self.delivered[-2:], *self.delivered[:1]]
        again = [report.page.model_copy(update={"report_id": uuid.uuid4().hex}) for report in old]
        fresh = [
            PageReport(self.name, report.version, {}, 0, page, self.now()) for report, page in zip(old, again, strict=True)
        ]
        return [*old, *fresh]

    def told_action(self, account: str) -> Action:
        """What the agent says that the account is held to."""
        state = self.outbox.states.get(account)
        return Action.NONE if state is None else Action(state.enforcement)

    def listed(self, account: str) -> set[str]:
        """TRES that an allocation of the account lists."""
        return {trackable(name) for entry in self.wanted[account].allocations for name in entry.granted}


class ClusterOfAgent:
    """What any cluster of a scenario says by its agent."""

    agent: AgentSide

    def committed(self, account: str) -> Mapping[str, int]:
        """What running jobs may still use, as the agent reports it."""
        return self.agent.committed(account)

    def take_reports(self) -> list[Report]:
        """What is to be delivered."""
        return self.agent.take_reports()

    def old_reports(self) -> list[Report]:
        """What was delivered before comes again."""
        return self.agent.old_reports()

    def action(self, account: str, found: AccountView | Account, *, is_capped: bool) -> Action:
        """What the scheduler itself holds the account to; it knows nothing of a notice, which the agent reports."""
        told = self.agent.told_action(account)
        if found.blocked or found.held:
            return Action.BLOCK if found.blocked else Action.HOLD
        if found.qos:
            return Action.SOFT_LAND
        if is_capped:
            return Action.THROTTLE
        return told if told in (Action.NONE, Action.NOTIFY) else Action.NONE


def members_of(scenarios: Iterable[Scenario], cluster: str) -> Mapping[str, tuple[str, ...]]:
    """Whoever hands in jobs of an account on a cluster is a member of it."""
    found: dict[str, set[str]] = {}
    for scenario in scenarios:
        for form in scenario.allocations.values():
            found.setdefault(form.project, set())
        for job in (job for job in scenario.jobs if job.cluster == cluster):
            found.setdefault(job.project, set()).add(job.user)
    return {account: tuple(sorted(users)) for account, users in found.items()}


def agent_settings(cluster: ClusterSettings, folder: Path) -> AgentSettings:
    """An agent that reads records at every look, for a week back."""
    return AgentSettings.model_validate(
        {
            "cluster": cluster.cluster,
            "gateway": "https://127.0.0.1:1",
            "state_directory": folder,
            "scheduler": cluster.scheduler_type,
            "usage_interval_seconds": 0.05,
            "usage_overlap_seconds": LATEST_RECORD_SECONDS,
            "cycle_interval_seconds": 3600,
        }
    )

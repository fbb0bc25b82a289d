"""A real Slurm with the real agent: its clock goes forward from one moment of the stories to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bursar_agent.schedulers.base import AccountView
from bursar_agent.schedulers.slurm.commands import Commands
from bursar_agent.schedulers.slurm.factors import FactorStore
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.schedulers.slurm.softland import SoftLandings
from bursar_domain.buckets import SlotVersion, slots_of
from bursar_domain.fold import cuts, fold
from bursar_domain.ladder import Action
from bursar_domain.units import MINUTE, UNSCALED, trackable
from bursar_domain.wire import AccountEntry, ClusterSettings, TrackedResource
from bursar_ledger import Ledger
from bursar_local.slurm import Clock, Slurm
from bursar_testing.scenarios.agentside import AgentSide, ClusterOfAgent
from bursar_testing.scenarios.books import MemoryBooks, Report
from bursar_testing.scenarios.controlplane import ControlPlane, Impossible
from bursar_testing.scenarios.model import JobForm, RecordOf, Scenario
from bursar_testing.scenarios.slurmjobs import SlurmJobs
from bursar_testing.slurm_accounts import settings_of

SLACK_SECONDS = 60
"""How much later than told a job may begin or end: commands take a while, and Slurm starts jobs once a second."""

CYCLES_AFTER_NEWS = 2
NO_BRAKE_PERCENT = 100
MONTH_HOURS = 24 * 31


@dataclass
class SlurmCluster(ClusterOfAgent):
    """The cluster and its agent, for stories that are told at the same time."""

    name: str
    slurm: Slurm
    scheduler: SlurmScheduler
    jobs: SlurmJobs
    agent: AgentSide
    forms: Sequence[JobForm]
    now: int = 0
    wanted: Mapping[str, AccountEntry] | None = None
    cycles_left: int = 0

    @classmethod
    async def of(
        cls, scenarios: Sequence[Scenario], slurm: Slurm, clock: Clock, ledger: Ledger, folder: Path
    ) -> "SlurmCluster":
        """The cluster as the stories begin."""
        own = settings_of(slurm, window_hours=MONTH_HOURS)
        scheduler = SlurmScheduler(own, Commands(own), FactorStore(folder), SoftLandings(folder), clock=clock.now)
        forms = [job for scenario in scenarios for job in scenario.jobs]
        settings = cluster_settings(slurm)
        agent = await AgentSide.of(scenarios, settings, scheduler, ledger, folder, lambda: int(clock.now()))
        return cls(slurm.cluster, slurm, scheduler, SlurmJobs(slurm, clock, forms), agent, forms)

    async def advance(self, now: int) -> None:
        """Let time pass."""
        self.now, self.cycles_left = now, CYCLES_AFTER_NEWS
        await self.jobs.run_to(now)

    async def submit(self, now: int) -> None:
        """Hand in the jobs of this second."""
        if await self.jobs.hand_in(now):
            self.cycles_left = CYCLES_AFTER_NEWS

    def record(self, event: RecordOf) -> None:
        """Nobody edits the records of a real Slurm."""
        raise Impossible(f"the record of {event.job} can't be changed on a real Slurm")

    async def lose_counters(self) -> None:
        """The controller is restarted without the files that hold its counters."""
        self.cycles_left = CYCLES_AFTER_NEWS
        await self.slurm.halt("slurmctld")
        self.slurm.lose_counters()
        await self.slurm.resume("slurmctld")

    async def cycle(self, desired: Mapping[str, AccountEntry] | None) -> None:
        """One cycle of the agent, which takes a second; none where it went through some since anything happened."""
        if desired != self.wanted:
            self.wanted, self.cycles_left = desired, CYCLES_AFTER_NEWS
        if self.cycles_left > 0:
            self.cycles_left -= 1
            await self.agent.cycle(desired)

    async def account_action(self, account: str) -> Action:
        """What Slurm itself holds the account to."""
        found = await self._view(account)
        if found is None:
            return self.agent.told_action(account)
        capped = {name for name, reading in found.readings.items() if reading.concurrent_limit}
        return self.action(account, found, is_capped=not capped.isdisjoint(self.agent.listed(account)))

    async def headroom(self, account: str, resource: str) -> int | str | None:
        """Limit less counter, as sshare has them."""
        found = await self._view(account)
        reading = None if found is None else found.readings.get(trackable(resource))
        if reading is None or reading.concurrent_limit == 0:
            return 0 if reading is None else "closed"
        return "open" if reading.limit is None else max(0, reading.limit - reading.counter) * MINUTE

    async def _view(self, account: str) -> AccountView | None:
        return (await self.scheduler.observe(self.agent.settings)).accounts.get(account)

    async def job_states(self) -> Mapping[str, str]:
        """As Slurm has them, once those run that are to."""
        await self.jobs.settle(self.now)
        return await self.jobs.states()

    def slack(self, account: str, resource: str) -> int:
        """What all jobs of the account hold, for as long as they may be late."""
        held = (form.count * form.held.get(resource, 0) for form in self.forms if form.project == account)
        return max(MINUTE * UNSCALED.units(resource), SLACK_SECONDS * sum(held))

    async def differences(self, control: ControlPlane) -> Mapping[str, list[str]]:
        """By account where the ledger is not exactly what the pure domain makes of the records that sacct has now."""
        uses = await self.jobs.records()
        books = MemoryBooks()
        await books.put(Report(self.name, SlotVersion(1, 1), slots_of(uses), self.now))
        found = {use.account: [f"job {use.key} still runs"] for use in uses if use.running}
        for cluster, account in control.owners():
            here = await control.account(cluster, account)
            spans = await books.spans(cluster, account, cuts(here.terms, here.corrections))
            wanted = fold(here.terms, spans, here.corrections)
            lines = found.setdefault(account, [])
            lines += [f"unfunded is {here.books.unfunded}, not {wanted.unfunded}"] * (here.books.unfunded != wanted.unfunded)
            for terms in here.terms:
                for number, window in enumerate(terms.windows):
                    booked, exact = (side.window(terms.uid, number, window.end) for side in (here.books, wanted))
                    lines += [f"{terms.uid} window {number + 1} is {booked}, not {exact}"] * (booked != exact)
        return found

    async def close(self) -> None:
        """Let go; the Slurm itself is the fixture's."""
        await self.jobs.close()
        await self.scheduler.close()


def cluster_settings(slurm: Slurm) -> ClusterSettings:
    """What the Cluster object would say. Stories that are told together move many accounts at once: no brake."""
    capacity = slurm.options.cpus * slurm.options.nodes
    return ClusterSettings(
        cluster=slurm.cluster,
        scheduler_name=slurm.cluster,
        root_account="bursar",
        resources=(TrackedResource(name="cpu", trackable="cpu", capacity=capacity),),
        brake_max_change_percent=NO_BRAKE_PERCENT,
    )

"""A simulated cluster with the real agent over the simulator."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bursar_agent.schedulers.base import AccountChange
from bursar_domain.ladder import Action
from bursar_domain.units import MINUTE, UNSCALED, trackable
from bursar_domain.wire import AccountEntry, ClusterSettings, TrackedResource
from bursar_ledger import Ledger
from bursar_testing.scenarios.agentside import AgentSide, ClusterOfAgent
from bursar_testing.scenarios.engine import moments
from bursar_testing.scenarios.machine import ScenarioScheduler
from bursar_testing.scenarios.model import RecordOf, Scenario


@dataclass
class SimulatedCluster(ClusterOfAgent):
    """One machine and its agent."""

    name: str
    scheduler: ScenarioScheduler
    agent: AgentSide

    @classmethod
    async def of(cls, scenario: Scenario, name: str, ledger: Ledger, folder: Path) -> "SimulatedCluster":
        """The cluster as the scenario begins."""
        jobs = [job for job in scenario.jobs if job.cluster == name]
        settings, start = cluster_settings(scenario, name), moments([scenario])[0]
        scheduler = ScenarioScheduler(folder, start, scenario.clusters[name].resources["cpu"], jobs)
        agent = await AgentSide.of([scenario], settings, scheduler, ledger, folder, lambda: scheduler.machine.now)
        cluster = cls(name, scheduler, agent)
        if settings.enforcement == "Observe":
            await cluster._begin()
        return cluster

    async def _begin(self) -> None:
        """Where nothing is enforced the accounts are there already, made by somebody else's hand."""
        open_ = {resource.trackable: -1 for resource in self.agent.settings.resources}
        made = [
            AccountChange(account, create=True, description=f"bursar:{account}", limits=open_, add_members=frozenset(users))
            for account, users in sorted(self.agent.members.items())
        ]
        await self.scheduler.apply(self.agent.settings, made)

    async def advance(self, now: int) -> None:
        """Let time pass."""
        self.scheduler.run_to(now)

    async def submit(self, now: int) -> None:
        """Hand in the jobs of this second."""
        self.scheduler.hand_in(now)

    def record(self, event: RecordOf) -> None:
        """A record changes."""
        self.scheduler.record(event)

    async def lose_counters(self) -> None:
        """The scheduler forgets what it counted."""
        self.scheduler.machine.lose_counters()

    async def cycle(self, desired: Mapping[str, AccountEntry] | None) -> None:
        """One cycle of the agent."""
        await self.agent.cycle(desired)

    async def account_action(self, account: str) -> Action:
        """What the simulator itself holds the account to."""
        found = self.scheduler.machine.accounts.get(account)
        if found is None or self.agent.settings.enforcement == "Observe":
            return self.agent.told_action(account)
        is_capped = any(found.concurrent.get(name) for name in self.agent.listed(account))
        return self.action(account, found, is_capped=is_capped)

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

    async def job_states(self) -> Mapping[str, str]:
        """As the machine has them."""
        return self.scheduler.job_states()

    def slack(self, account: str, resource: str) -> int:
        """Everything happens at its second."""
        return 0

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
        cluster=name,
        scheduler_name=name,
        scheduler_type="simulator",
        root_account="bursar",
        enforcement=form.enforcement,
        resources=resources,
    )

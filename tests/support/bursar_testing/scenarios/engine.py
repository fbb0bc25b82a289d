"""Runs a scenario: moment after moment, clusters move, agents count and report, the operator heeds, people do things."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from bursar_domain.closing import REOPEN_SECONDS
from bursar_domain.ladder import Action
from bursar_domain.units import HOUR
from bursar_domain.wire import AccountEntry
from bursar_testing.scenarios.books import Books, Report
from bursar_testing.scenarios.check import check
from bursar_testing.scenarios.controlplane import ControlPlane, Impossible
from bursar_testing.scenarios.holdings import Holding
from bursar_testing.scenarios.model import EventForm, RecordOf, Scenario
from bursar_testing.scenarios.times import moment

PEOPLE = ("adjust", "refund", "transfer")


class Cluster(Protocol):
    """One cluster and its agent, as a runner has them."""

    name: str

    async def advance(self, now: int) -> None:
        """Let time pass."""

    async def submit(self, now: int) -> None:
        """Hand in the jobs of this second."""

    def record(self, event: RecordOf) -> None:
        """A record changes."""

    async def lose_counters(self) -> None:
        """The scheduler forgets what it counted."""

    async def cycle(self, desired: Mapping[str, AccountEntry] | None) -> None:
        """One cycle of the agent."""

    def committed(self, account: str) -> Mapping[str, int]:
        """What running jobs may still use."""

    def take_reports(self) -> list[Report]:
        """What is to be delivered."""

    def old_reports(self) -> list[Report]:
        """What was delivered before."""

    async def account_action(self, account: str) -> Action:
        """What the account is held to."""

    async def headroom(self, account: str, resource: str) -> int | str | None:
        """Unit-seconds that jobs may still use, `closed` or `open`; None where that can't be said."""

    async def job_states(self) -> Mapping[str, str]:
        """Name -> Pending, Running, Done."""

    def slack(self, account: str, resource: str) -> int:
        """How far figures may be off, in unit-seconds: where jobs are real they begin and end some seconds late."""

    async def close(self) -> None:
        """Let go."""


class Engine:
    """One run of one scenario, or of several that have nothing in common but the cluster and its agent."""

    def __init__(self, scenarios: Sequence[Scenario], books: Books, clusters: Mapping[str, Cluster]) -> None:
        self.scenarios, self.books, self.clusters = scenarios, books, clusters
        self.control = ControlPlane(books)
        self.now = 0
        self._agent_back: dict[str, int] = {}
        self._control_back = 0

    async def run(self) -> None:
        """Let it happen; AssertionError with the expectations that were not met."""
        found = await self.tell()
        assert not any(found.values()), "\n".join(line for lines in found.values() for line in lines)

    async def tell(self) -> Mapping[str, list[str]]:
        """Let it happen; by scenario what was not as expected."""
        found: dict[str, list[str]] = {scenario.name: [] for scenario in self.scenarios}
        try:
            for now in moments(self.scenarios):
                await self._go_on(now)
                for scenario in self.scenarios:
                    for expectation in scenario.expect:
                        if expectation.at == now:
                            found[scenario.name] += await check(scenario, expectation, self.control, self.clusters)
        finally:
            for cluster in self.clusters.values():
                await cluster.close()
        return found

    async def _go_on(self, now: int) -> None:
        self.now = now
        for cluster in self.clusters.values():
            await cluster.advance(now)
        self._create(now)
        await self._turn()
        for cluster in self.clusters.values():
            await cluster.submit(now)
        for event in (event for scenario in self.scenarios for event in scenario.events if event.at == now):
            await self._happen(event)
        await self._turn()

    def _create(self, now: int) -> None:
        for scenario in self.scenarios:
            for name, form in scenario.allocations.items():
                if name not in self.control.holdings and (form.created is None or form.created <= now):
                    self.control.create(scenario, name)

    @property
    def _control_is_there(self) -> bool:
        return self._control_back <= self.now

    async def _turn(self) -> None:
        """The operator looks, agents go through a cycle and report, and both once more with what they heard."""
        for _ in range(2):
            desired = await self.control.reconcile() if self._control_is_there else None
            for name, cluster in self.clusters.items():
                if self._agent_back.get(name, 0) <= self.now:
                    own = None if desired is None else {account: e for (c, account), e in desired.items() if c == name}
                    await cluster.cycle(own)
                    await self._deliver(cluster)

    async def _deliver(self, cluster: Cluster) -> None:
        if not self._control_is_there:
            return
        for report in cluster.take_reports():
            await self.books.put(report)
        self.control.clocks[cluster.name] = self.now
        for name, account in self.control.owners():
            if name == cluster.name:
                self.control.committed[name, account] = cluster.committed(account)

    async def _happen(self, event: EventForm) -> None:
        if event.agent_away is not None:
            self._agent_back[event.agent_away.cluster] = event.agent_away.until
        elif event.control_plane_away is not None:
            self._control_back = event.control_plane_away.until
        elif event.record is not None:
            for cluster in self.clusters.values():
                cluster.record(event.record)
        elif event.lose_counters is not None:
            await self.clusters[event.lose_counters].lose_counters()
        elif event.report_again is not None:
            for report in self.clusters[event.report_again].old_reports():
                await self.books.put(report)
        elif event.kind in PEOPLE and not self._control_is_there:
            raise Impossible(f"{moment(event.at)}: nobody can book by hand while the control plane is away")
        else:
            self.control.change(event)
            await self.control.book(event)


def moments(scenarios: Iterable[Scenario]) -> list[int]:
    """Every second at which something happens, up to each one's last expectation."""
    return sorted({second for scenario in scenarios for second in _moments(scenario)})


def _moments(scenario: Scenario) -> Iterable[int]:
    last = max(expectation.at for expectation in scenario.expect)
    return (second for second in (*_told(scenario), *_dated(scenario)) if second <= last)


def _told(scenario: Scenario) -> Iterable[int]:
    """What the scenario names."""
    yield from scenario.look if scenario.origin is None else (scenario.origin, *scenario.look)
    for job in scenario.jobs:
        yield from job.moments()
    for event in scenario.events:
        yield event.at
        yield from () if event.move_end is None else (event.move_end.end,)
        yield from (away.until for away in (event.agent_away, event.control_plane_away) if away is not None)
    for expectation in scenario.expect:
        yield expectation.at


def _dated(scenario: Scenario) -> Iterable[int]:
    """What the allocations name: windows and when they close, tranches, when they are created."""
    for name, form in scenario.allocations.items():
        holding = Holding(name, form.project, form.cluster, form.spec)
        yield from () if form.created is None else (form.created,)
        yield from (int(item.from_.timestamp()) for item in form.spec.tranches or () if item.from_ is not None)
        rules = holding.rules()
        for window in rules.windows:
            last = window.end + (rules.after_end_seconds if window == rules.windows[-1] else 0)
            yield from (window.start, window.end, last, -(-last // HOUR) * HOUR + REOPEN_SECONDS)

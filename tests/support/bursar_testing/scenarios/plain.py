"""A cluster without a scheduler: jobs run when the scenario says, and an agent that counts, judges and reports."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bursar_domain import projection
from bursar_domain.buckets import JobUse, SlotKey, SlotVersion, slots_of
from bursar_domain.fold import AccountBooks, cuts, fold
from bursar_domain.ladder import Action, Basis, Rule
from bursar_domain.published import account_terms, corrections_of
from bursar_domain.wire import AccountEntry, AllocationEntry
from bursar_testing.scenarios.books import MemoryBooks, Report, Rows
from bursar_testing.scenarios.judge import Before, Rates, judge
from bursar_testing.scenarios.model import JobForm, RecordOf, Scenario


def rules_of(entry: AllocationEntry) -> list[Rule]:
    """Thresholds as they were signed."""
    return [Rule(item.percent, Action(item.action), item.clear_below_percent, Basis(item.basis)) for item in entry.thresholds]


@dataclass
class Records:
    """What the accounting of a cluster says about its jobs; records may change after the fact."""

    jobs: list[JobForm]
    gone: set[str] = field(default_factory=set)

    def change(self, event: RecordOf) -> None:
        """Change the record of a job."""
        if event.gone:
            self.gone.add(event.job)
        fields = event.model_dump(include={"run", "state", "cpus"}, exclude_none=True)
        self.jobs = [job.model_copy(update=fields) if job.name == event.job else job for job in self.jobs]

    def uses(self, now: int) -> list[JobUse]:
        """Every record that is there at a second."""
        shown = [(number, job) for number, job in enumerate(self.jobs) if job.name not in self.gone]
        return [use for number, job in shown for use in job.uses(number, now)]


@dataclass
class PlainCluster:
    """One cluster and its agent. What was not delivered waits, however long the control plane is away."""

    name: str
    records: Records
    now: int = 0
    seq: int = 0
    counted: dict[SlotKey, Rows] = field(default_factory=dict)
    outbox: list[Report] = field(default_factory=list)
    delivered: list[Report] = field(default_factory=list)
    book: MemoryBooks = field(default_factory=MemoryBooks)
    desired: Mapping[str, AccountEntry] = field(default_factory=dict)
    rules: dict[str, tuple[int, frozenset[str]]] = field(default_factory=dict)
    actions: dict[str, Action] = field(default_factory=dict)

    @classmethod
    def of(cls, scenario: Scenario, name: str) -> "PlainCluster":
        """The cluster as the scenario begins."""
        return cls(name, Records([job for job in scenario.jobs if job.cluster == name]))

    async def advance(self, now: int) -> None:
        """Let time pass."""
        self.now = now

    async def submit(self, now: int) -> None:
        """Jobs run by themselves."""

    def record(self, event: RecordOf) -> None:
        """A record changes."""
        self.records.change(event)

    async def lose_counters(self) -> None:
        """There is no counter here."""

    async def cycle(self, desired: Mapping[str, AccountEntry] | None) -> None:
        """One cycle of the agent; ``desired`` is None while nobody publishes."""
        self.desired = self.desired if desired is None else desired
        await self._count()
        before: Before = self.rules
        self.rules, self.actions = {}, {}
        for account, entry in self.desired.items():
            found = judge(
                await self._fold(entry),
                {item.uid: rules_of(item) for item in entry.allocations},
                self.now,
                before,
                self.committed(account),
                await self._rates(entry),
            )
            self.rules |= found.rules
            self.actions[account] = found.account

    async def _count(self) -> None:
        fresh = slots_of(self.records.uses(self.now))
        changed: dict[SlotKey, Rows] = {key: fresh.get(key, {}) for key in {*fresh, *self.counted}}
        changed = {key: rows for key, rows in changed.items() if self.counted.get(key, {}) != rows}
        self.seq += 1
        self.counted |= changed
        report = Report(self.name, SlotVersion(1, self.seq), changed, self.now)
        self.outbox.append(report)
        await self.book.put(report)

    async def _fold(self, entry: AccountEntry) -> AccountBooks:
        terms, corrections = account_terms(entry), corrections_of(entry)
        spans = await self.book.spans(self.name, entry.account, cuts(terms, corrections))
        return fold(terms, spans, corrections)

    async def _rates(self, entry: AccountEntry) -> Rates:
        terms = account_terms(entry)
        found: dict[str, projection.Rate | None] = {}
        for name in {name for item in terms for name in item.resources}:
            since = projection.since(terms, name, self.now)
            spans = await self.book.spans(self.name, entry.account, () if since is None else (since,))
            used = sum(amount for at, amount in spans.get(name, ()) if since is not None and at >= since)
            found[name] = projection.rate(used, since, self.now)
        return Rates(found)

    def committed(self, account: str) -> dict[str, int]:
        """What running jobs may still use."""
        found: dict[str, int] = {}
        for use in self.records.uses(self.now):
            if use.running and use.account == account:
                for name, units in use.allocated.items():
                    left = max(0, use.start + (use.limit_seconds or 0) - self.now)
                    found[name] = found.get(name, 0) + units * left
        return found

    def take_reports(self) -> list[Report]:
        """What is to be delivered."""
        found, self.outbox = self.outbox, []
        self.delivered += found
        return found

    def old_reports(self) -> list[Report]:
        """What was delivered before, to come again."""
        return [*self.delivered[:1], *self.delivered[-2:], *self.delivered[:1]]

    async def account_action(self, account: str) -> Action:
        """What the account is held to."""
        return self.actions.get(account, Action.NONE)

    async def headroom(self, account: str, resource: str) -> int | None:
        """Unit-seconds that jobs may still use; None where the domain alone can't say."""
        entry = self.desired.get(account)
        if entry is None:
            return 0
        books = await self._fold(entry)
        return max(0, books.left_at(self.now, resource))

    async def job_states(self) -> Mapping[str, str]:
        """Nothing schedules here."""
        return {}

    def slack(self, account: str, resource: str) -> int:
        """Everything happens at its second."""
        return 0

    async def close(self) -> None:
        """Nothing to let go of."""

"""Allocations as they stand while a scenario runs, and the grants that are posted for them. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bursar_crds.allocation import AllocationSpec
from bursar_crds.policies import Debt
from bursar_domain.closing import Carry, Subject
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.ladder import Action, Basis, Rule
from bursar_domain.published import ended_entry, signed
from bursar_domain.terms import PastEnd, Rules, Terms, build
from bursar_domain.units import QUARTER, UNSCALED
from bursar_domain.windows import cut
from bursar_domain.wire import AllocationEntry, EndedEntry, ThresholdEntry

DAY = 86_400


@dataclass
class Holding:
    """One allocation: its spec now, which gates opened when, and up to which revision grants were posted."""

    uid: str
    project: str
    cluster: str
    spec: AllocationSpec
    revision: int = 1
    posted: int = 0
    gates: dict[str, int] = field(default_factory=dict)
    deleted: bool = False
    past_ends: tuple[PastEnd, ...] = ()

    @property
    def start(self) -> int:
        """First second of the period."""
        return int(self.spec.period.start.timestamp())

    @property
    def end(self) -> int:
        """First second after it."""
        return int(self.spec.period.end.timestamp())

    @property
    def subject(self) -> Subject:
        """Whose windows are closed."""
        carry = self.spec.carry_over
        policy = Carry() if carry is None else Carry(carry.percent, carry.maximum_hours)
        return Subject(self.cluster, self.project, f"project-{self.project}", self.uid, policy)

    @property
    def thresholds(self) -> list[Rule]:
        """As the ladder takes them."""
        return [
            Rule(item.percent, Action(item.action.value), item.clear_below_percent, Basis(item.basis.value))
            for item in self.spec.thresholds
        ]

    def rules(self) -> Rules:
        """What the spec says about windows."""
        spec, recurrence = self.spec, self.spec.recurrence
        every = recurrence.every.value if recurrence else None
        return Rules(
            uid=self.uid,
            resources=tuple(item.name for item in spec.resources),
            windows=cut(self.start, self.end, every, recurrence.time_zone if recurrence else None),
            after_end_seconds=spec.grace.after_end_days * DAY if spec.grace else 0,
            overuse_percent=spec.grace.overuse_percent if spec.grace else 0,
            carries_debt=spec.debt is Debt.CARRY_DEBT,
            is_deleted=self.deleted,
            past_ends=self.past_ends,
        )

    def move_end(self, end: int, clock: int | None) -> None:
        """The spec has another end; ``clock``: the cluster's time."""
        before = self.rules()
        period = self.spec.period.model_copy(update={"end": datetime.fromtimestamp(end, UTC)})
        self.spec = self.spec.model_copy(update={"period": period})
        self.past_ends = self.rules().moved(before, clock).past_ends
        self.revision += 1

    def terms(self, entries: Sequence[Entry]) -> Terms:
        """The windows with what the entries give them."""
        return build(self.rules(), entries)

    def postings(self, at: int) -> list[Entry]:
        """Grants of this revision from a quarter on: one now, one for each dated share that opens later."""
        openings = {at, *(opening for opening in self._openings() if opening > at)}
        return [self._grant(opening) for opening in sorted(openings)]

    def _openings(self) -> Mapping[int, int]:
        found: dict[int, int] = {}
        for tranche in self.spec.tranches or ():
            at = self.gates.get(tranche.gate or "") if tranche.from_ is None else int(tranche.from_.timestamp())
            if at is not None:
                found[max(at, self.start)] = found.get(max(at, self.start), 0) + tranche.percent
        return found

    def _grant(self, at: int) -> Entry:
        percent = 100 if self.spec.tranches is None else sum(share for when, share in self._openings().items() if when <= at)
        hours = {item.name: 0 if self.deleted else item.hours * percent // 100 for item in self.spec.resources}
        return self.entry(
            f"grant/{self.uid}/{self.revision}/{at}",
            EntryKind.GRANT,
            at,
            {name: UNSCALED.seconds_from_hours(name, amount) for name, amount in hours.items()},
            "the allocation",
        )

    def entry(self, key: str, kind: EntryKind, at: int, amounts: Mapping[str, int], reason: str, reference: str = "") -> Entry:
        """An entry of this allocation."""
        return Entry(
            key,
            kind,
            self.cluster,
            self.project,
            at // QUARTER * QUARTER,
            "scenario",
            reason,
            uid=self.uid,
            namespace=f"project-{self.project}",
            name=self.uid,
            amounts=amounts,
            reference=reference,
        )

    def published(self, terms: Terms) -> AllocationEntry:
        """As it is signed while it lives."""
        return AllocationEntry(
            namespace=f"project-{self.project}",
            name=self.uid,
            grant_revision=self.revision,
            granted={item.name: item.hours for item in self.spec.resources},
            start=self.start,
            end=self.end,
            thresholds=tuple(
                ThresholdEntry(
                    percent=item.percent,
                    action=item.action.value,
                    basis=item.basis.value,
                    clear_below_percent=item.clear_below_percent,
                )
                for item in self.spec.thresholds
            ),
            **signed(terms),
        )

    def ended(self, terms: Terms) -> EndedEntry:
        """As it is signed once it is gone."""
        return ended_entry(terms)

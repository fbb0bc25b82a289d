"""Allocation: hours that a project may use on one cluster over one period, drawn from a pool and kept by the scheduler."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bursar_crds.common import (
    MAX_RESOURCES,
    MAX_SAFE,
    WHOLE,
    AllocationHours,
    BalanceList,
    ClusterReference,
    Conditions,
    Counter,
    HoursList,
    Model,
    Period,
    PoolReference,
    Resource,
    ResourceCount,
    StatusModel,
    StopPolicy,
)
from bursar_crds.instants import Instant
from bursar_crds.policies import CarryOver, Debt, GateName, Grace, Recurrence, Requester, Threshold, Tranche
from bursar_crds.rules import Atomic, Fixed, ListMap, ListSet, change, rule

StatusPercent = Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE), WHOLE]


class EnforcementLevel(StrEnum):
    """The strongest action in force."""

    NONE = "None"
    NOTIFY = "Notify"
    THROTTLE = "Throttle"
    SOFT_LAND = "SoftLand"
    HOLD = "Hold"
    BLOCK = "Block"


class AllocationSpec(Model):
    """What an allocator gives to the project."""

    cluster_ref: Annotated[
        ClusterReference,
        Fixed("an allocation stays on its cluster; make another one"),
        Field(description="Cluster whose hours these are. Never changes."),
    ]
    pool_ref: Annotated[
        PoolReference | None,
        Fixed("an allocation stays with its pool; make another one"),
        Field(description="Pool to draw on. Never changes. Absent: the one that covers the period and admits the project."),
    ] = None
    period: Annotated[Period, Field(description="When the hours may be used.")]
    resources: Annotated[
        tuple[AllocationHours, ...],
        Field(min_length=1, max_length=MAX_RESOURCES, description="Hours of each resource."),
        ListMap(),
    ]
    recurrence: Annotated[
        Recurrence | None,
        Fixed("windows stay as they were cut; leave recurrence as it is, and make another allocation for other windows"),
        Field(description="Windows that share the hours out. Never changes. Absent: one window."),
    ] = None
    carry_over: Annotated[CarryOver, Field(description="What a window leaves to the next one.")] | None = None
    concurrency: Annotated[
        tuple[ResourceCount, ...],
        Field(max_length=MAX_RESOURCES, description="Most units in use at one time."),
        ListMap(),
    ] = ()
    thresholds: Annotated[
        tuple[Threshold, ...],
        Field(max_length=16, description="Points at which something happens."),
        ListMap(("basis", "percent")),
    ] = ()
    grace: Annotated[Grace, Field(description="What is tolerated beyond the grant. Default: nothing.")] | None = None
    debt: Annotated[Debt, Field(description="What becomes of over-use. Default: CarryDebt.")] = Debt.CARRY_DEBT
    opened_gates: Annotated[
        tuple[GateName, ...], Field(max_length=32, description="Gates of tranches that are open."), ListSet()
    ] = ()
    per_member: Annotated[
        tuple[AllocationHours, ...],
        Field(max_length=MAX_RESOURCES, description="Most hours that one member may use of it."),
        ListMap(),
    ] = ()
    tranches: (
        Annotated[
            tuple[Tranche, ...],
            Field(min_length=1, max_length=32, description="Shares that open one after the other; 100 percent in all."),
            Atomic(),
        ]
        | None
    ) = None
    stop_policy: Annotated[StopPolicy, Field(description="What happens to jobs when the hours are gone. Default: None.")] = (
        StopPolicy.NONE
    )
    requested_by: Annotated[
        Requester | None,
        Fixed("requestedBy says who asked and never changes; leave it as it is"),
        Field(description="Who asked; stamped on create, never changes."),
    ] = None

    @rule(
        "!has(self.perMember) || self.perMember.all(m, self.resources.exists(r, r.name == m.name))",
        "a resource in perMember is not in resources; list it there or leave it out here",
        at="perMember",
    )
    def caps_are_of_resources(self) -> bool:
        """Twin of the CEL rule."""
        return {item.name for item in self.per_member} <= {item.name for item in self.resources}

    @rule(
        "!has(self.tranches) || self.tranches.map(t, t.percent).sum() == 100",
        "the tranches must add up to 100 percent; change a percent",
        at="tranches",
    )
    def tranches_are_whole(self) -> bool:
        """Twin of the CEL rule."""
        return self.tranches is None or sum(item.percent for item in self.tranches) == 100

    @rule(
        "!has(self.tranches) || self.tranches.all(t, !has(t.from) || t.from >= self.period.start)",
        "a tranche opens inside the period, not before its start; move its date",
        at="tranches",
    )
    def tranches_open_from_the_start_on(self) -> bool:
        """Twin of the CEL rule."""
        return all(item.from_ is None or item.from_ >= self.period.start for item in self.tranches or ())

    @rule(
        "!has(self.tranches) || self.tranches.all(t, !has(t.from) || t.from < self.period.end)",
        "a tranche opens inside the period; move its date, or leave it out and make another one larger",
        at="tranches",
    )
    def tranches_open_before_the_end(self) -> bool:
        """Twin of the CEL rule."""
        return all(item.from_ is None or item.from_ < self.period.end for item in self.tranches or ())

    # What was charged rests on the following; none of it may move under charges that are booked.

    @change(
        "self.period.start == oldSelf.period.start",
        "an allocation begins when it was said to; leave the start as it is, or make another allocation",
        at="period.start",
    )
    def start_stays(self, old: "AllocationSpec") -> bool:
        """Twin of the CEL rule."""
        return self.period.start == old.period.start

    @change(
        "!has(self.recurrence) || self.period.end == oldSelf.period.end",
        "a period with recurrence ends when it was said to; renew it with a new allocation from that end on",
        at="period.end",
    )
    def last_window_stays(self, old: "AllocationSpec") -> bool:
        """Twin of the CEL rule."""
        return self.recurrence is None or self.period.end == old.period.end

    @change(
        "oldSelf.resources.all(o, self.resources.exists(n, n.name == o.name))",
        "a resource stays listed, for what was used of it is booked here; lower its hours instead",
        at="resources",
    )
    def resources_stay(self, old: "AllocationSpec") -> bool:
        """Twin of the CEL rule."""
        return {item.name for item in old.resources} <= {item.name for item in self.resources}

    @change(
        "self.?grace.?overusePercent.orValue(0) == oldSelf.?grace.?overusePercent.orValue(0)",
        "tolerated over-use never changes; adjust the hours with `bursar entries adjust`, or make another allocation",
        at="grace.overusePercent",
    )
    def overuse_stays(self, old: "AllocationSpec") -> bool:
        """Twin of the CEL rule."""
        return _overuse(self) == _overuse(old)

    @change(
        "(has(self.debt) && self.debt == 'Absorb') == (has(oldSelf.debt) && oldSelf.debt == 'Absorb')",
        "what becomes of over-use never changes; adjust the hours with `bursar entries adjust`, or make another allocation",
        at="debt",
    )
    def debt_stays(self, old: "AllocationSpec") -> bool:
        """Twin of the CEL rule."""
        return self.debt == old.debt


def _overuse(spec: AllocationSpec) -> int:
    return spec.grace.overuse_percent if spec.grace is not None else 0


class Window(StatusModel):
    """The window that runs now."""

    start: Annotated[Instant, Field(description="First moment of the window.")]
    end: Annotated[Instant, Field(description="First moment after it.")]
    hours: Annotated[HoursList, Field(description="Hours of this window.")] = ()
    carried_hours: Annotated[HoursList, Field(description="Hours carried in from the window before.")] = ()


class AllocationStatus(StatusModel):
    """What was granted, what the pools hold for it, what the scheduler keeps and what was used."""

    conditions: Conditions = ()
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that this status answers.")] | None = None
    granted: Annotated[HoursList, Field(description="Hours that agents enforce; never more than charged.")] = ()
    charged: Annotated[HoursList, Field(description="Hours that the pools hold for this allocation.")] = ()
    pool: Annotated[str, Field(max_length=63, description="Pool that it draws on.")] | None = None
    grant_generation: Annotated[Counter, Field(description="Generation of the spec that was granted.")] | None = None
    grant_revision: Annotated[Counter, Field(description="Grows whenever granted changes.")] | None = None
    grant_sequence: Annotated[Counter, Field(description="Number of the last operation decided.")] | None = None
    charge_sequence: (
        Annotated[
            int,
            Field(
                strict=True, ge=-1, le=MAX_SAFE, description="Number of the operation that set charged; -1 after a hand edit."
            ),
            WHOLE,
        ]
        | None
    ) = None
    window: Annotated[Window, Field(description="The window that runs now.")] | None = None
    used: Annotated[HoursList, Field(description="Hours used in the window that runs, rounded up.")] = ()
    committed: Annotated[HoursList, Field(description="Hours that running jobs of the account may still use.")] = ()
    adjusted: Annotated[
        BalanceList, Field(description="Hours added to the window that runs, or taken, by hand, corrections and debt.")
    ] = ()
    available: Annotated[
        BalanceList, Field(description="Hours left of the window that runs, rounded down; below zero when overdrawn.")
    ] = ()
    used_percent: (
        Annotated[StatusPercent, Field(description="Most used resource, used of what the window that runs has.")] | None
    ) = None
    coverage_percent: (
        Annotated[StatusPercent, Field(description="How much of the window that runs the usage covers until now.")] | None
    ) = None
    projected_exhaustion: Annotated[
        Instant | None, Field(description="When the hours of the window that runs are used up at the present rate.")
    ] = None
    usage_as_of: Annotated[Instant | None, Field(description="Up to when usage is complete.")] = None
    account: Annotated[str, Field(max_length=32, description="Account at the scheduler.")] | None = None
    enforcement: Annotated[EnforcementLevel, Field(description="The strongest action in force.")] | None = None


class Allocation(Resource[AllocationSpec, AllocationStatus]):
    """Hours that a project may use on one cluster over one period."""

    kind: Literal["Allocation"] = "Allocation"
    status: AllocationStatus = AllocationStatus()

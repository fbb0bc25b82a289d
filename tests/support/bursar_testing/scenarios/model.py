"""The form of a scenario. Allocations are written in the words of the custom resource."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from bursar_crds.allocation import AllocationSpec
from bursar_domain.buckets import JobUse
from bursar_domain.units import UNSCALED
from bursar_testing.scenarios.times import Amount, Length, When

Hours = dict[str, Amount]
Action = Literal["None", "Notify", "Throttle", "SoftLand", "Hold", "Block"]


class Form(BaseModel):
    """Nothing unknown is accepted, so that a misspelt word is no silent pass."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class ClusterForm(Form):
    """``resources``: units installed, memory in GiB. ``Observe``: nothing is enforced, so that over-use can happen."""

    resources: dict[str, int] = {"cpu": 128}
    enforcement: Literal["Enforce", "Observe"] = "Enforce"


def _spec(value: object) -> object:
    return {"clusterRef": {"name": "alpha"}} | value if isinstance(value, dict) else value


class AllocationForm(Form):
    """One allocation; it is there from ``created`` on (absent: before anything else happens)."""

    project: str = "astro"
    created: When | None = None
    spec: Annotated[AllocationSpec, BeforeValidator(_spec)]

    @property
    def cluster(self) -> str:
        """Whose hours they are."""
        return self.spec.cluster_ref.name


class JobForm(Form):
    """``count`` equal jobs, ``every`` so long one after the other; units are those of one of them, memory in GiB.

    ``starts``: when it starts where that is not at once, or `never`: the scheduler's business, which the domain can't know.
    ``reported``: from when on the accounting has its record.
    """

    name: str = ""
    user: str = "ann"
    project: str = "astro"
    cluster: str = "alpha"
    at: When
    run: Length
    limit: Length | None = None
    count: Annotated[int, Field(ge=1, le=100_000)] = 1
    every: Length = 0
    cpus: int = 1
    gpus: int = 0
    memory: int = 0
    billing: int = 0
    state: str = "COMPLETED"
    factor_thousandths: int = 1000
    starts: When | Literal["never"] | None = None
    reported: When | None = None

    @property
    def limit_seconds(self) -> int:
        """Time limit; the run time where none is given."""
        return self.run if self.limit is None else self.limit

    @property
    def held(self) -> dict[str, int]:
        """Units by resource, memory in MiB."""
        units = {"cpu": self.cpus, "gpu": self.gpus, "memory": self.memory * UNSCALED.units("memory"), "billing": self.billing}
        return {name: count for name, count in units.items() if count}

    def first(self) -> int | None:
        """When the first one starts; None where it never does."""
        if self.starts == "never":
            return None
        return self.at if self.starts is None else self.starts

    def moments(self) -> set[int]:
        """When something begins or ends for it."""
        first = self.first()
        if first is None:
            return {self.at}
        last = first + (self.count - 1) * self.every
        return {self.at, first, last, first + self.run, last + self.run} | ({self.reported} if self.reported else set())

    def uses(self, index: int, now: int) -> list[JobUse]:
        """The records of these jobs that the accounting has at a second."""
        first = self.first()
        if first is None or (self.reported or 0) > now:
            return []
        starts = (first + number * self.every for number in range(self.count))
        return [self._use(f"{index}.{number}", start, now) for number, start in enumerate(starts) if start <= now]

    def _use(self, key: str, start: int, now: int) -> JobUse:
        running = start + self.run > now
        return JobUse(
            key=key,
            account=self.project,
            user=self.user,
            start=start,
            end=min(now, start + self.run),
            allocated=self.held,
            state="RUNNING" if running else self.state,
            factor_thousandths=self.factor_thousandths,
            running=running,
            limit_seconds=self.limit_seconds,
        )


class HoursOf(Form):
    """Hours of an allocation."""

    allocation: str
    hours: Hours


class RefundOf(HoursOf):
    """Hours given back by hand, for a job."""

    job: str


class TransferOf(Form):
    """Hours moved from one allocation of a project to another one."""

    source: Annotated[str, Field(alias="from")]
    target: Annotated[str, Field(alias="to")]
    hours: Hours


class GateOf(Form):
    """A gate of an allocation."""

    allocation: str
    gate: str


class EndOf(Form):
    """Another end of an allocation's period."""

    allocation: str
    end: When


class Away(Form):
    """Who is not there until when; the cluster is given for an agent."""

    until: When
    cluster: str = "alpha"


class RecordOf(Form):
    """The record of a job changes after the fact; what is absent stays."""

    job: str
    run: Length | None = None
    state: str | None = None
    cpus: int | None = None
    gone: bool = False


class EventForm(Form):
    """Something happens at a time, and exactly one thing; it acts from the quarter in which it is posted."""

    at: When
    why: str = ""
    top_up: HoursOf | None = None
    shrink: HoursOf | None = None
    adjust: HoursOf | None = None
    refund: RefundOf | None = None
    transfer: TransferOf | None = None
    open_gate: GateOf | None = None
    move_end: EndOf | None = None
    delete: str | None = None
    record: RecordOf | None = None
    agent_away: Away | None = None
    control_plane_away: Away | None = None
    report_again: str | None = None
    lose_counters: str | None = None

    @property
    def kind(self) -> str:
        """Which thing."""
        return next(name for name in KINDS if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        given = [name for name in KINDS if getattr(self, name) is not None]
        if len(given) != 1:
            words = ", ".join(to_camel(name) for name in KINDS)
            raise ValueError(f"give exactly one of {words}; found {', '.join(map(to_camel, given)) or 'none'}")
        return self


KINDS = tuple(name for name in EventForm.model_fields if name not in ("at", "why"))


class BalanceRow(Form):
    """Figures of one window (absent: the one that runs) in hours; what is absent is not looked at."""

    allocation: str
    resource: str = "cpu"
    window: Annotated[int, Field(ge=1)] | None = None
    granted: Amount | None = None
    carried: Amount | None = None
    adjusted: Amount | None = None
    credited: Amount | None = None
    debt: Amount | None = None
    grace: Amount | None = None
    used: Amount | None = None
    overdraft: Amount | None = None
    available: Amount | None = None

    def figures(self) -> dict[str, int]:
        """Figure -> unit-seconds."""
        fields = self.model_dump(exclude={"allocation", "resource", "window"}, exclude_none=True)
        return {name: value * UNSCALED.units(self.resource) for name, value in fields.items()}


class EntryRow(Form):
    """An entry as it must stand in the ledger."""

    allocation: str = ""
    hours: Hours = {}
    at: When | None = None
    window: Annotated[int, Field(ge=1)] | None = None


class Between(Form):
    """Bounds in hours."""

    at_least: Amount = 0
    at_most: Amount


class FiringRow(Form):
    """A threshold that fired."""

    allocation: str
    rule: str
    direction: Literal["up", "down"] = "up"


class Expectation(Form):
    """What must be true at a time, after everything that happens then.

    ``actions``: of each allocation; ``accounts``: what the scheduler enforces; ``headroom``: hours that jobs may still use,
    by project and resource; ``entries``: every entry of a kind up to now, in order; ``runsOut``: projected exhaustion.
    """

    at: When
    balances: tuple[BalanceRow, ...] = ()
    unfunded: dict[str, Hours] = {}
    actions: dict[str, Action] = {}
    accounts: dict[str, Action] = {}
    headroom: dict[str, dict[str, Amount | Between | Literal["closed", "open"]]] = {}
    entries: dict[str, tuple[EntryRow, ...]] = {}
    firings: tuple[FiringRow, ...] | None = None
    runs_out: dict[str, When | None] = {}
    jobs: dict[str, Literal["Pending", "Running", "Done"]] = {}


class Scenario(Form):
    """One story: ``about`` in a sentence; ``notFor`` says by runner why it is not for that one.

    ``onSlurm``: it is told on a real Slurm, too, whose clock goes forward from one moment of the story to the next.
    """

    name: str
    about: str
    origin: When | None = None
    not_for: dict[Literal["pure", "simulator"], str] = {}
    on_slurm: bool = False
    clusters: dict[str, ClusterForm] = {"alpha": ClusterForm()}
    allocations: dict[str, AllocationForm]
    jobs: tuple[JobForm, ...] = ()
    events: tuple[EventForm, ...] = ()
    look: tuple[When, ...] = ()
    expect: Annotated[tuple[Expectation, ...], Field(min_length=1)]

    def is_for(self, runner: str) -> bool:
        """Whether a runner can tell this story."""
        return self.on_slurm if runner == "slurm" else runner not in self.not_for

    @model_validator(mode="after")
    def _names_what_is_there(self) -> Self:
        names = {job.name for job in self.jobs if job.name}
        for where, name, known in self._mentions():
            if name not in (names if known == "job" else self.allocations if known == "allocation" else self.clusters):
                raise ValueError(f"{where}: there is no {known} {name!r} in this scenario")
        return self

    def _mentions(self) -> list[tuple[str, str, str]]:
        found = [(f"allocation {name}", form.cluster, "cluster") for name, form in self.allocations.items()]
        found += [(f"job {number}", job.cluster, "cluster") for number, job in enumerate(self.jobs, 1)]
        for number, event in enumerate(self.events, 1):
            found += [(f"event {number}", name, known) for name, known in _mentioned(event)]
        for expectation in self.expect:
            rows: list[Any] = [*expectation.balances, *(expectation.firings or ())]
            rows += [row for rows in expectation.entries.values() for row in rows if row.allocation]
            found += [("an expectation", row.allocation, "allocation") for row in rows]
            found += [("an expectation", name, "allocation") for name in (*expectation.actions, *expectation.runs_out)]
            found += [("an expectation", name, "job") for name in expectation.jobs]
        return found


def _mentioned(event: EventForm) -> list[tuple[str, str]]:
    what = getattr(event, event.kind)
    if isinstance(what, str):
        return [(what, "allocation" if event.kind == "delete" else "cluster")]
    if isinstance(what, TransferOf):
        return [(what.source, "allocation"), (what.target, "allocation")]
    if isinstance(what, RecordOf):
        return [(what.job, "job")]
    if isinstance(what, Away):
        return [(what.cluster, "cluster")]
    return [(what.allocation, "allocation")]

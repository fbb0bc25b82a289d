"""What a scheduler plug-in is: capabilities, observe, usage, apply, verify; five verbs, values absolute, units TRES-minutes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from bursar_domain.buckets import WHOLE, JobUse
from bursar_domain.wire import ClusterSettings, Miss

UNKNOWN_USER = "unknown"
MARK = "bursar:"
"""Begins the description of what Bursar made at a scheduler."""


class SchedulerError(Exception):
    """A scheduler command failed or timed out: its effect is unknown until it is read back."""


class SchedulerUnavailable(SchedulerError):
    """The scheduler or its accounting can't be read: keep what was last known, change nothing."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Answer of `capabilities`. No job second costs more than its units times the factor."""

    scheduler: str
    version: str
    capabilities: tuple[str, ...]
    misses: tuple[Miss, ...]
    largest_factor_thousandths: int = WHOLE


@dataclass(frozen=True, slots=True)
class Reading:
    """One TRES of one account: limits and counters in TRES-minutes; None means no limit is set."""

    limit: int | None = None
    run_minutes_limit: int | None = None
    counter: int = 0
    running: int = 0
    concurrent_limit: int | None = None  # GrpTRES, units


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account as the scheduler has it, keyed by TRES name ("cpu", "mem", "gres/gpu", …).

    `owned`: it lies under the root account and carries our mark; anything else is never touched. `held`: GrpJobs is 0.
    `blocked`: GrpSubmitJobs is 0. `qos`: the one QOS that the account is confined to where that is our doing (SoftLand),
    else "". `qos_list`: QOSes of the account itself, the default first and the rest by name; none where it inherits them.
    `own_qos`: users whose association has QOSes of its own, so that those of the account do not bind them.
    """

    account: str
    owned: bool
    parent: str = ""
    readings: Mapping[str, Reading] = field(default_factory=dict)
    members: frozenset[str] = frozenset()
    held: bool = False
    blocked: bool = False
    qos: str = ""
    qos_list: tuple[str, ...] = ()
    own_qos: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class QosView:
    """One QOS of ours (limit mode QOS): its readings by TRES name, and whether its counters never decay."""

    name: str
    readings: Mapping[str, Reading] = field(default_factory=dict)
    is_lasting: bool = True


@dataclass(frozen=True, slots=True)
class Observation:
    """All accounts at one time. `time` is the scheduler's clock in epoch seconds (simulated time in the simulator).

    `soft_land_qos`: the QOS that SoftLand confines an account to; "" where the plug-in has none that is fit for it.
    `qoses`: QOSes of ours by name (limit mode QOS); None where the plug-in has none or did not look.
    """

    time: int
    accounts: Mapping[str, AccountView]
    root: AccountView | None = None
    soft_land_qos: str = ""
    qoses: Mapping[str, QosView] | None = None


@dataclass(frozen=True, slots=True)
class UsageRead:
    """Job attempts that overlap `[since, time)`, or the part of it that was asked for, running ones cut at `time`.

    `watermark`: the second up to which the record is complete, or None where that is not known this time.
    """

    time: int
    since: int
    jobs: Sequence[JobUse]
    watermark: int | None
    bad_rows: int = 0


@dataclass(frozen=True, slots=True)
class QosChange:
    """Absolute target of one QOS that carries an allocation's ceiling (limit mode QOS), in TRES-minutes, -1 for none.

    `create`: it does not exist yet; it is made with limit 1 on every tracked TRES, counters that never decay, and
    `description` as the mark that it is ours, before anything else of the change. `lasting`: it lost the flag that its
    counters never decay, and gets it back. `tightens`: nothing in here lets more run than before; such parts are proven
    before the others of their change are written.
    """

    name: str
    create: bool = False
    description: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    run_minutes: Mapping[str, int] = field(default_factory=dict)
    lasting: bool = False
    tightens: bool = False


@dataclass(frozen=True, slots=True)
class AccountChange:
    """Absolute target of one account; a field that is None (or a TRES that is absent) is left alone.

    `create`: the account does not exist yet (made under `parent` with limit 1 on every tracked TRES in the same command,
    before the rest). Limits are TRES-minutes, -1 takes a limit off. `concurrent` (GrpTRES, units in use at one time; -1 takes
    it off) closes what no allocation lists (0) and carries the cap of Throttle. `held`: GrpJobs=0 (queue kept, running jobs
    finish) or back to unlimited. `blocked`: GrpSubmitJobs=0 (nothing may be handed in) or back to unlimited. `qos`: the only
    QOS that the account's jobs may have from now on (SoftLand); "" gives back what was before. In limit mode QOS `qoses` are
    the ceilings of its allocations, and `qos_list` which of them its jobs may have, the default first; an empty list gives
    back what the account had before that mode. Then what tightens is proven before anything is loosened, and the account's
    own limits come off last. `inherit_qos`: users who have the account's QOSes from now on, and none of their own.
    """

    account: str
    create: bool = False
    description: str = ""
    parent: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    run_minutes: Mapping[str, int] = field(default_factory=dict)
    concurrent: Mapping[str, int] = field(default_factory=dict)
    held: bool | None = None
    blocked: bool | None = None
    qos: str | None = None
    qoses: tuple[QosChange, ...] = ()
    qos_list: tuple[str, ...] | None = None
    inherit_qos: frozenset[str] = frozenset()
    add_members: frozenset[str] = frozenset()
    remove_members: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one change: proven by read-back (`done`), or not (`error` says why)."""

    account: str
    done: bool
    error: str = ""
    users_missing: tuple[str, ...] = ()


class Scheduler(Protocol):
    """A connected scheduler; one writer at a time."""

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        """Version, abilities, and every miss that keeps limits from holding."""
        ...

    async def observe(self, settings: ClusterSettings) -> Observation:
        """All accounts under the root account in at most two bulk reads. `SchedulerUnavailable` rather than half an answer."""
        ...

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """Job attempts overlapping [since, now), or [since, until) of it; how far those are complete is not said then."""
        ...

    async def apply(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[Outcome]:
        """Write the changes (root account and parents first), read back, and say per account what was proven."""
        ...

    def render(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[str]:
        """The exact commands that `apply` would run, for people (`bursar-agent plan`)."""
        ...

    async def close(self) -> None:
        """Let go of files and processes."""
        ...


class Plugin(Protocol):
    """What the entry point group `bursar.schedulers` holds."""

    name: str
    settings: type[BaseModel]

    def connect(self, settings: Any, state_directory: Path) -> Scheduler:
        """A scheduler for validated plug-in settings."""
        ...

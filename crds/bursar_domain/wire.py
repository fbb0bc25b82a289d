"""The agent protocol: what goes over the wire, its canonical bytes and digests.

Times are epoch seconds (integers), amounts whole hours where people wrote hours and unit-seconds where they were measured.
"""

import hashlib
from collections.abc import Iterable
from typing import Annotated, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

from bursar_domain.buckets import WHOLE, Quarters
from bursar_domain.units import UNSCALED, Scales

AGENT_AUDIENCE = "bursar-agents"
PROTOCOL = "v1"
Name = Annotated[str, StringConstraints(max_length=253, pattern=r"^[^\x00]*$")]  # no database takes a NUL
Count = Annotated[int, Field(ge=0, le=2**53)]
Seconds = Annotated[int, Field(ge=-(2**53), le=2**53)]
Amount = Annotated[int, Field(ge=-(2**62), le=2**62)]  # unit-seconds that are planned, not measured

MOST_FACTOR = 1000 * WHOLE  # in thousandths; a usage factor above a thousand is no meant one


class Wire(BaseModel):
    """Base of everything on the wire: immutable, camelCase outside, nothing unknown accepted."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True, extra="forbid", allow_inf_nan=False)

    def canonical(self) -> bytes:
        """The one byte form that is digested and signed: sorted keys, no spaces, UTF-8."""
        return canonical(self.model_dump(mode="json", by_alias=True))


def canonical(value: object) -> bytes:
    """Sorted-key JSON without spaces."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def digest(data: bytes) -> str:
    """SHA-256 in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


# Down: desired state


class StepEntry(Wire):
    """What a window has from ``at`` on, unit-seconds by resource, absolute; see `bursar_domain.terms.Step`."""

    at: Seconds
    granted: dict[str, Amount]
    carried: dict[str, Amount] = {}
    adjusted: dict[str, Amount] = {}


class WindowEntry(Wire):
    """One window ``[start, end)`` of an allocation, signed long before it begins, so that it rolls over by itself."""

    start: Seconds
    end: Seconds
    steps: tuple[StepEntry, ...]


class CorrectionEntry(Wire):
    """A closed slot of the account turned out to be ``amount`` more or less; see `bursar_domain.fold.Correction`."""

    resource: Name
    quarter: Seconds
    amount: Seconds
    at: Seconds


class ThresholdEntry(Wire):
    """At ``percent`` of the window's room on the basis, ``action``; undone below ``clear_below_percent``."""

    percent: Annotated[int, Field(ge=1, le=1000)]
    action: Literal["Notify", "Throttle", "SoftLand", "Hold", "Block"]
    basis: Literal["Used", "Committed", "Projected"] = "Used"
    clear_below_percent: int | None = None


class TermsEntry(Wire):
    """How use is put down to an allocation: all its windows, past and to come; see `bursar_domain.terms.Terms`."""

    uid: Name
    windows: tuple[WindowEntry, ...] = ()
    open_until: Seconds = 0  # end of the last window and the grace after it
    overuse_percent: Annotated[int, Field(ge=0, le=1000)] = 0
    carries_debt: bool = True
    closed_from: Seconds | None = None  # deleted: nothing is put down to it from here on
    past_ends: Annotated[tuple[tuple[Seconds, Seconds], ...], Field(exclude_if=lambda ends: not ends)] = ()  # as `PastEnd`


class EndedEntry(TermsEntry):
    """An allocation whose object is gone: what it was charged stays with it."""

    resources: tuple[Name, ...]


class AllocationEntry(TermsEntry):
    """One allocation as the scheduler's side must know it. ``granted`` is 0 for each resource while it is being deleted."""

    namespace: Name
    name: Name
    grant_revision: Count
    granted: dict[str, Count]
    start: Seconds
    end: Seconds
    thresholds: tuple[ThresholdEntry, ...] = ()


class AccountEntry(Wire):
    """One scheduler account: its members and allocations. ``closed`` is the tombstone: blocked, never deleted."""

    account: Name
    project: Name
    members: tuple[Name, ...] = ()
    allocations: tuple[AllocationEntry, ...] = ()
    ended: tuple[EndedEntry, ...] = ()
    corrections: tuple[CorrectionEntry, ...] = ()
    closed: bool = False

    def digest(self) -> str:
        """SHA-256 of the canonical bytes."""
        return digest(self.canonical())


class TrackedResource(Wire):
    """A resource of the Cluster: Bursar's name, the scheduler's TRES name, units installed."""

    name: Name
    trackable: Name
    capacity: Count


class WeightEntry(Wire):
    """Billing units that one unit of a resource costs, memory by the GiB."""

    name: Name
    weight: Annotated[int, Field(ge=1, le=2**53)]


class BillingEntry(Wire):
    """The Cluster's `spec.billing`: weights in order of their names, and how many billing units make a service unit."""

    version: Annotated[int, Field(ge=1, le=2**53)]
    scale: Annotated[int, Field(ge=1, le=2**53)]
    weights: tuple[WeightEntry, ...]

    @property
    def scales(self) -> Scales:
        """How the cluster's hours are counted."""
        return Scales(self.scale)


class ClusterSettings(Wire):
    """What the Cluster object says about enforcement; signed with the rest."""

    cluster: Name
    scheduler_name: Name
    root_account: Name
    enforcement: Literal["Enforce", "Observe"] = "Enforce"
    brake_max_change_percent: int = 10
    brake_minimum_changes: int = 3
    drift_limits: Literal["Enforce", "Report", "Adopt"] = "Enforce"
    drift_members: Literal["Enforce", "Report", "Adopt"] = "Enforce"
    limit_mode: Literal["Account", "QOS"] = "Account"
    scheduler_type: Name = "slurm"
    resources: tuple[TrackedResource, ...]
    billing: BillingEntry | None = None

    def canonical(self) -> bytes:
        """Billing is absent where the Cluster has none."""
        return canonical(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @property
    def scales(self) -> Scales:
        """How the cluster's hours are counted."""
        return UNSCALED if self.billing is None else self.billing.scales


class Root(Wire):
    """The signed statement about all entries of one cluster at one generation.

    ``epoch`` is the leader's term; ``acknowledged`` the highest generation whose brake a person released.
    """

    cluster: Name
    epoch: Count
    generation: Count
    acknowledged: Count
    issued_at: Seconds
    valid_until: Seconds
    digest: str


class SignedRoot(Wire):
    """A root, the Ed25519 public key (base64url) and the signature (base64url) over the root's canonical bytes."""

    root: Root
    public_key: str
    signature: str


class Delta(Wire):
    """Answer of ``GET desired``: the root over *all* entries and those that changed after the generation asked for.

    ``full`` says that ``entries`` holds every entry. ``clock`` is the server's time.
    """

    root: SignedRoot
    settings: ClusterSettings
    full: bool
    entries: tuple[AccountEntry, ...]
    clock: Seconds


def digest_of_all(settings: ClusterSettings, entries: Iterable[tuple[str, str]]) -> str:
    """Digest over the settings and (account, entry digest) of every entry, in order of account."""
    state = hashlib.sha256(settings.canonical())
    for account, entry_digest in sorted(entries):
        state.update(f"\n{account} {entry_digest}".encode())
    return state.hexdigest()


# Up: hello, status, usage


class Miss(Wire):
    """One thing that keeps the cluster from being enforceable: reason constant, sentence, and the exact line that mends it."""

    reason: str
    message: str
    remedy: str


class Hello(Wire):
    """First call of an agent session."""

    session: Name
    agent_version: Name
    protocol: Name = PROTOCOL
    scheduler: Name
    scheduler_version: Name
    capabilities: tuple[Name, ...] = ()
    misses: tuple[Miss, ...] = ()
    clock: Seconds


class HelloReply(Wire):
    """The server's clock and whether this session may go on (the younger of two sessions with one key is fenced)."""

    clock: Seconds
    accepted: bool
    reason: str = ""


class LimitState(Wire):
    """One resource at the scheduler, in TRES-minutes: limit in force, cumulative counter, remainder of running jobs."""

    limit: Annotated[int, Field(ge=-1, le=2**53)] | None = None
    counter: Count = 0
    running: Count = 0


class AccountState(Wire):
    """What the agent sees of one account after read-back.

    ``enforcement`` is the account's effective action; ``actions`` and ``rules`` are those of each active allocation by uid:
    its own action, and the keys of its thresholds in force (`ladder.Rule.key`).
    """

    account: Name
    state: Literal["Enforced", "Observed", "Pending", "Failed"]
    enforcement: str = "None"
    actions: dict[str, str] = {}
    rules: dict[str, tuple[str, ...]] = {}
    limits: dict[str, LimitState] = {}
    committed: dict[str, Count] = {}  # unit-seconds: remaining time limits of running jobs, per resource
    drift: tuple[str, ...] = ()
    error: str = ""
    users_missing: tuple[Name, ...] = ()


class Brake(Wire):
    """A plan that was stopped before its first command."""

    generation: Count
    changes: tuple[str, ...]
    message: str


class StatusReport(Wire):
    """Result of a cycle: only accounts that changed since the last report, unless ``full``."""

    report_id: Name
    session: Name
    generation: Count
    digest: str
    scheduler_time: Seconds
    enforced_at: Seconds
    full: bool = False
    accounts: tuple[AccountState, ...] = ()
    acknowledgements: dict[str, Count] = {}  # allocation uid -> grantRevision read back from the scheduler
    revision_times: dict[str, float] = {}  # allocation uid -> wall clock of that read-back, seconds with fraction
    brake: Brake | None = None
    misses: tuple[Miss, ...] = ()


class UsageRow(Wire):
    """One (user, resource) of a slot: unit-seconds of the four quarter hours."""

    user: Name
    resource: Name
    allocated: Quarters
    refunded: Quarters = (0, 0, 0, 0)


class SlotReport(Wire):
    """One whole slot; an absent row is 0, an emptied slot comes with no rows.

    Hour and amounts are any whole numbers here: what can't be true is refused slot by slot, with the reason.
    """

    account: Name
    hour: int
    epoch: Count
    seq: Count
    rows: tuple[UsageRow, ...] = ()


class RebuiltRange(Wire):
    """The agent counted ``[start, end)`` (whole UTC hours) anew as ``epoch``: with this page all of it is in."""

    epoch: Count
    start: Seconds
    end: Seconds


class UsageReport(Wire):
    """Slots, and the watermark (epoch seconds of the scheduler's clock) up to which use is complete once this page is in.

    ``rebuilt`` stands on the last page of a rebuild: its slots count from then on, and every lower epoch is void there.
    ``previous``: the last report whose receipt the agent has; a ledger that does not know it lacks pages.
    ``largest_factor_thousandths`` is the largest usage factor: so much more than it has a cluster may be charged for.
    """

    report_id: Name
    session: Name
    slots: tuple[SlotReport, ...]
    watermark: Seconds | None = None
    rebuilt: RebuiltRange | None = None
    previous: Name | None = None
    largest_factor_thousandths: Annotated[int, Field(ge=0, le=MOST_FACTOR)] = WHOLE


RefusalReason = Literal["BadHour", "Future", "TooOld", "UnknownAccount", "DuplicateRow", "Negative", "Overflow", "Absurd"]


class Refused(Wire):
    """A slot that can't be true: it was left out, the rest of its report counts."""

    account: str
    hour: int
    reason: RefusalReason


class BooksMark(Wire):
    """How far the books of a cluster are: the newest epoch that counts (0: none yet) and its watermark.

    ``newest_epoch`` and ``newest_seq``: the greatest version of a slot that was ever told, whether it counts or waits for the
    last page of its rebuild. An agent that never gave out that number was put back to an earlier day.
    """

    epoch: Count = 0
    watermark: Seconds | None = None
    newest_epoch: Count = 0
    newest_seq: Count = 0


class Receipt(Wire):
    """Answer to a status or usage report: how much of it is news, is not, waits for its rebuild's last page, was refused.

    ``outdated``: how many of those that are no news are older than what is there, or contradict it. ``books``: how far they
    were before this report; None where it came before. ``forgot``: the ledger does not know the report before; no rebuild is
    completed by such a page. By these, and by slots that wait or are outdated though it rebuilds nothing, an agent knows that
    ledger and agent no longer have the same past, and rebuilds.
    """

    clock: Seconds
    accepted: int
    dropped: int = 0
    staged: int = 0
    outdated: int = 0
    forgot: bool = False
    refused: tuple[Refused, ...] = ()
    books: BooksMark | None = None

"""Every reason that a condition or a refusal may carry, each with the one sentence that the reference page prints."""

from enum import StrEnum
from typing import Self


class Reason(StrEnum):
    """One word for machines, one sentence for people."""

    sentence: str

    def __new__(cls, word: str, sentence: str) -> Self:
        """Keep the sentence beside the word."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.sentence = sentence
        return member

    # Any kind
    READY = "Ready", "Everything that this object asks for is in place."
    NOT_READY = "NotReady", "Something that this object asks for is not in place yet; the other conditions say what."
    WAITING = "Waiting", "The object is valid and waits for something else, which the message names."
    DELETING = "Deleting", "The object is being deleted and waits for the scheduler to take its limit away."
    RELEASE_OVERDUE = (
        "ReleaseOverdue",
        "The deletion takes longer than it should; the message says what it waits for and the way out.",
    )
    STATEMENT_TAKEN = "StatementTaken", "A release statement was taken as the acknowledgement that the limit is gone."
    STATEMENT_REFUSED = "StatementRefused", "A release statement does not count; the message says why and what to do."
    ERROR = "Error", "An attempt failed and is repeated; the message says at what."
    INVALID = "Invalid", "A field has a value that it cannot have; the message says what it takes."
    UNKNOWN_FIELD = "UnknownField", "The kind has no such field; check the spelling or leave it out."
    MISSING_FIELD = "MissingField", "A field that the kind requires is absent; add it."
    DUPLICATE = "Duplicate", "An entry of a list stands twice; keep one."
    RULE_BROKEN = "RuleBroken", "The fields do not fit each other; the message says how."
    IMMUTABLE = "Immutable", "The field never changes after the object is made; make another object."
    CHARGES_WOULD_MOVE = (
        "ChargesWouldMove",
        "The change would move hours that are charged already to another allocation; the message says what to do instead.",
    )
    NOT_YET_SUPPORTED = (
        "NotYetSupported",
        "The field is part of the schema, but what it asks for is not built yet; leave it out.",
    )

    # Grants
    GRANTED = "Granted", "The hours are granted and backed by a charge in every pool on the path."
    PARTLY_GRANTED = "PartlyGranted", "Fewer hours than asked for are granted; the message says why."
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        "A pool has fewer hours left than this asks for; ask for less, wait, or ask for a larger pool.",
    )
    PROJECT_SHARE_EXCEEDED = (
        "ProjectShareExceeded",
        "A pool says how much one project may hold of it, and this asks for more; ask for less, or have perProject raised.",
    )
    OVERCOMMITTED = "Overcommitted", "More hours are granted from the pool than it has; nothing is raised until that is over."
    WITHIN_LIMIT = "WithinLimit", "No more hours are granted than the pool has."
    POOL_EDITED = "PoolEdited", "The status of a pool was edited by hand; the operator has put it back."
    POOL_RECOUNTED = "PoolRecounted", "A recount of the allocations found another total than the pool had, and put it right."
    NO_POOL = "NoPool", "No leaf pool of the cluster covers the period and admits the project."
    AMBIGUOUS_POOL = "AmbiguousPool", "Several pools would fit; name one in spec.poolRef."
    POOL_NOT_FOUND = "PoolNotFound", "The pool is not there."
    POOL_NOT_ADMITTED = "PoolNotAdmitted", "The pool does not admit the project."
    PERIOD_OUTSIDE_POOL = "PeriodOutsidePool", "The period does not lie inside the period of the pool."
    RESOURCE_NOT_IN_POOL = "ResourceNotInPool", "The pool holds no hours of the resource."
    RESOURCE_NOT_OFFERED = "ResourceNotOffered", "The cluster does not have the resource."
    PARENT_NOT_FOUND = "ParentNotFound", "The parent pool is not there."
    PARENT_MISMATCH = "ParentMismatch", "The parent pool is of another cluster or its period does not cover this pool's."
    POOL_TOO_DEEP = "PoolTooDeep", "A tree of pools has at most eight levels."
    PARENT_DRAWN_ON = "ParentDrawnOn", "Allocations draw on the parent pool itself, so no pool may hang below it."
    POOL_NOT_A_LEAF = "PoolNotALeaf", "Pools hang below this one, so allocations draw on those."
    EPOCH_PENDING = "EpochPending", "The pool was not claimed by the present leader yet; grants wait for it."
    WITHDRAWN = "Withdrawn", "The hours were taken back; nothing is granted."
    RELEASING = "Releasing", "The limit was lowered; hours go back to the pool once the agent has acknowledged it."

    # Enforcement
    ENFORCED = "Enforced", "The agent read the limit back from the scheduler."
    ENFORCING = "Enforcing", "The limit is on its way to the scheduler and was not read back yet."
    NOT_ENFORCED = "NotEnforced", "The cluster is in Observe mode: limits are planned and reported, not written."
    AGENT_NEVER_ENROLLED = "AgentNeverEnrolled", "No agent was ever enrolled for the cluster; run `bursar clusters enrol`."
    AGENT_CONNECTED = "AgentConnected", "The agent calls in."
    AGENT_AWAY = "AgentAway", "The agent has not called lately; the limits that it wrote hold."
    ENFORCEABLE = "Enforceable", "The scheduler is set up so that limits hold."
    ENFORCEMENT_FAILED = "EnforcementFailed", "The scheduler refused a change; the message quotes it."
    ALLOCATIONS_ENFORCED = "AllocationsEnforced", "Every limit of the cluster was read back."
    CONVERGED = "Converged", "The scheduler shows everything that is desired."
    CONVERGING = "Converging", "Changes are on their way to the scheduler."
    DRIFT_DETECTED = "DriftDetected", "Somebody else changed a value that Bursar owns."
    NO_DRIFT = "NoDrift", "Everything that Bursar owns is as it left it."
    BRAKE_ENGAGED = (
        "BrakeEngaged",
        "The agent stopped before tightening too many accounts at once; a person has to acknowledge it.",
    )
    BRAKE_RELEASED = "BrakeReleased", "No plan waits for a person."
    OBSERVING = "Observing", "The cluster is in Observe mode by its spec."
    CLOCK_SKEW = "ClockSkew", "The agent's clock differs by more than a minute; no period is decided."

    SCHEDULER_UNAVAILABLE = "SchedulerUnavailable", "The agent can't read the scheduler or its records; it writes nothing."
    STATE_EXPIRED = "StateExpired", "The signed state is past its validity; the agent loosens nothing."
    RECORDS_UNREADABLE = "RecordsUnreadable", "Some job records can't be read and are not counted; nothing is raised by them."
    SOFT_LAND_QOS_MISSING = "SoftLandQosMissing", "SoftLand acts as Hold, for the scheduler has no QOS that is fit for it."

    # How the scheduler is set up
    SAFE_MISSING = "SafeMissing", "AccountingStorageEnforce lacks `safe`, so a job may start that its budget cannot hold."
    LIMITS_MISSING = "LimitsMissing", "AccountingStorageEnforce lacks `limits`, so the scheduler ignores limits."
    ASSOCIATIONS_MISSING = (
        "AssociationsMissing",
        "AccountingStorageEnforce lacks `associations`, so jobs without an account run.",
    )
    NO_MULTIFACTOR = "NoMultifactor", "PriorityType is not priority/multifactor, so the scheduler does not count use."
    HALF_LIFE = "HalfLife", "PriorityDecayHalfLife is not 0, so the scheduler forgets use."
    RESET_PERIOD = "ResetPeriod", "PriorityUsageResetPeriod is not NONE, so the scheduler sets use back to zero."
    OVER_TIME_LIMIT = "OverTimeLimit", "OverTimeLimit is not 0, so jobs run past the time they were checked for."
    DEFAULT_TIME_MISSING = (
        "DefaultTimeMissing",
        "A partition has no DefaultTime, so a job without a limit asks for the longest one.",
    )
    USAGE_FACTOR_SAFE = (
        "UsageFactorSafe",
        "A QOS with UsageFactor 0 lacks the flag UsageFactorSafe, so its jobs are held with the others.",
    )
    TRACKABLE_MISSING = (
        "TrackableMissing",
        "AccountingStorageTRES lacks a resource of the cluster, so the scheduler does not count it.",
    )
    FRACTIONAL_WEIGHTS = "FractionalWeights", "TRESBillingWeights has fractions, which the scheduler truncates for each job."
    BILLING_WEIGHTS = (
        "BillingWeights",
        "TRESBillingWeights of a partition is not what the cluster's billing says, so service units are counted otherwise.",
    )
    PRIVILEGE_MISSING = "PrivilegeMissing", "The agent's user lacks the scheduler's right to write limits."
    UNSUPPORTED_VERSION = "UnsupportedVersion", "The scheduler's version is none that the plug-in knows."

    # Use
    EXHAUSTED = "Exhausted", "The granted hours are used up; the scheduler starts no further job."
    NOT_EXHAUSTED = "NotExhausted", "Granted hours are left."
    OVERDRAWN = "Overdrawn", "More hours were used than are granted."
    NOT_OVERDRAWN = "NotOverdrawn", "No more hours were used than are granted."
    EXPIRED = "Expired", "The period is over."
    NOT_STARTED = "NotStarted", "The period has not begun."
    ACTIVE = "Active", "The period runs."
    USAGE_STALE = "UsageStale", "Usage is older than it should be; figures may be low."
    USAGE_CURRENT = "UsageCurrent", "Usage is up to date."
    THRESHOLD_CROSSED = "ThresholdCrossed", "Use crossed a threshold of the allocation."
    THRESHOLD_CLEARED = "ThresholdCleared", "Use fell below a threshold of the allocation; what it did is undone."
    ENFORCEMENT_CHANGED = "EnforcementChanged", "The scheduler restricts the allocation's jobs otherwise than before."
    ROLLED_OVER = "RolledOver", "The next window of the allocation has begun."
    ADJUSTED = "Adjusted", "An allocator added hours or took some."
    REFUNDED = "Refunded", "An allocator gave hours of a job back."
    TRANSFERRED = "Transferred", "An allocator moved hours between two allocations of the project."
    GATE_OPENED = "GateOpened", "A gate of the allocation's tranches was opened."

    # Projects and members
    NAMESPACE_READY = "NamespaceReady", "The project's namespace is there and belongs to it."
    NAMESPACE_TAKEN = "NamespaceTaken", "The namespace exists and belongs to something else; free it or name another one."
    ACCOUNT_TAKEN = "AccountTaken", "Another project has this account; choose another one."
    ACCOUNT_RESERVED = "AccountReserved", "The account is the root of Bursar's own subtree; choose another one."
    ACCOUNT_READY = "AccountReady", "The association is made on each cluster."
    ACCOUNT_PENDING = "AccountPending", "The association is not made on each cluster yet."
    NO_CLUSTER = "NoCluster", "The project has no allocation on any cluster, so there is no account to join yet."
    USER_MISSING = "UserMissing", "A cluster's host does not know the user; make the Unix account or correct the name."
    MEMBERSHIP_ENDED = "MembershipEnded", "The membership's time is over."
    DUPLICATE_MEMBER = "DuplicateMember", "Another membership of the project names the same user."
    LAST_OWNER = "LastOwner", "A project keeps at least one owner; make another one first."
    PROJECT_NOT_FOUND = "ProjectNotFound", "The namespace belongs to no project."
    PROJECT_HAS_USE = "ProjectHasUse", "The books hold use of the project, so it stays."
    CLUSTER_NOT_FOUND = "ClusterNotFound", "The cluster is not there; check the name."
    ACCESS_DENIED = "AccessDenied", "The cluster's access rules do not let the project in."
    REQUESTED_BY_FORGED = (
        "RequestedByForged",
        "The field requestedBy names somebody else than the one who asks; leave it out, it is stamped.",
    )


def explain(word: str) -> str | None:
    """The sentence of a reason, or None for a word that is none of ours."""
    return next((reason.sentence for reason in Reason if reason.value == word), None)

"""Cluster: a scheduler that Bursar governs, what it has, who may use it and how careful its agent is."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from bursar_crds import names
from bursar_crds.common import (
    MAX_RESOURCES,
    MAX_UNITS,
    WHOLE,
    AccountName,
    Conditions,
    Counter,
    Model,
    Percent,
    ProjectName,
    Resource,
    StatusModel,
    StopPolicy,
    WrittenResourceName,
)
from bursar_crds.instants import Instant
from bursar_crds.rules import Fixed, ListMap, ListSet, change, rule


class AccessMode(StrEnum):
    """Which projects may use a cluster."""

    OPEN = "Open"
    ALLOW_LIST = "AllowList"
    DENY_LIST = "DenyList"


class Enforcement(StrEnum):
    """Whether the agent writes to the scheduler."""

    ENFORCE = "Enforce"
    OBSERVE = "Observe"


class LimitMode(StrEnum):
    """What carries the limits at the scheduler."""

    ACCOUNT = "Account"
    QOS = "QOS"


class DriftAction(StrEnum):
    """What is done about a value that somebody else changed."""

    ENFORCE = "Enforce"
    REPORT = "Report"
    ADOPT = "Adopt"


class Scheduler(Model):
    """The scheduler behind the cluster."""

    type: Annotated[
        str,
        Field(pattern=names.PLUGIN_PATTERN, max_length=31, description="Plug-in of the agent: slurm, simulator, …"),
    ]
    name: (
        Annotated[
            str,
            Field(
                pattern=r"^[a-z][a-z0-9_-]{0,39}$",
                max_length=40,
                description="Name of the cluster at the scheduler. Default: the name of this object.",
            ),
        ]
        | None
    ) = None
    root_account: Annotated[
        AccountName,
        Field(description="Account whose subtree belongs to Bursar; nothing outside it is touched. Default: bursar."),
    ] = names.DEFAULT_ROOT_ACCOUNT


class ClusterResource(Model):
    """A resource that the cluster has."""

    name: WrittenResourceName
    capacity: Annotated[
        int,
        Field(strict=True, ge=0, le=MAX_UNITS, description="Units installed; memory in GiB. Bounds the hours of a period."),
        WHOLE,
    ]
    trackable: (
        Annotated[
            str,
            Field(
                pattern=names.TRACKABLE_PATTERN,
                max_length=127,
                description="What the scheduler calls it, such as gres/gpu. Default: the name.",
            ),
        ]
        | None
    ) = None


class Access(Model):
    """Which projects may use the cluster."""

    mode: Annotated[AccessMode, Field(description="Open to all, to listed projects only, or to all but the listed ones.")]
    projects: (
        Annotated[
            tuple[ProjectName, ...],
            Field(max_length=1000, description="Projects that the mode lets in or keeps out."),
            ListSet(),
        ]
        | None
    ) = None

    @rule(
        "(self.mode == 'Open') != has(self.projects)",
        "AllowList and DenyList need projects, Open takes none; change the mode or the list",
        at="projects",
    )
    def projects_fit_the_mode(self) -> bool:
        """Twin of the CEL rule."""
        return (self.mode == AccessMode.OPEN) != (self.projects is not None)

    def admits(self, project: str) -> bool:
        """Whether the project may use the cluster."""
        listed = project in (self.projects or ())
        return self.mode == AccessMode.OPEN or listed == (self.mode == AccessMode.ALLOW_LIST)


class Brake(Model):
    """When the agent stops before it tightens too much at once."""

    max_change_percent: Annotated[
        Percent, Field(description="Share of the accounts that one plan may tighten. Default: 10.")
    ] = 10
    minimum_changes: Annotated[
        int, Field(strict=True, ge=1, le=100_000, description="Changes that never engage the brake. Default: 3."), WHOLE
    ] = 3


class Drift(Model):
    """What is done about foreign changes, per field."""

    limits: Annotated[DriftAction, Field(description="Changed limits. Default: Enforce.")] = DriftAction.ENFORCE
    members: Annotated[DriftAction, Field(description="Changed associations of users. Default: Enforce.")] = DriftAction.ENFORCE
    qos: Annotated[DriftAction, Field(description="Changed QOS. Default: Report.")] = DriftAction.REPORT


class BillingWeight(Model):
    """What one unit costs for one hour."""

    name: WrittenResourceName
    weight: Annotated[
        int,
        Field(strict=True, ge=1, le=MAX_UNITS, description="Billing units of one unit for one hour; of memory of one GiB."),
        WHOLE,
    ]


class Billing(Model):
    """How service units are counted; whole weights, because the scheduler truncates fractions."""

    version: Annotated[int, Field(strict=True, ge=1, le=1_000_000, description="Grows with each change of the weights."), WHOLE]
    scale: Annotated[
        int,
        Fixed("what was granted and used is counted in this scale; leave it as it is"),
        Field(strict=True, ge=1, le=1_000_000, description="Billing units of one service unit. Never changes."),
        WHOLE,
    ]
    weights: Annotated[
        tuple[BillingWeight, ...],
        Field(min_length=1, max_length=MAX_RESOURCES, description="Weight per resource."),
        ListMap(),
    ]

    @rule(
        "self.weights.all(w, w.name != 'billing')",
        "billing is what the weights add up to and has none itself; leave it out",
        at="weights",
    )
    def billing_has_no_weight(self) -> bool:
        """Twin of the CEL rule."""
        return all(item.name != "billing" for item in self.weights)

    @change("self.version >= oldSelf.version", "the version of the weights only grows; write a greater one", at="version")
    def version_never_falls(self, old: "Billing") -> bool:
        """Twin of the CEL rule."""
        return self.version >= old.version

    @change(
        "self.weights == oldSelf.weights || self.version > oldSelf.version",
        "other weights need a greater version; raise it",
        at="version",
    )
    def weights_have_a_version(self, old: "Billing") -> bool:
        """Twin of the CEL rule."""
        return _by_name(self) == _by_name(old) or self.version > old.version


def _by_name(billing: Billing) -> dict[str, int]:
    """The API server compares lists that merge by name without their order, too."""
    return {item.name: item.weight for item in billing.weights}


class ClusterSpec(Model):
    """What a platform administrator says of the cluster."""

    display_name: Annotated[str, Field(max_length=128, description="Name for people.")] | None = None
    scheduler: Annotated[Scheduler, Field(description="The scheduler and the part of it that Bursar owns.")]
    resources: Annotated[
        tuple[ClusterResource, ...],
        Field(min_length=1, max_length=MAX_RESOURCES, description="What the cluster has."),
        ListMap(),
    ]
    access: Annotated[Access, Field(description="Which projects may use it. Default: Open.")] = Access(mode=AccessMode.OPEN)
    enforcement: Annotated[
        Enforcement, Field(description="Observe plans and reports, and changes nothing. Default: Enforce.")
    ] = Enforcement.ENFORCE
    brake: Annotated[Brake, Field(description="When the agent stops before it tightens too much at once.")] = Brake()
    limit_mode: Annotated[
        LimitMode,
        Field(
            description="What carries the limits: the account, or one QOS with NoDecay per allocation, "
            "which needs AdminLevel Administrator. Default: Account."
        ),
    ] = LimitMode.ACCOUNT
    drift: Annotated[Drift, Field(description="What is done about foreign changes.")] = Drift()
    billing: Annotated[Billing, Field(description="How service units are counted.")] | None = None
    stop_policy: Annotated[
        StopPolicy, Field(description="What happens to jobs on this cluster when work has to stop. Default: None.")
    ] = StopPolicy.NONE

    @rule(
        "!has(self.billing) || self.billing.weights.all(w, self.resources.exists(r, r.name == w.name))",
        "a weight is of a resource that the cluster does not have; list it in resources or leave the weight out",
        at="billing.weights",
    )
    def weights_are_of_resources(self) -> bool:
        """Twin of the CEL rule."""
        return self.billing is None or {item.name for item in self.billing.weights} <= {item.name for item in self.resources}

    @change(
        "!has(oldSelf.billing) || has(self.billing)",
        "hours of billing are counted by spec.billing; put it back",
        at="billing",
    )
    def billing_stays(self, old: "ClusterSpec") -> bool:
        """Twin of the CEL rule."""
        return old.billing is None or self.billing is not None

    @change(
        "has(oldSelf.billing)||self.?billing.scale.orValue(1)==1||oldSelf.resources.all(r,r.name!='billing')",
        "hours of billing are counted already, in billing units; add spec.billing with the scale 1",
        at="billing",
    )
    def first_scale_moves_nothing(self, old: "ClusterSpec") -> bool:
        """Twin of the CEL rule."""
        is_first = old.billing is None and self.billing is not None and self.billing.scale != 1
        return not (is_first and any(item.name == "billing" for item in old.resources))


class AgentKey(StatusModel):
    """A key that an agent of this cluster signs with."""

    key: Annotated[str, Field(min_length=1, max_length=256, description="Ed25519 public key, base64url.")]
    enrolled_at: Annotated[Instant | None, Field(description="When the key was enrolled.")] = None


class ClusterAgentStatus(StatusModel):
    """What the agent last said."""

    keys: Annotated[
        tuple[AgentKey, ...],
        Field(max_length=8, description="Keys that are trusted; remove one to revoke it."),
        ListMap(("key",)),
    ] = ()
    version: Annotated[str, Field(max_length=64, description="Version of the agent.")] | None = None
    scheduler_version: Annotated[str, Field(max_length=128, description="Version of the scheduler.")] | None = None
    capabilities: Annotated[
        tuple[Annotated[str, Field(max_length=64)], ...],
        Field(max_length=64, description="What the scheduler plug-in can do."),
        ListSet(),
    ] = ()
    desired_generation: Annotated[Counter, Field(description="Generation of the desired state that is published.")] | None = (
        None
    )
    observed_generation: (
        Annotated[Counter, Field(description="Generation that the agent has applied and read back.")] | None
    ) = None
    usage_watermark: Annotated[Instant | None, Field(description="Up to when usage is complete.")] = None
    last_seen: Annotated[Instant | None, Field(description="When the agent last called.")] = None


class ClusterStatus(StatusModel):
    """What Bursar found."""

    conditions: Conditions = ()
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that this status answers.")] | None = None
    agent: Annotated[ClusterAgentStatus, Field(description="What the agent last said.")] = ClusterAgentStatus()
    billing_version: (
        Annotated[Counter, Field(description="Version of the billing weights that are published to the agent.")] | None
    ) = None
    bursar: (
        Annotated[
            dict[str, JsonValue],
            Field(
                description="Progress of the operator's handlers.",
                json_schema_extra={"x-kubernetes-preserve-unknown-fields": True},
            ),
        ]
        | None
    ) = None


class Cluster(Resource[ClusterSpec, ClusterStatus]):
    """A scheduler that Bursar governs."""

    kind: Literal["Cluster"] = "Cluster"
    status: ClusterStatus = ClusterStatus()

    @rule(
        "self.metadata.name.matches('^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$')",
        "a Cluster's name is 1 to 40 of a-z, 0-9 and -, and begins with a letter; choose another name",
    )
    def name_reaches_the_scheduler(self) -> bool:
        """Twin of the CEL rule."""
        return names.is_cluster(self.name)

    @property
    def scheduler_name(self) -> str:
        """What the scheduler calls this cluster."""
        return self.spec.scheduler.name or self.name

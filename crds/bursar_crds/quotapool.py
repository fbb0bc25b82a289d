"""QuotaPool: hours of one cluster over one period that allocations draw on; pools may hang below a pool."""

from typing import Annotated, Literal

from pydantic import Field

from bursar_crds.common import (
    MAX_RESOURCES,
    MAX_SAFE,
    WHOLE,
    ClusterReference,
    Conditions,
    Counter,
    HoursList,
    Model,
    Period,
    PoolHours,
    PoolReference,
    ProjectName,
    Resource,
    StatusModel,
)
from bursar_crds.rules import Atomic, Fixed, ListMap, ListSet, rule

MAX_INTENTS = 256


class QuotaPoolSpec(Model):
    """What an allocator puts into the pool."""

    cluster_ref: Annotated[
        ClusterReference,
        Fixed("a pool stays with its cluster; make another pool"),
        Field(description="Cluster whose hours these are. Never changes."),
    ]
    parent_ref: Annotated[
        PoolReference | None,
        Fixed("a pool stays below its parent; make another pool"),
        Field(description="Pool that this one draws on. Never changes. Absent: a root pool."),
    ] = None
    period: Annotated[Period, Field(description="When the hours may be used.")]
    resources: Annotated[
        tuple[PoolHours, ...],
        Field(min_length=1, max_length=MAX_RESOURCES, description="Hours that the pool holds."),
        ListMap(),
    ]
    overcommit_percent: Annotated[
        int, Field(strict=True, ge=0, le=1000, description="How far grants may exceed the hours. Default: 0."), WHOLE
    ] = 0
    projects: (
        Annotated[
            tuple[ProjectName, ...],
            Field(
                min_length=1,
                max_length=1000,
                description="Projects that may draw from it. Absent: any project that may use the cluster.",
            ),
            ListSet(),
        ]
        | None
    ) = None
    per_project: Annotated[
        tuple[PoolHours, ...],
        Field(max_length=MAX_RESOURCES, description="Most hours that one project may hold from this pool."),
        ListMap(),
    ] = ()

    @rule(
        "!has(self.perProject) || self.perProject.all(p, self.resources.exists(r, r.name == p.name))",
        "a resource in perProject is not in resources; list it there or leave it out here",
        at="perProject",
    )
    def caps_are_of_resources(self) -> bool:
        """Twin of the CEL rule."""
        return {item.name for item in self.per_project} <= {item.name for item in self.resources}

    def admits(self, project: str) -> bool:
        """Whether the project may draw from this pool."""
        return self.projects is None or project in self.projects


class Intent(StatusModel):
    """An open operation: hours that are held until the allocation has answered."""

    uid: Annotated[str, Field(max_length=64, description="UID of the allocation; one intent each.")]
    namespace: Annotated[str, Field(max_length=63, description="Namespace of the allocation.")]
    name: Annotated[str, Field(max_length=253, description="Name of the allocation.")]
    id: Annotated[Counter, Field(description="Number of the operation, from the root pool's sequence.")]
    from_: Annotated[HoursList, Field(alias="from", description="Hours charged before.")] = ()
    to: Annotated[HoursList, Field(description="Hours charged after.")] = ()
    spend: Annotated[HoursList, Field(description="Hours that move to spent when it closes.")] = ()


class QuotaPoolStatus(StatusModel):
    """The grant book of the pool, written by compare-and-swap."""

    conditions: Conditions = ()
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that this status answers.")] | None = None
    granted: Annotated[HoursList, Field(description="Hours held: charges of allocations, open operations and spent.")] = ()
    granted_percent: (
        Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE, description="Fullest resource, granted of hours."), WHOLE] | None
    ) = None
    spent: Annotated[HoursList, Field(description="Hours used by allocations that are gone.")] = ()
    sequence: Annotated[Counter, Field(description="Number of the last operation opened.")] | None = None
    epoch: Annotated[Counter, Field(description="Term of the leader that wrote this; a lower one may not.")] | None = None
    intents: Annotated[tuple[Intent, ...], Field(max_length=MAX_INTENTS, description="Open operations."), Atomic()] = ()


class QuotaPool(Resource[QuotaPoolSpec, QuotaPoolStatus]):
    """Hours of one cluster over one period that allocations draw on."""

    kind: Literal["QuotaPool"] = "QuotaPool"
    status: QuotaPoolStatus = QuotaPoolStatus()

    @rule(
        "size(self.metadata.name) <= 63",
        "a QuotaPool's name has at most 63 characters; choose a shorter one",
    )
    def name_is_short(self) -> bool:
        """Twin of the CEL rule."""
        return len(self.name) <= 63

    @rule(
        "!has(self.spec.parentRef) || self.spec.parentRef.name != self.metadata.name",
        "a pool cannot be its own parent; name another pool or leave parentRef out",
        at="spec.parentRef",
    )
    def parent_is_another(self) -> bool:
        """Twin of the CEL rule."""
        return self.spec.parent_ref is None or self.spec.parent_ref.name != self.name

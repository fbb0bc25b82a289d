"""The kinds of the API: names, scope, printer columns and model of each."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from bursar_crds import names
from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Resource
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool

CATEGORIES: Final = ("bursar",)


@dataclass(frozen=True, slots=True)
class Column:
    """A column that `kubectl get` prints."""

    name: str
    path: str
    type: Literal["string", "integer", "date"] = "string"
    description: str = ""


@dataclass(frozen=True, slots=True)
class KindInfo:
    """What the API server and its clients call a kind, and the model that reads it."""

    kind: str
    plural: str
    singular: str
    short_names: tuple[str, ...]
    namespaced: bool
    columns: tuple[Column, ...]
    model: type[Resource[Any, Any]]
    categories: tuple[str, ...] = CATEGORIES

    @property
    def scope(self) -> Literal["Namespaced", "Cluster"]:
        """`spec.scope` of the definition."""
        return "Namespaced" if self.namespaced else "Cluster"

    @property
    def crd_name(self) -> str:
        """Name of the definition."""
        return f"{self.plural}.{names.GROUP}"


def _condition(name: str, condition: str) -> Column:
    path = f'.status.conditions[?(@.type=="{condition}")].status'
    return Column(name, path, description=f"Condition {condition}.")


READY = _condition("Ready", "Ready")
AGE = Column("Age", ".metadata.creationTimestamp", "date", "Time since the object was made.")

_KINDS = (
    KindInfo(
        kind="Cluster",
        plural="clusters",
        singular="cluster",
        short_names=("cl",),
        namespaced=False,
        columns=(
            Column("Scheduler", ".spec.scheduler.type", description="Plug-in of the agent."),
            _condition("Agent", "AgentConnected"),
            READY,
            AGE,
        ),
        model=Cluster,
    ),
    KindInfo(
        kind="Project",
        plural="projects",
        singular="project",
        short_names=("proj",),
        namespaced=False,
        columns=(
            Column("Account", ".status.account", description="Account at every scheduler."),
            Column("Members", ".status.memberCount", "integer", "Memberships that count today."),
            READY,
            AGE,
        ),
        model=Project,
    ),
    KindInfo(
        kind="Membership",
        plural="memberships",
        singular="membership",
        short_names=("memb",),
        namespaced=True,
        columns=(
            Column("User", ".spec.user", description="Name that the scheduler knows."),
            Column("Role", ".spec.role", description="What the member may do."),
            READY,
            Column("Until", ".spec.until", description="When the membership ends."),
        ),
        model=Membership,
    ),
    KindInfo(
        kind="QuotaPool",
        plural="quotapools",
        singular="quotapool",
        short_names=("pool",),
        namespaced=False,
        columns=(
            Column("Cluster", ".spec.clusterRef.name", description="Cluster whose hours these are."),
            Column("Parent", ".spec.parentRef.name", description="Pool that this one draws on."),
            Column("Granted%", ".status.grantedPercent", "integer", "Fullest resource, granted of hours."),
            READY,
            AGE,
        ),
        model=QuotaPool,
    ),
    KindInfo(
        kind="Allocation",
        plural="allocations",
        singular="allocation",
        short_names=("alloc",),
        namespaced=True,
        columns=(
            Column("Cluster", ".spec.clusterRef.name", description="Cluster whose hours these are."),
            Column("Resource", ".spec.resources[0].name", description="First resource."),
            Column("Hours", ".spec.resources[0].hours", "integer", "Hours of the first resource."),
            Column("Used%", ".status.usedPercent", "integer", "Most used resource, used of granted."),
            READY,
            Column("End", ".spec.period.end", description="First moment after the period."),
        ),
        model=Allocation,
    ),
)

KINDS: Final[Mapping[str, KindInfo]] = MappingProxyType({info.kind: info for info in _KINDS})


def model_of(kind: str) -> type[Resource[Any, Any]]:
    """The model of a kind; KeyError for a kind that is not ours."""
    return KINDS[kind].model

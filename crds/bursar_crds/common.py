"""What every kind is made of: base models, hours and counts per resource, references, periods, conditions, metadata."""

import re
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, Generic, Literal, Self, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    JsonValue,
    ValidationInfo,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bursar_crds import names
from bursar_crds.instants import Instant, QuarterHour
from bursar_crds.rules import VALIDATIONS, FieldRule, Fixed, ListMap, Rule, Transition, broken, is_stored, rule

# 90,000 allocations of this size still add up to less than 2^53, the largest sum every JSON reader keeps exactly.
MAX_HOURS: Final = 100_000_000_000
MAX_SAFE: Final = 2**53 - 1
MAX_RESOURCES: Final = 64
MAX_UNITS: Final = 1_000_000_000

STORED: Final[Mapping[str, bool]] = {"stored": True}


class Model(BaseModel):
    """Base of every model: frozen, camelCase outside, unknown fields refused, rules checked with the schema."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        populate_by_name=True,
        from_attributes=True,
        ignored_types=(Rule, Transition),
    )

    _rules: ClassVar[tuple[Rule[Any], ...]] = ()
    _transitions: ClassVar[tuple[Transition[Any], ...]] = ()

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        """Collect the rules declared in the class, in the order they stand there."""
        cls._rules = (*cls._rules, *(item for item in vars(cls).values() if isinstance(item, Rule)))
        fixed = (
            item
            for attribute, field in cls.model_fields.items()
            for mark in field.metadata
            if isinstance(mark, Fixed)
            for item in mark.transitions(attribute, field.alias or attribute, optional=not field.is_required())
        )
        cls._transitions = (*fixed, *(item for item in vars(cls).values() if isinstance(item, Transition)))

    @classmethod
    def rules(cls) -> tuple[Rule[Any], ...]:
        """The rules over one state of this object."""
        return cls._rules

    @classmethod
    def transitions(cls) -> tuple[Transition[Any], ...]:
        """The rules over a change of this object."""
        return cls._transitions

    @model_validator(mode="after")
    def _keep_rules(self, info: ValidationInfo) -> Self:
        if self._rules and not is_stored(info.context):
            failures = [item for item in self._rules if not item.holds(self)]
            if failures:
                raise broken(failures)
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the CEL side of the rules to the schema."""
        described = handler.resolve_ref_schema(handler(schema))
        entries = [item.schema() for item in cls._rules] + [item.schema() for item in cls._transitions if not item.inner]
        if entries:
            described[VALIDATIONS] = entries
        return described


class StatusModel(Model):
    """Base of what Bursar reports: a field that this version does not know is passed over."""

    model_config = ConfigDict(extra="ignore")


def in_words(pattern: str) -> FieldRule[str]:
    """The pattern again, as a rule: the API server's own message for a pattern does not say what to write instead."""
    compiled = re.compile(pattern)
    return FieldRule(f"self.matches('{pattern}')", names.HELP[pattern], lambda name: compiled.fullmatch(name) is not None)


def _whole(value: object) -> object:
    """The API server takes 5.0 for 5, and so do the models."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE: Final = BeforeValidator(_whole)
ResourceName = Annotated[
    str,
    Field(
        pattern=names.RESOURCE_NAME_PATTERN,
        max_length=63,
        description="Resource as the Cluster names it, such as cpu, gpu, memory or billing.",
    ),
]
# Status lists go without the rule: it would cost on each write of a pool, and no person writes there.
WrittenResourceName = Annotated[ResourceName, in_words(names.RESOURCE_NAME_PATTERN)]
ProjectName = Annotated[str, Field(pattern=names.PROJECT_PATTERN, max_length=55), in_words(names.PROJECT_PATTERN)]
UserName = Annotated[str, Field(pattern=names.USER_PATTERN, max_length=31), in_words(names.USER_PATTERN)]
AccountName = Annotated[str, Field(pattern=names.ACCOUNT_PATTERN, max_length=32), in_words(names.ACCOUNT_PATTERN)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100), WHOLE]
Counter = Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE), WHOLE]


class ResourceHours(Model):
    """Hours of one resource. Memory counts GiB hours, billing counts service units."""

    name: ResourceName
    hours: Annotated[int, Field(strict=True, ge=0, le=MAX_SAFE, description="Whole hours of one unit."), WHOLE]


class PoolHours(ResourceHours):
    """Hours that a pool may hold."""

    name: WrittenResourceName
    hours: Annotated[int, Field(strict=True, ge=0, le=MAX_HOURS, description="Whole hours of one unit."), WHOLE]


class AllocationHours(ResourceHours):
    """Hours that an allocation asks for; a resource that is listed gets at least one."""

    name: WrittenResourceName
    hours: Annotated[int, Field(strict=True, ge=1, le=MAX_HOURS, description="Whole hours of one unit, at least 1."), WHOLE]


class BalanceHours(ResourceHours):
    """Hours that may be below zero, as a balance is when more was used than granted."""

    hours: Annotated[int, Field(strict=True, ge=-MAX_SAFE, le=MAX_SAFE, description="Whole hours of one unit."), WHOLE]


class ResourceCount(Model):
    """Units of one resource at one time."""

    name: WrittenResourceName
    count: Annotated[int, Field(strict=True, ge=0, le=MAX_UNITS, description="Units in use at one time."), WHOLE]


HoursList = Annotated[tuple[ResourceHours, ...], Field(max_length=MAX_RESOURCES), ListMap()]
BalanceList = Annotated[tuple[BalanceHours, ...], Field(max_length=MAX_RESOURCES), ListMap()]


def hours_by_name(items: Iterable[ResourceHours]) -> dict[str, int]:
    """The list as a mapping, for arithmetic."""
    return {item.name: item.hours for item in items}


def hours_list(hours: Mapping[str, int]) -> tuple[ResourceHours, ...]:
    """The mapping as a list in the order of its names."""
    return tuple(ResourceHours(name=name, hours=hours[name]) for name in sorted(hours))


class ClusterReference(Model):
    """A Cluster, by name."""

    name: Annotated[
        str,
        Field(pattern=names.CLUSTER_PATTERN, max_length=40, description="Name of the Cluster."),
        in_words(names.CLUSTER_PATTERN),
    ]


class PoolReference(Model):
    """A QuotaPool, by name."""

    name: Annotated[
        str,
        Field(pattern=names.OBJECT_NAME_PATTERN, max_length=63, description="Name of the QuotaPool."),
        in_words(names.OBJECT_NAME_PATTERN),
    ]


class Period(Model):
    """A half-open span of time: from `start`, up to but without `end`."""

    start: Annotated[QuarterHour, Field(description="First moment of the period; on a quarter hour.")]
    end: Annotated[QuarterHour, Field(description="First moment after the period; on a quarter hour.")]

    @rule("self.start < self.end", "the end must come after the start; swap them or move the end", at="end")
    def start_before_end(self) -> bool:
        """Twin of the CEL rule."""
        return self.start < self.end


class StopPolicy(StrEnum):
    """What happens to queued and running jobs when work has to stop."""

    NONE = "None"
    HOLD = "Hold"
    HOLD_AND_DRAIN = "HoldAndDrain"


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(StatusModel):
    """One observed fact, as `metav1.Condition`."""

    # Written whole and owned whole: to keep the owner of each field costs the API server twice as much.
    model_config = ConfigDict(json_schema_extra={"x-kubernetes-map-type": "atomic"})

    type: Annotated[
        str, Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z]*$", description="What the condition is about.")
    ]
    status: Annotated[ConditionStatus, Field(description="Whether it holds.")]
    reason: Annotated[
        str,
        Field(min_length=1, max_length=64, pattern=r"^[A-Z][A-Za-z]*$", description="Why, as one word from the reasons page."),
    ]
    message: Annotated[str, Field(max_length=4096, description="What to do next, for people.")] = ""
    last_transition_time: Annotated[Instant, Field(description="When the status last changed.")]
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that was judged.")] | None = None


Conditions = Annotated[
    tuple[Condition, ...],
    Field(max_length=16, description="What holds of this object now; Ready sums it up."),
    ListMap(("type",)),
]


class OwnerReference(StatusModel):
    """The object that this one goes away with."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(StatusModel):
    """The part of Kubernetes' object metadata that Bursar reads."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Instant | None = None
    deletion_timestamp: Instant | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    owner_references: tuple[OwnerReference, ...] = ()

    @property
    def deleting(self) -> bool:
        """Whether the object only waits for its finalizers."""
        return self.deletion_timestamp is not None


SpecT = TypeVar("SpecT", bound=Model)
StatusT = TypeVar("StatusT", bound=StatusModel)


class Resource(Model, Generic[SpecT, StatusT]):
    """One object of the API: metadata, what is wanted, what is."""

    api_version: Literal["bursar.dev/v1alpha1"] = names.API_VERSION
    kind: str
    metadata: ObjectMeta
    spec: SpecT
    status: StatusT

    @classmethod
    def parse(cls, document: Mapping[str, object]) -> Self:
        """Read what a person wrote; pydantic's ValidationError lists every field that is wrong, unknown ones too."""
        return cls.model_validate(document)

    @classmethod
    def parse_stored(cls, document: Mapping[str, object]) -> Self:
        """Read what the API server holds: fields of a newer version are passed over, rules are not checked again."""
        return cls.model_validate(document, extra="ignore", context=STORED)

    def dump(self) -> dict[str, JsonValue]:
        """The object as JSON, with the fields that were set and no nulls."""
        body: dict[str, JsonValue] = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        return {"apiVersion": self.api_version, "kind": self.kind, **body}

    @property
    def name(self) -> str:
        """`metadata.name`."""
        return self.metadata.name

    @property
    def namespace(self) -> str | None:
        """`metadata.namespace`; none for kinds of the whole cluster."""
        return self.metadata.namespace

"""Project: people who share allocations; it owns a namespace and an account at each scheduler."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from bursar_crds import names
from bursar_crds.common import AccountName, Conditions, Counter, Model, Resource, StatusModel, StopPolicy, UserName
from bursar_crds.rules import FieldRule, Fixed, rule


def _is_free_account(account: str) -> bool:
    return account not in names.RESERVED_ACCOUNTS


def _is_free_namespace(namespace: str) -> bool:
    reserved = namespace.startswith(names.RESERVED_NAMESPACE_PREFIX) or namespace in names.RESERVED_NAMESPACES
    return not reserved


class ProjectSpec(Model):
    """What a platform administrator says of the project."""

    display_name: Annotated[str, Field(max_length=128, description="Name for people.")] | None = None
    account: Annotated[
        Annotated[
            AccountName,
            FieldRule("self != 'root'", "root is the scheduler's own account; choose another name", _is_free_account),
        ]
        | None,
        Fixed("the account carries the project's use and never changes; make another Project"),
        Field(description="Account at every scheduler. Never changes. Default: the name of this object."),
    ] = None
    owner: Annotated[UserName, Field(description="User who owns the project; the operator makes the first Membership.")]
    namespace: Annotated[
        Annotated[
            str,
            Field(pattern=names.LABEL_PATTERN, max_length=63),
            FieldRule(
                "!self.startsWith('kube-') && !(self in ['default', 'bursar-system'])",
                "the namespace belongs to the system; choose another one or leave the field out",
                _is_free_namespace,
            ),
        ]
        | None,
        Fixed("the namespace holds the project's objects and never changes; make another Project"),
        Field(description="Namespace of the project. Never changes. Default: project- and the name of this object."),
    ] = None
    field_of_science: Annotated[str, Field(max_length=128, description="Field of science, for reports.")] | None = None
    organisation: Annotated[str, Field(max_length=256, description="Organisation, for reports.")] | None = None
    description: Annotated[str, Field(max_length=4096, description="What the project is about.")] | None = None
    stop_policy: Annotated[
        StopPolicy, Field(description="What happens to the project's jobs when work has to stop. Default: None.")
    ] = StopPolicy.NONE


class ProjectStatus(StatusModel):
    """What Bursar found."""

    conditions: Conditions = ()
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that this status answers.")] | None = None
    namespace: Annotated[str, Field(max_length=63, description="Namespace of the project.")] | None = None
    account: Annotated[str, Field(max_length=32, description="Account at every scheduler.")] | None = None
    member_count: Annotated[Counter, Field(description="Memberships that count today.")] | None = None
    has_use: Annotated[bool, Field(strict=True, description="Whether the books hold use of this account.")] | None = None
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


class Project(Resource[ProjectSpec, ProjectStatus]):
    """People who share allocations."""

    kind: Literal["Project"] = "Project"
    status: ProjectStatus = ProjectStatus()

    @rule(
        "self.metadata.name.matches('^[a-z0-9]([a-z0-9-]{0,53}[a-z0-9])?$')",
        "a Project's name is 1 to 55 of a-z, 0-9 and -, without - at the ends; choose another name",
    )
    def name_makes_a_namespace(self) -> bool:
        """Twin of the CEL rule."""
        return names.PROJECT.fullmatch(self.name) is not None

    @rule(
        "has(self.spec.account) || self.metadata.name.matches('^[a-z][a-z0-9-]{0,30}[a-z0-9]$')",
        "the name is no account that a scheduler keeps as it stands; set spec.account: 2 to 32 of a-z, 0-9 and -",
        at="spec.account",
    )
    def name_makes_an_account(self) -> bool:
        """Twin of the CEL rule."""
        return self.spec.account is not None or names.ACCOUNT.fullmatch(self.name) is not None

    @rule(
        "has(self.spec.account) || self.metadata.name != 'root'",
        "root is the scheduler's own account; set spec.account to another name",
        at="spec.account",
    )
    def name_is_not_root(self) -> bool:
        """Twin of the CEL rule."""
        return self.spec.account is not None or _is_free_account(self.name)

    @property
    def account(self) -> str:
        """The account at every scheduler."""
        return self.spec.account or self.name

    @property
    def project_namespace(self) -> str:
        """The namespace that holds the project's objects."""
        return self.spec.namespace or names.project_namespace(self.name)

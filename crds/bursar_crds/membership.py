"""Membership: one person in one project, kept in the project's namespace."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bursar_crds.common import Conditions, Counter, Model, Resource, StatusModel, UserName
from bursar_crds.instants import Instant
from bursar_crds.rules import Fixed


class Role(StrEnum):
    """What a member may do in the project."""

    OWNER = "Owner"
    MANAGER = "Manager"
    MEMBER = "Member"
    VIEWER = "Viewer"


class MembershipSpec(Model):
    """Who belongs to the project, as what and until when."""

    user: Annotated[
        UserName,
        Fixed("a Membership is of one person; delete it and make another"),
        Field(description="Name that the scheduler knows (the Unix name). Never changes."),
    ]
    role: Annotated[Role, Field(description="Owners and managers run the project, members compute, viewers read.")]
    until: Annotated[Instant | None, Field(description="When the membership ends. Absent: it does not.")] = None


class MembershipStatus(StatusModel):
    """What Bursar found."""

    conditions: Conditions = ()
    observed_generation: Annotated[Counter, Field(description="Generation of the spec that this status answers.")] | None = None


class Membership(Resource[MembershipSpec, MembershipStatus]):
    """One person in one project."""

    kind: Literal["Membership"] = "Membership"
    status: MembershipStatus = MembershipStatus()

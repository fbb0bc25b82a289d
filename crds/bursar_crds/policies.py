"""Parts of an allocation that say how its hours may be used: windows, thresholds, grace, tranches."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from bursar_crds import names
from bursar_crds.common import MAX_HOURS, WHOLE, Model, Percent
from bursar_crds.instants import QuarterHour
from bursar_crds.rules import rule

GateName = Annotated[str, Field(pattern=names.GATE_PATTERN, max_length=63)]


class Cadence(StrEnum):
    """How often a window begins."""

    MONTH = "Month"
    QUARTER = "Quarter"
    HALF_YEAR = "HalfYear"
    YEAR = "Year"


class Recurrence(Model):
    """Windows over which the hours are shared out by seconds."""

    every: Annotated[Cadence, Field(description="Length of a window.")]
    time_zone: (
        Annotated[
            str, Field(pattern=names.TIME_ZONE_PATTERN, max_length=64, description="Zone of the boundaries. Default: UTC.")
        ]
        | None
    ) = None


class CarryOver(Model):
    """What of a window's unused hours the next one gets."""

    percent: Annotated[Percent, Field(description="Share of the unused hours.")]
    maximum_hours: (
        Annotated[int, Field(strict=True, ge=0, le=MAX_HOURS, description="Most hours per boundary. Absent: no cap."), WHOLE]
        | None
    ) = None


class Basis(StrEnum):
    """What a threshold looks at."""

    USED = "Used"
    COMMITTED = "Committed"
    PROJECTED = "Projected"


class Action(StrEnum):
    """What a threshold does."""

    NOTIFY = "Notify"
    THROTTLE = "Throttle"
    SOFT_LAND = "SoftLand"
    HOLD = "Hold"
    BLOCK = "Block"


class Threshold(Model):
    """A point at which something happens."""

    percent: Annotated[int, Field(strict=True, ge=1, le=1000, description="Share of the granted hours."), WHOLE]
    basis: Annotated[Basis, Field(description="Booked use, booked and committed use, or the projection.")]
    action: Annotated[Action, Field(description="What happens from there on; the strongest one in force counts.")]
    clear_below_percent: (
        Annotated[int, Field(strict=True, ge=0, le=1000, description="Where it ends again. Default: percent."), WHOLE] | None
    ) = None

    @rule(
        "!has(self.clearBelowPercent) || self.clearBelowPercent < self.percent",
        "clearBelowPercent must be lower than percent; lower it or leave it out",
        at="clearBelowPercent",
    )
    def clears_below(self) -> bool:
        """Twin of the CEL rule."""
        return self.clear_below_percent is None or self.clear_below_percent < self.percent

    @rule(
        "self.basis != 'Projected' || self.action in ['Notify', 'Throttle']",
        "a projection may only Notify or Throttle; choose one of them or another basis",
        at="action",
    )
    def projection_is_gentle(self) -> bool:
        """Twin of the CEL rule."""
        return self.basis != Basis.PROJECTED or self.action in (Action.NOTIFY, Action.THROTTLE)


class Grace(Model):
    """What is tolerated beyond the grant."""

    overuse_percent: Annotated[Percent, Field(description="Use beyond the grant. Default: 0.")] = 0
    after_end_days: Annotated[int, Field(strict=True, ge=0, le=366, description="Days after the end. Default: 0."), WHOLE] = 0


class Debt(StrEnum):
    """What becomes of over-use at the end of a window."""

    ABSORB = "Absorb"
    CARRY_DEBT = "CarryDebt"


class Tranche(Model):
    """A share of the hours that opens at a time or when a gate does."""

    from_: Annotated[QuarterHour | None, Field(alias="from", description="When the share opens.")] = None
    gate: Annotated[GateName, Field(description="Gate that opens the share.")] | None = None
    percent: Annotated[int, Field(strict=True, ge=1, le=100, description="Share of the hours."), WHOLE]

    @rule("has(self.from) != has(self.gate)", "give exactly one of from and gate")
    def opens_once(self) -> bool:
        """Twin of the CEL rule."""
        return (self.from_ is None) != (self.gate is None)


class Requester(Model):
    """Who asked, stamped on create."""

    user: Annotated[str, Field(min_length=1, max_length=512, description="User name at the API server.")]
    uid: Annotated[str, Field(max_length=512, description="UID of the user at the API server.")] | None = None

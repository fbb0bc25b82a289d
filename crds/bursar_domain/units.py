"""Units: whole hours at the edge, unit-seconds inside, TRES-minutes at the scheduler.

A *unit* is what `sacct` counts: one CPU, one GPU, one MiB of memory, one billing unit. People write memory in GiB hours and
billing in service units, of which the cluster's `spec.billing.scale` says how many billing units make one (`Scales`).
Hours that are left are rounded down, hours that are used are rounded up, so that no rounding ever gives hours away.
"""

from collections.abc import Mapping
from dataclasses import dataclass

HOUR = 3600
DAY = 24 * HOUR
MINUTE = 60
QUARTER = 900
MEMORY = "memory"
BILLING = "billing"
MIB_PER_GIB = 1024
# Most unit-seconds of one grant or entry: as minutes beside a scheduler's counter they stay below 2^53, and many add up in
# 64 bits.
MOST_SECONDS = 2**58

# What a resource is called at the scheduler where the Cluster does not say it (`resources[].trackable`).
DEFAULT_TRACKABLE: Mapping[str, str] = {
    "cpu": "cpu",
    "gpu": "gres/gpu",
    MEMORY: "mem",
    "node": "node",
    BILLING: "billing",
}
# Never closed when no allocation lists them; every other resource is (accounting.md, last lines of "Ceiling").
OPEN_UNLESS_LISTED = frozenset({"cpu", MEMORY, BILLING, "node"})


@dataclass(frozen=True, slots=True)
class Scales:
    """Units behind one unit that people write, as one cluster has them: every turn of hours into unit-seconds and back.

    ``billing``: billing units of one service unit (`spec.billing.scale`); 1 where the cluster says nothing.
    """

    billing: int = 1

    def units(self, resource: str) -> int:
        """MiB of a GiB of memory, billing units of a service unit, 1 of anything else."""
        if resource == MEMORY:
            return MIB_PER_GIB
        return self.billing if resource == BILLING else 1

    def seconds_per_hour(self, resource: str) -> int:
        """Unit-seconds of one hour as people write it."""
        return HOUR * self.units(resource)

    def seconds_from_hours(self, resource: str, hours: int) -> int:
        """Hours people write -> unit-seconds."""
        return hours * self.seconds_per_hour(resource)

    def most_hours(self, resource: str) -> int:
        """Hours of one grant or entry that the books can hold."""
        return self.hours_left(resource, MOST_SECONDS)

    def hours_left(self, resource: str, seconds: int) -> int:
        """Unit-seconds that remain -> whole hours, rounded down."""
        return seconds // self.seconds_per_hour(resource)

    def hours_used(self, resource: str, seconds: int) -> int:
        """Unit-seconds that were used -> whole hours, rounded up."""
        return -(-seconds // self.seconds_per_hour(resource))


UNSCALED = Scales()
"""A cluster that says nothing of billing."""


def trackable(resource: str) -> str:
    """The scheduler's TRES name for a resource that the Cluster gives no `trackable` for."""
    return DEFAULT_TRACKABLE.get(resource, f"gres/{resource}")


def with_percent(amount: int, percent: int) -> int:
    """`amount` and `percent` more of it, floored, in integers: 100 and 15 are 115, where floats say 114."""
    return amount * (100 + percent) // 100

"""Units: whole hours at the edge, unit-seconds inside, TRES-minutes at the scheduler.

A *unit* is what `sacct` counts: one CPU, one GPU, one MiB of memory, one billing unit. People write memory in GiB hours.
Hours that are left are rounded down, hours that are used are rounded up, so that no rounding ever gives hours away.
"""

from collections.abc import Mapping

HOUR = 3600
DAY = 24 * HOUR
MINUTE = 60
QUARTER = 900
MEMORY = "memory"
MIB_PER_GIB = 1024

# What a resource is called at the scheduler where the Cluster does not say it (`resources[].trackable`).
DEFAULT_TRACKABLE: Mapping[str, str] = {
    "cpu": "cpu",
    "gpu": "gres/gpu",
    MEMORY: "mem",
    "node": "node",
    "billing": "billing",
}
# Never closed when no allocation lists them; every other resource is (accounting.md, last lines of "Ceiling").
OPEN_UNLESS_LISTED = frozenset({"cpu", MEMORY, "billing", "node"})


def scale(resource: str) -> int:
    """Units behind one unit people write: 1024 (MiB) for a GiB of memory, otherwise 1."""
    return MIB_PER_GIB if resource == MEMORY else 1


def seconds_from_hours(resource: str, hours: int) -> int:
    """Hours people write -> unit-seconds."""
    return hours * HOUR * scale(resource)


def hours_left(resource: str, seconds: int) -> int:
    """Unit-seconds that remain -> whole hours, rounded down."""
    return seconds // (HOUR * scale(resource))


def hours_used(resource: str, seconds: int) -> int:
    """Unit-seconds that were used -> whole hours, rounded up."""
    return -(-seconds // (HOUR * scale(resource)))


def trackable(resource: str) -> str:
    """The scheduler's TRES name for a resource that the Cluster gives no `trackable` for."""
    return DEFAULT_TRACKABLE.get(resource, f"gres/{resource}")


def with_percent(amount: int, percent: int) -> int:
    """`amount` and `percent` more of it, floored, in integers: 100 and 15 are 115, where floats say 114."""
    return amount * (100 + percent) // 100

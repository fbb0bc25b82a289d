"""One project out of ten thousand: what the gateway reads for a balance and for a statement, timed and checked."""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bursar_api import printed, statement
from bursar_api.periods import Span
from bursar_domain.fold import cuts, fold
from bursar_domain.keys import Signer
from bursar_domain.units import HOUR
from bursar_domain.wire import ClusterSettings, TrackedResource
from bursar_ledger import Ledger
from bursar_ledger.partitions import ensure
from bursar_testing.ledgerload import BASE, RESOURCES, USERS, Group
from bursar_testing.wires import allocation, entry, settings

PROJECTS, MEASURED, OTHERS_HOURS = 10_000, 200, 20
SUM = (
    "SELECT SUM(allocated_0 + allocated_1 + allocated_2 + allocated_3) FROM usage_buckets"
    " WHERE cluster = 'big' AND account = {mark} AND resource = 'cpu'"
)
Plain = Callable[[str], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Size:
    """``busy`` projects have use in ``hours``, the others in a few."""

    busy: int
    hours: int

    @classmethod
    def of(cls, buckets: int) -> "Size":
        """About so many buckets among the busy ones."""
        per_hour = USERS * len(RESOURCES)
        busy = min(1_000, max(1, buckets // (per_hour * 20)))
        return cls(busy, max(1, buckets // (busy * per_hour)))

    @property
    def groups(self) -> list[Group]:
        """What is to be filled in."""
        names = [f"project{number:05}" for number in range(PROJECTS)]
        return [(names[: self.busy], self.hours), (names[self.busy :], OTHERS_HOURS)]

    @property
    def stored(self) -> int:
        """Buckets in all."""
        return sum(len(names) * hours for names, hours in self.groups) * USERS * len(RESOURCES)


@dataclass(slots=True)
class Seconds:
    """Of each project that was looked at."""

    balance: list[float] = field(default_factory=list)
    spans: list[float] = field(default_factory=list)
    statement: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)


async def publish(ledger: Ledger, size: Size) -> None:
    """A grant for every project, and the months that the use lies in."""
    tracked = tuple(TrackedResource(name=name, trackable=name, capacity=10**7) for name in RESOURCES)
    both: ClusterSettings = settings("big").model_copy(update={"resources": tracked})
    hours = {"cpu": 10**6, "memory": 10**6}
    grants = [entry(name, allocation(f"uid-{name}", hours=hours)) for names, _ in size.groups for name in names]
    await ledger.publish(both, grants, epoch=1, acknowledged=0, now=0, valid_seconds=86_400, sign=Signer.generate().sign)
    async with ledger._database.write() as tx:
        await ensure(tx, range(BASE, BASE + size.hours * HOUR, HOUR))


async def look(ledger: Ledger, size: Size, plain: Plain) -> Seconds:
    """Balance, use alone, statement, and the driver's sum over the same buckets, project by project."""
    found = Seconds()
    names: Sequence[str] = size.groups[0][0]
    for name in names[:: max(1, len(names) // MEASURED)]:
        begun = time.perf_counter()
        reading = await ledger.account_reading("big", name)
        booked = fold(reading.terms, reading.use, reading.corrections).booked(f"uid-{name}")["cpu"]
        found.balance.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        use = await ledger.spans("big", name, cuts(reading.terms))
        found.spans.append(time.perf_counter() - begun)
        found.statement.append(await _statement(ledger, name))
        begun = time.perf_counter()
        summed = await plain(name)
        found.plain.append(time.perf_counter() - begun)
        if not booked == summed == sum(amount for _, amount in use["cpu"]):
            raise SystemExit(f"{name}: {booked} booked, {summed} stored")
    return found


async def _statement(ledger: Ledger, name: str) -> float:
    """Seconds for what the gateway does for one project's statement of its first month, lines by user."""
    span = Span(BASE, BASE + 31 * 24 * HOUR)
    begun = time.perf_counter()
    [reading] = await ledger.statement_readings(["big"], name, *span, "user")
    used = printed.totals(printed.used(reading, span, "user"))
    lines = statement.lines(reading.account, reading.made, statement.Period(BASE, BASE + 31 * 24 * HOUR))
    totals = statement.totals(lines)
    seconds = time.perf_counter() - begun
    if totals["cpu"].booked != used["cpu"].charged:
        raise SystemExit(f"{name}: the statement does not add up")
    return seconds

"""Pools and allocations as one version of their stored JSON has them."""

from collections.abc import Mapping
from dataclasses import dataclass

from bursar_testing.checker.amounts import Amounts, Json, greater, less, parse


@dataclass(frozen=True, slots=True)
class Intent:
    """An operation that a pool holds hours for."""

    uid: str
    namespace: str
    number: int
    before: Amounts
    after: Amounts
    spend: Amounts

    @property
    def hold(self) -> dict[str, int]:
        """What the pool counts for it while it is open."""
        return greater(self.before, self.after)

    @property
    def more(self) -> dict[str, int]:
        """What opening it adds."""
        return less(self.hold, self.before)


@dataclass(frozen=True, slots=True)
class Pool:
    """One version of a QuotaPool. `granted` is None before it was counted."""

    name: str
    uid: str
    parent: str | None
    limit: Amounts
    caps: Amounts
    granted: Amounts | None
    spent: Amounts
    sequence: int
    epoch: int
    intents: Mapping[str, Intent]
    intent_count: int

    @property
    def left(self) -> dict[str, int]:
        """Hours up to the limit; below zero where it is overcommitted."""
        return less(self.limit, self.granted or {})


@dataclass(frozen=True, slots=True)
class Allocation:
    """One version of an Allocation."""

    name: str
    namespace: str
    uid: str
    cluster: str
    generation: int
    deleting: bool
    pool_ref: str | None
    asked: Amounts
    granted: Amounts
    charged: Amounts
    pool: str | None
    revision: int
    sequence: int
    charge_sequence: int
    observed: int
    verdict: str
    """Reason of condition Granted where it is False, else nothing."""
    marked: bool
    """Whether it carries the mark that clients put on dry runs alone."""

    @property
    def leaf(self) -> str | None:
        """The pool that it draws on."""
        return self.pool_ref or self.pool

    @property
    def wanted(self) -> dict[str, int]:
        """What it asks for beyond what is charged."""
        return {name: hours for name, hours in less(self.asked, self.charged).items() if hours > 0}


DRY_RUN_MARK = "faults.bursar.dev/dry-run"


def pool_of(found: Json) -> Pool:
    """Parse a stored QuotaPool."""
    spec, status = found["spec"], found.get("status") or {}
    percent = int(spec.get("overcommitPercent") or 0)
    limit = {str(item["name"]): int(item["hours"]) * (100 + percent) // 100 for item in spec["resources"]}
    intents = [_intent(item) for item in status.get("intents") or ()]
    return Pool(
        name=found["metadata"]["name"],
        uid=found["metadata"]["uid"],
        parent=(spec.get("parentRef") or {}).get("name"),
        limit=limit,
        caps={str(item["name"]): int(item["hours"]) for item in spec.get("perProject") or ()},
        granted=parse(status["granted"]) if "granted" in status else None,
        spent=parse(status.get("spent")),
        sequence=int(status.get("sequence") or 0),
        epoch=int(status.get("epoch") or 0),
        intents={intent.uid: intent for intent in intents},
        intent_count=len(intents),
    )


def _intent(item: Json) -> Intent:
    before, after = parse(item.get("from")), parse(item.get("to"))
    return Intent(item["uid"], item["namespace"], int(item["id"]), before, after, parse(item.get("spend")))


def allocation_of(found: Json) -> Allocation:
    """Parse a stored Allocation."""
    metadata, spec, status = found["metadata"], found["spec"], found.get("status") or {}
    marks = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
    return Allocation(
        name=metadata["name"],
        namespace=metadata["namespace"],
        uid=metadata["uid"],
        cluster=spec["clusterRef"]["name"],
        generation=int(metadata.get("generation") or 0),
        deleting="deletionTimestamp" in metadata,
        pool_ref=(spec.get("poolRef") or {}).get("name"),
        asked=parse(spec["resources"]),
        granted=parse(status.get("granted")),
        charged=parse(status.get("charged")),
        pool=status.get("pool"),
        revision=int(status.get("grantRevision") or 0),
        sequence=int(status.get("grantSequence") or 0),
        charge_sequence=int(status.get("chargeSequence") or 0),
        observed=int(status.get("observedGeneration") or 0),
        verdict=_verdict(status),
        marked=DRY_RUN_MARK in marks,
    )


def _verdict(status: Json) -> str:
    for item in status.get("conditions") or ():
        if item["type"] == "Granted" and item["status"] == "False":
            return str(item["reason"])
    return ""

"""Allocations and pools as the decisions see them: small frozen records, read from stored objects at little cost."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bursar_crds.instants import parse_instant
from bursar_crds.names import FINALIZER
from bursar_domain.room import Pool
from bursar_operator.domain import hours
from bursar_operator.domain.hours import Hours

Obj = dict[str, Any]
EDITED = -1


def version(obj: Mapping[str, Any]) -> int:
    """`resourceVersion` as a number: it grows with every write of a resource (Kubernetes promises so since 1.35)."""
    return int(obj["metadata"]["resourceVersion"])


@dataclass(frozen=True, slots=True)
class GrantState:
    """What the protocol keeps in an allocation's status."""

    granted: Hours = field(default_factory=dict)
    charged: Hours = field(default_factory=dict)
    revision: int = 0
    sequence: int = 0
    charge_sequence: int = 0
    pool: str | None = None
    generation: int | None = None

    def with_granted(self, granted: Hours, revision: int) -> "GrantState":
        """The same with another grant under a new revision."""
        return replace(self, granted=dict(granted), revision=revision)


@dataclass(frozen=True, slots=True)
class Row:
    """One allocation: who it is, what it asks for, what it holds."""

    uid: str
    namespace: str
    name: str
    version: int
    generation: int
    created: str
    deleting: bool
    finalizer: bool
    cluster: str
    pool_ref: str | None
    start: datetime
    end: datetime
    grace_days: int
    asked: Hours
    state: GrantState

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name."""
        return self.namespace, self.name

    @property
    def leaf(self) -> str | None:
        """The pool it draws on, as far as that is settled."""
        return self.pool_ref or self.state.pool

    @property
    def settled(self) -> bool:
        """Whether everything asked for is granted and charged, and it stays."""
        return not self.deleting and self.state.granted == self.asked and self.state.charged == self.asked


def row_of(obj: Mapping[str, Any]) -> Row:
    """Read a stored allocation."""
    metadata, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    pool_ref = spec.get("poolRef")
    return Row(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        version=version(obj),
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        finalizer=FINALIZER in metadata.get("finalizers", ()),
        cluster=spec["clusterRef"]["name"],
        pool_ref=pool_ref["name"] if pool_ref else None,
        start=parse_instant(spec["period"]["start"]),
        end=parse_instant(spec["period"]["end"]),
        grace_days=(spec.get("grace") or {}).get("afterEndDays", 0),
        asked=hours.of(spec["resources"]),
        state=_state_of(status),
    )


def drawn(obj: Mapping[str, Any]) -> tuple[str | None, Hours]:
    """The leaf pool that a stored allocation draws on and what it is charged there, for less than the whole row costs."""
    status, pool_ref = obj.get("status") or {}, obj["spec"].get("poolRef")
    return pool_ref["name"] if pool_ref else status.get("pool"), hours.of(status.get("charged"))


def _state_of(status: Mapping[str, Any]) -> GrantState:
    return GrantState(
        granted=hours.of(status.get("granted")),
        charged=hours.of(status.get("charged")),
        revision=status.get("grantRevision") or 0,
        sequence=status.get("grantSequence") or 0,
        charge_sequence=status.get("chargeSequence") or 0,
        pool=status.get("pool"),
        generation=status.get("grantGeneration"),
    )


def state_fields(state: GrantState) -> Obj:
    """The status fields of the protocol; absent means never decided."""
    fields: Obj = {
        "granted": hours.as_list(state.granted),
        "charged": hours.as_list(hours.positive(state.charged)),
        "grantRevision": state.revision,
        "grantSequence": state.sequence,
        "chargeSequence": state.charge_sequence,
    }
    if state.pool is not None:
        fields["pool"] = state.pool
    if state.generation is not None:
        fields["grantGeneration"] = state.generation
    return fields


@dataclass(frozen=True, slots=True)
class Intent:
    """An open operation on one pool."""

    uid: str
    namespace: str
    name: str
    id: int
    from_: Hours
    to: Hours
    spend: Hours

    @property
    def key(self) -> tuple[str, str]:
        """Namespace and name of the allocation."""
        return self.namespace, self.name

    @property
    def hold(self) -> dict[str, int]:
        """What the pool holds while it is open."""
        return hours.upper(self.from_, self.to)

    @property
    def more(self) -> dict[str, int]:
        """What opening it adds to the pool."""
        return hours.minus(self.hold, self.from_)

    def beyond(self, row: "Row | None") -> dict[str, int]:
        """What the pool holds beyond what the allocation is charged; all of it where the allocation is gone."""
        return hours.positive(hours.minus(self.hold, row.state.charged if row else {}))

    @property
    def raises(self) -> bool:
        """Whether it adds hours; otherwise it gives some back."""
        return not hours.at_least(self.from_, self.to)

    def as_dict(self) -> Obj:
        """As it stands in the pool's status."""
        return {
            "uid": self.uid,
            "namespace": self.namespace,
            "name": self.name,
            "id": self.id,
            "from": hours.as_list(self.from_),
            "to": hours.as_list(self.to),
            "spend": hours.as_list(self.spend),
        }


def intent_of(item: Mapping[str, Any]) -> Intent:
    """Read an intent of a pool's status."""
    return Intent(
        uid=item["uid"],
        namespace=item["namespace"],
        name=item["name"],
        id=item["id"],
        from_=hours.of(item.get("from")),
        to=hours.of(item.get("to")),
        spend=hours.of(item.get("spend")),
    )


@dataclass(frozen=True, slots=True)
class Book:
    """A pool's grant book. ``granted`` is None until it was counted: nothing is granted before."""

    pool: Pool
    version: int
    generation: int
    epoch: int | None
    sequence: int
    granted: Hours | None
    spent: Hours
    intents: Mapping[str, Intent]

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.pool.name

    def with_granted(self, granted: Hours) -> "Book":
        """The same with another total, also in the pool that room is computed from."""
        return replace(self, granted=granted, pool=replace(self.pool, granted=granted))


def book_of(obj: Mapping[str, Any]) -> Book:
    """Read a stored pool."""
    status = obj.get("status") or {}
    return Book(
        pool=Pool.from_object(obj),
        version=version(obj),
        generation=obj["metadata"].get("generation", 0),
        epoch=status.get("epoch"),
        sequence=status.get("sequence") or 0,
        granted=hours.of(status["granted"]) if "granted" in status else None,
        spent=hours.of(status.get("spent")),
        intents={item["uid"]: intent_of(item) for item in status.get("intents") or ()},
    )


def book_fields(book: Book) -> Obj:
    """The status fields of the protocol."""
    fields: Obj = {
        "epoch": book.epoch,
        "sequence": book.sequence,
        "spent": hours.as_list(hours.positive(book.spent)),
        "intents": [intent.as_dict() for intent in book.intents.values()],
    }
    if book.granted is not None:
        fields["granted"] = hours.as_list(hours.positive(book.granted))
        limit = book.pool.limit
        percent = [amount * 100 // limit[name] for name, amount in book.granted.items() if limit.get(name)]
        fields["grantedPercent"] = max(percent, default=0)
    return fields

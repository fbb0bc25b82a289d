"""Entries made by hand, decided: what is asked for, whether it fits the books, what is booked. No I/O, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from bursar_api.balance import instant
from bursar_api.errors import Clash, Invalid
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import fold
from bursar_domain.standings import Account
from bursar_domain.terms import Terms
from bursar_domain.units import MOST_SECONDS, Scales
from bursar_ledger.accounts import AccountReading
from bursar_ledger.entries import Booked

Obj = dict[str, Any]
MOST_HOURS: Final = 10**9
JOB: Final = r"^[1-9][0-9]{0,17}(_(0|[1-9][0-9]{0,8})|\+(0|[1-9][0-9]{0,8}))?$"
Made = Sequence[Booked]


class NewEntry(BaseModel):
    """Body: hours are signed for an Adjustment. `to` belongs to a Transfer, `job` to a Refund."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal[EntryKind.ADJUSTMENT, EntryKind.REFUND, EntryKind.TRANSFER]
    project: Annotated[str, Field(min_length=1, max_length=63)]
    allocation: Annotated[str, Field(min_length=1, max_length=253)]
    resource: Annotated[str, Field(min_length=1, max_length=63)]
    hours: Annotated[int, Field(strict=True, ge=-MOST_HOURS, le=MOST_HOURS)]
    reason: Annotated[
        str, Field(min_length=1, max_length=500, pattern=r"^[^\p{Cc}\p{Zl}\p{Zp}]*[^\p{C}\p{Z}][^\p{Cc}\p{Zl}\p{Zp}]*$")
    ]
    to: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    job: Annotated[str, Field(pattern=JOB, description="4711, 4711_3 of an array, 4711+1 of a heterogeneous job.")] | None = (
        None
    )

    def check(self) -> None:
        """`Invalid` where the parts do not belong together."""
        if self.hours == 0:
            raise invalid("hours", "0 hours change nothing; say how many")
        if self.hours < 0 and self.kind is not EntryKind.ADJUSTMENT:
            raise invalid("hours", f"a {self.kind} takes hours above 0; to take hours away, make an Adjustment")
        self._check_own("to", EntryKind.TRANSFER, "the allocation that receives the hours")
        self._check_own("job", EntryKind.REFUND, "the id of the job")
        if self.to == self.allocation:
            raise invalid("to", f"allocation {self.to} can't give hours to itself; name another one of the project")

    def _check_own(self, field: str, kind: EntryKind, what: str) -> None:
        value = self.to if field == "to" else self.job
        if self.kind is kind and value is None:
            raise invalid(field, f"a {kind} needs `{field}`: {what}")
        if self.kind is not kind and value is not None:
            raise invalid(field, f"`{field}` belongs to a {kind}; leave it out, or make a {kind}")


def invalid(field: str, message: str) -> Invalid:
    """Names the field."""
    return Invalid(message, violations=[{"field": field, "reason": "Invalid", "message": message}])


@dataclass(frozen=True, slots=True)
class Side:
    """An allocation that is given or takes hours."""

    uid: str
    namespace: str
    name: str
    cluster: str

    @classmethod
    def of(cls, obj: Obj) -> "Side":
        """From the custom resource."""
        meta = obj["metadata"]
        return cls(meta["uid"], meta["namespace"], meta["name"], obj["spec"]["clusterRef"]["name"])


def seconds_of(body: NewEntry, scales: Scales) -> int:
    """Its unit-seconds; `Invalid` where the books can't hold so many."""
    most = scales.most_hours(body.resource)
    if abs(body.hours) > most:
        raise invalid("hours", f"an entry holds at most {most:,} {body.resource} hours; make several, or check the number")
    return scales.seconds_from_hours(body.resource, body.hours)


def drafts(
    body: NewEntry, sides: Sequence[Side], amount: int, cluster: str, account: str, *, at: int, author: str, key: str
) -> list[Entry]:
    """The entries over ``amount`` unit-seconds: one, or two that name each other."""
    signed = (-amount, amount) if body.kind is EntryKind.TRANSFER else (amount,)
    others = [side.uid for side in reversed(sides)] if body.kind is EntryKind.TRANSFER else [body.job or ""]
    keys = (key, f"{key}/to")
    return [
        Entry(
            key=one,
            kind=body.kind,
            cluster=cluster,
            account=account,
            at=at,
            author=author,
            reason=body.reason,
            uid=side.uid,
            namespace=side.namespace,
            name=side.name,
            amounts={body.resource: seconds},
            reference=other,
        )
        for one, side, seconds, other in zip(keys, sides, signed, others, strict=False)
    ]


def suits(body: NewEntry, sides: Sequence[Side], reading: AccountReading, now: int, made: Made, scales: Scales) -> None:
    """`Clash` or `Invalid` where it does not fit the account's books; ``made``: the account's entries by hand."""
    terms = {item.uid: item for item in reading.terms}
    if len({side.cluster for side in sides}) > 1:
        places = ", ".join(f"{side.name} on {side.cluster}" for side in sides)
        raise invalid("to", f"hours stay on their cluster ({places}); name an allocation on {sides[0].cluster}")
    for side in sides:
        _check_side(body, side, terms, now)
    amount = scales.seconds_from_hours(body.resource, body.hours)
    rooms = [Room.of(terms[side.uid], body.resource, reading, now, made) for side in sides]
    if body.kind is EntryKind.TRANSFER:
        _check_left(body, sides[0], rooms[0], amount, scales)
    elif amount < 0:
        _check_taken(body, sides[0], rooms[0], -amount, scales)
    if amount > 0 and rooms[-1].adjusted + amount > MOST_SECONDS:
        most = scales.hours_left(body.resource, max(0, MOST_SECONDS - rooms[-1].adjusted))
        raise invalid("hours", f"the window of {sides[-1].name} can take {most:,} {body.resource} hours more; check the number")


def once(body: NewEntry, before: Made) -> None:
    """`Clash` where the job was refunded already; ``before``: the cluster's entries that name it."""
    for item in before:
        if item.entry.kind is EntryKind.REFUND and body.resource in item.entry.amounts:
            raise Clash(
                f"job {body.job} got {body.resource} hours back with entry {item.number} of {instant(item.entry.at)}; a job is"
                " refunded once for each resource: to give more, or to take some back, make an Adjustment"
            )


def _check_left(body: NewEntry, side: Side, room: "Room", amount: int, scales: Scales) -> None:
    """What running jobs may still use stays."""
    if amount <= room.left - room.committed:
        return
    left = max(0, scales.hours_left(body.resource, room.left))
    most = max(0, scales.hours_left(body.resource, room.left - room.committed))
    kept = scales.hours_used(body.resource, room.committed)
    of_those = f", of which running jobs of the account may still use {kept}" if kept else ""
    remedy = f"move at most {most}" if most else "there is nothing to move"
    raise Clash(f"allocation {side.name} has {left} {body.resource} hours left in its window{of_those}; {remedy}")


def _check_taken(body: NewEntry, side: Side, room: "Room", amount: int, scales: Scales) -> None:
    """Hours that are used may be taken too, for what was given by mistake: that shows as over-use. There is no room below 0."""
    if amount <= room.had:
        return
    most = max(0, scales.hours_left(body.resource, room.had))
    remedy = f"take at most {most}" if most else "there is nothing to take"
    raise Clash(f"the window of allocation {side.name} has {most} {body.resource} hours, used ones counted; {remedy}")


def _check_side(body: NewEntry, side: Side, terms: Mapping[str, Terms], now: int) -> None:
    found = terms.get(side.uid)
    if found is None:
        raise Clash(f"allocation {side.name} is not granted yet, so it has no books; see `bursar get allocations`, then repeat")
    if body.resource not in found.resources:
        names = ", ".join(sorted(found.resources))
        raise invalid("resource", f"allocation {side.name} has no {body.resource}; it has {names}")
    if now >= found.open_until or found.closed_from is not None:
        raise Clash(f"the period of allocation {side.name} is over and hours would have no effect; choose one that still runs")


@dataclass(frozen=True, slots=True)
class Room:
    """Unit-seconds in the window that runs, entries that are booked but not published yet included.

    ``had``: granted, carried and by hand; ``adjusted``: of those by hand; ``committed``: what running jobs may still
    use of it.
    """

    had: int
    adjusted: int
    left: int
    committed: int

    @classmethod
    def of(cls, terms: Terms, resource: str, reading: AccountReading, now: int, made: Made) -> "Room":
        """One resource of one allocation."""
        index, at = terms.index(now), max(now, terms.start)
        whole = fold(reading.terms, reading.use, reading.corrections)
        books = whole.window(terms.uid, index, at)[resource]
        own = (item.entry for item in made if item.entry.uid == terms.uid and terms.index(item.entry.at) == index)
        adjusted = sum(entry.amounts.get(resource, 0) for entry in own)
        running = reading.state.committed if reading.state else {}
        standing = Account.of(whole, now, running, {}).standings(terms)[resource]
        return cls(
            had=books.granted + books.carried + adjusted,
            adjusted=adjusted,
            left=books.left + adjusted - books.adjusted,
            committed=standing.committed - standing.used,
        )

"""The allocation's side of the grant protocol: pure decisions over one allocation, its intents and what the books say.

Each function is one row of the protocol table. `settle` folds the rows that need only a write of the allocation's status into
one write: a sequence of legal steps that nothing can come between is itself legal.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from bursar_operator.domain import hours
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import EDITED, GrantState, Intent, Row

# Above every revision that is ever counted: what the ledger keeps for an allocation that is gone.
TOMBSTONE = 2**53


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a decision about one allocation may look at."""

    row: Row
    want: Hours
    path: tuple[str, ...] = ()
    """Pools it draws on, root first; empty where none can be chosen."""
    intents: Mapping[str, Intent] = field(default_factory=dict)
    """Its open operations, by pool, on the path or off it."""
    known: bool = True
    """Whether the copy of every pool that matters is known and claimed by this leader."""
    stuck: bool = False
    """Whether a pool on the path could not open what the pool above it has."""
    ack: int = 0
    not_enforced: bool = False
    ledger: tuple[int, Hours] | None = None
    used: Hours = field(default_factory=dict)
    committed: Hours = field(default_factory=dict)

    @property
    def needed(self) -> dict[str, int]:
        """Hours used and those that running jobs may still use."""
        return hours.plus(self.used, self.committed)

    def acknowledged(self, state: GrantState) -> bool:
        """Whether what the status grants is published and read back from the scheduler (or nobody enforces it there)."""
        published = self.ledger[0] if self.ledger else 0
        return published >= state.revision and (self.not_enforced or self.ack == state.revision)


class Kind(StrEnum):
    """What an operation is for."""

    RAISE = "Raise"
    RELEASE = "Release"
    DELETE = "Delete"


@dataclass(frozen=True, slots=True)
class Operation:
    """What an allocation wants to open on its pools."""

    kind: Kind
    from_: Hours
    to: Hours
    spend: Hours = field(default_factory=dict)


def over(row: Row, now: datetime, complete_until: datetime | None) -> bool:
    """Whether the period and its grace are past, and usage up to there is in (where any is reported)."""
    last = row.end + timedelta(days=row.grace_days)
    return now >= last and (complete_until is None or complete_until >= last)


def want(row: Row, used: Hours, committed: Hours, *, is_over: bool) -> dict[str, int]:
    """Hours that should be granted, for each resource that is asked for."""
    if row.deleting:
        return dict.fromkeys(row.asked, 0)
    if is_over:
        return hours.lower(row.asked, hours.plus(used, committed))
    return dict(row.asked)


def settle(facts: Facts) -> GrantState:
    """The status that the allocation should have now; equal to the present one where nothing is to be written."""
    state = facts.row.state
    for step in (repaired, adjusted, decided, adjusted):
        state = step(facts, state)
    return _dated(facts, state)


def repaired(facts: Facts, state: GrantState) -> GrantState:
    """After a hand edit: a revision above the ledger's, no grant without a charge, and holds that stay until a recount."""
    if not _edited(facts, state):
        return state
    published = facts.ledger[0] if facts.ledger else 0
    return replace(
        state,
        granted=hours.lower(state.granted, state.charged),
        revision=max(state.revision, published) + 1,
        sequence=max([state.sequence, *(intent.id for intent in facts.intents.values())]),
        charge_sequence=EDITED,
    )


def _edited(facts: Facts, state: GrantState) -> bool:
    if not hours.at_least(state.charged, state.granted):
        return True
    if facts.ledger is None:
        return False
    revision, granted = facts.ledger
    if not state.revision <= revision < TOMBSTONE:
        return False
    return state.revision < revision or not hours.same(state.granted, granted)


def adjusted(facts: Facts, state: GrantState) -> GrantState:
    """Lower what is granted beyond the want; restore what was lowered while the pools still hold it."""
    target = {name: _target(name, amount, state) for name, amount in facts.want.items()}
    return state if hours.same(target, state.granted) else state.with_granted(target, _next_revision(facts, state))


def _target(name: str, wanted: int, state: GrantState) -> int:
    return wanted if wanted <= state.charged.get(name, 0) else state.granted.get(name, 0)


def _next_revision(facts: Facts, state: GrantState) -> int:
    published = facts.ledger[0] if facts.ledger and facts.ledger[0] < TOMBSTONE else 0
    return max(state.revision, published) + 1


def decided(facts: Facts, state: GrantState) -> GrantState:
    """Commit the open operation, or void it where it cannot go on; unchanged while there is something to wait for."""
    pending = {pool: intent for pool, intent in facts.intents.items() if intent.id > state.sequence}
    if not pending:
        return state
    intent = max(pending.values(), key=lambda item: item.id)
    if all(item == intent for item in pending.values()):
        if set(pending) == set(facts.path) and facts.known and committable(facts, state, intent):
            return committed(facts, state, intent)
        if _opening(facts, pending) and not facts.stuck and committable(facts, state, intent):
            return state
        if not facts.known and committable(facts, state, intent):
            return state
    return replace(state, sequence=intent.id, charge_sequence=max(state.charge_sequence, 0))


def _opening(facts: Facts, pending: Mapping[str, Intent]) -> bool:
    return set(pending) < set(facts.path) and facts.path[0] in pending


def committable(facts: Facts, state: GrantState, intent: Intent) -> bool:
    """Whether the operation still starts from what is charged and is still wanted."""
    if not hours.same(intent.from_, state.charged):
        return False
    if intent.raises:
        return not facts.row.deleting and not hours.at_least(state.charged, facts.want)
    return hours.at_least(intent.to, state.granted) and facts.acknowledged(state)


def committed(facts: Facts, state: GrantState, intent: Intent) -> GrantState:
    """The charge becomes what the pools hold; a raise grants what is wanted of it."""
    granted = hours.lower(facts.want, intent.to) if intent.raises else state.granted
    revision = state.revision if hours.same(granted, state.granted) else _next_revision(facts, state)
    return replace(
        state,
        granted=granted,
        charged=intent.to,
        revision=revision,
        sequence=intent.id,
        charge_sequence=intent.id,
        pool=facts.path[-1],
    )


def _dated(facts: Facts, state: GrantState) -> GrantState:
    """Note the generation that is granted in full."""
    full = not hours.is_zero(state.granted) and hours.same(state.granted, facts.want)
    return replace(state, generation=facts.row.generation) if full else state


def operations(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
    """What may be opened on the pools now, the first that fits; nothing without the finalizer or while one is open."""
    if not facts.row.finalizer or facts.intents:
        return ()
    if facts.row.deleting:
        return _given_back(facts, state)
    raised = hours.upper(facts.want, state.charged)
    raises = () if hours.same(raised, state.charged) else (Operation(Kind.RAISE, state.charged, raised),)
    return raises + _given_back(facts, state)


def _given_back(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
    if not facts.acknowledged(state):
        return ()
    ends = facts.row.deleting and hours.is_zero(state.granted) and hours.is_zero(facts.committed)
    if ends and not hours.is_zero(state.charged):
        # Use beyond the charge was never held by a pool, so that no close lifts a total.
        return (Operation(Kind.DELETE, state.charged, {}, hours.positive(hours.lower(state.charged, facts.used))),)
    to = hours.positive(hours.lower(state.charged, hours.upper(state.granted, facts.needed)))
    return () if hours.same(to, state.charged) else (Operation(Kind.RELEASE, state.charged, to),)


def finished(facts: Facts, state: GrantState) -> bool:
    """Whether the finalizer may go: nothing is granted, charged or open, and the scheduler knows."""
    return (
        facts.row.deleting
        and facts.row.finalizer
        and facts.known
        and not facts.intents
        and hours.is_zero(state.granted)
        and hours.is_zero(state.charged)
        and facts.acknowledged(state)
    )


def unpublished(facts: Facts, state: GrantState) -> bool:
    """Whether the ledger does not know the grant yet."""
    return state.revision > (facts.ledger[0] if facts.ledger else 0)

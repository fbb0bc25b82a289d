"""The decisions that are explored: the product's own, and the guards that stand around them where it gathers and writes.

A mutant replaces one decision by a wrapped one, or takes one guard away; see `mutants`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from bursar_operator.domain import batch, grant, poolstatus
from bursar_operator.domain.batch import Batch, Gone, HeldOf, LeafOf, Request, RowOf, Tree, holds_nothing
from bursar_operator.domain.grant import Facts, Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, GrantState

Settle = Callable[[Facts], GrantState]
Operations = Callable[[Facts, GrantState], tuple[Operation, ...]]
Finished = Callable[[Facts, GrantState], bool]
Claimed = Callable[[Book, int], Book]


class Write(Protocol):
    """The next write of one pool, as `batch.write`."""

    def __call__(
        self,
        name: str,
        tree: Tree,
        requests: Sequence[Request],
        row_of: RowOf,
        leaf_of: LeafOf,
        gone: Mapping[str, Hours],
        now: float,
        torn: Sequence[Gone] = (),
        held: HeldOf = holds_nothing,
    ) -> Batch | None: ...


@dataclass(frozen=True, slots=True)
class Rules:
    """What leaders decide by. The flags are guards outside of the pure decisions; the product has all of them."""

    settle: Settle = grant.settle
    operations: Operations = grant.operations
    finished: Finished = grant.finished
    write: Write = batch.write
    claimed: Claimed = poolstatus.claimed
    lists: bool = True
    """A term acts only once the allocations were read after its claims."""
    fences: bool = True
    """A pool is written only under the term that it carries."""
    stamps: bool = True
    """An allocation gets the finalizer before anything is decided for it."""
    distrusts: bool = True
    """Nothing of a pool is used while the answer to a write of it is out."""
    waits: bool = True
    """An allocation for which an operation is just being opened counts as not known."""
    proves: bool = True
    """Intents of what is gone are closed only once its tombstone is acknowledged."""
    keeps: bool = True
    """Before the tombstone of what was torn away, its pools hold an operation of it."""
    orders: bool = True
    """The ledger takes only a higher revision."""
    settles: bool = True
    """A recount lowers only where everything is acknowledged or tombstoned."""

    restores: bool = True
    """A pool's status that somebody edited is put back from the leader's own book."""
    relists: bool = True
    """Whether everything is acknowledged is judged by the list that a recount rests on, not by older copies."""
    misses: bool = True
    """What copies show and that list lacks may still be published: it counts as not settled."""
    corrects: bool = True
    """A new leader raises totals that are lower than what it lists after its claims, before it grants anything."""


PRODUCT = Rules()

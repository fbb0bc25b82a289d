"""The protocol without one of its guards: the product's decision asked with that guard taken away, and where that must show.

Three guards stand behind others, so that no exploration fails without one of them alone: that a commit looks at what it
starts from (the same ids are on the whole path), that a finalizer stays while something is open (what is gone has its intents
closed all the same), that an allocation waits while its pool is written (what it decides meanwhile is voided).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from bursar_operator.domain import batch, grant, hours
from bursar_operator.domain.batch import Batch, Gone, HeldOf, LeafOf, Request, RowOf, Tree, holds_nothing
from bursar_operator.domain.grant import TOMBSTONE, Facts, Kind, Operation
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import EDITED, GrantState, Row
from bursar_operator.domain.shape import Shape
from bursar_testing.grantmodel.cases import CAPPED, EDITED_WHILE_NOBODY_LEADS, ROOT_AND_LEAF, TORN, TWO_LEAVES
from bursar_testing.grantmodel.rules import PRODUCT, Rules
from bursar_testing.grantmodel.setting import Setting

SMALL: Final = Setting(lost=0)
ALONE: Final = Setting(lost=0, takeovers=0, users=3)
UNSTAMPED: Final = Setting(lost=0, stamped=False)
EDITED_ONCE: Final = Setting(edits=1, leaders=1, lost=0)
TWO_EDITED: Final = Setting(pool_of=(0, 0), wants=((2,),), pool_edits=1, leaders=1, takeovers=0, lost=0)
LEAF_ALONE: Final = replace(ROOT_AND_LEAF, takeovers=0)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A guard taken away, and a world in which that breaks something."""

    rules: Rules
    setting: Setting = SMALL


def asked_otherwise(change: Callable[[Facts], Facts]) -> Rules:
    """Every decision about an allocation, of other facts; the state that is decided on stays."""

    def operations(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
        return grant.operations(change(facts), state)

    def finished(facts: Facts, state: GrantState) -> bool:
        return grant.finished(change(facts), state)

    return replace(PRODUCT, settle=lambda facts: grant.settle(change(facts)), operations=operations, finished=finished)


def _acknowledged(facts: Facts) -> Facts:
    return replace(facts, ack=facts.row.state.revision, ledger=(facts.row.state.revision, facts.row.state.granted))


def _acknowledged_once(facts: Facts) -> Facts:
    return _acknowledged(facts) if facts.ack else facts


def _acknowledged_unpublished(facts: Facts) -> Facts:
    return replace(facts, not_enforced=True)


def _without_use(facts: Facts) -> Facts:
    return replace(facts, used={})


def _without_jobs(facts: Facts) -> Facts:
    return replace(facts, committed={})


def _on_known_pools(facts: Facts) -> Facts:
    return replace(facts, path=tuple(facts.intents) if facts.intents else facts.path)


def _never_edited(facts: Facts) -> Facts:
    """Revisions go on from the status alone, and nothing is repaired."""
    return replace(facts, ledger=None) if facts.ledger and facts.ledger[0] < TOMBSTONE else facts


def settled_otherwise(change: Callable[[Facts, GrantState], GrantState]) -> Rules:
    """The state of an allocation, as it is decided, changed before it is written."""
    return replace(PRODUCT, settle=lambda facts: change(facts, grant.settle(facts)))


def _same_revision(facts: Facts, state: GrantState) -> GrantState:
    return replace(state, revision=max(1, facts.row.state.revision)) if state.revision else state


def _lowers_its_charge(facts: Facts, state: GrantState) -> GrantState:
    return replace(state, charged=hours.lower(state.charged, state.granted))


def _grants_at_once(facts: Facts, state: GrantState) -> GrantState:
    if hours.at_least(state.granted, facts.want):
        return state
    return state.with_granted(facts.want, state.revision + 1)


def _repaired_as_void(facts: Facts, state: GrantState) -> GrantState:
    return replace(state, charge_sequence=0) if state.charge_sequence == EDITED else state


def wanting_otherwise(change: Callable[[Operation], Operation | None]) -> Rules:
    """Other operations than the allocation may open."""

    def operations(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
        changed = (change(item) for item in grant.operations(facts, state))
        return tuple(item for item in changed if item is not None)

    return replace(PRODUCT, operations=operations)


def _deleted_while_jobs_run(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
    return grant.operations(replace(facts, committed={}) if facts.row.deleting else facts, state)


def _without_finalizer(facts: Facts, state: GrantState) -> tuple[Operation, ...]:
    return grant.operations(replace(facts, row=replace(facts.row, finalizer=True)), state)


RowChange = Callable[[Row], Row]
TreeChange = Callable[[str, Tree], Tree]


def written_otherwise(
    tree_as: TreeChange = lambda name, tree: tree, row_as: RowChange = lambda row: row, *, shares: bool = True
) -> Rules:
    """Pools written on another view of the tree, of the allocations or of what a project holds."""

    def write(
        name: str,
        tree: Tree,
        requests: Sequence[Request],
        row_of: RowOf,
        leaf_of: LeafOf,
        gone: Mapping[str, Hours],
        now: float,
        torn: Sequence[Gone] = (),
        held: HeldOf = holds_nothing,
    ) -> Batch | None:
        def changed(uid: str) -> Row | None:
            row = row_of(uid)
            return None if row is None else row_as(row)

        holdings = held if shares else holds_nothing
        return batch.write(name, tree_as(name, tree), requests, changed, leaf_of, gone, now, torn, holdings)

    return replace(PRODUCT, write=write)


def _nothing_below(name: str, tree: Tree) -> Tree:
    """Closes in any order: a pool does not look at those below it."""
    return replace(tree, shape=replace(tree.shape, below=dict.fromkeys(tree.shape.below, ())))


def _boundless(name: str, tree: Tree) -> Tree:
    books = {
        key: replace(book, pool=replace(book.pool, limit=dict.fromkeys(book.pool.limit, 99)))
        for key, book in tree.books.items()
    }
    return replace(tree, books=books)


def _boundless_below(name: str, tree: Tree) -> Tree:
    boundless = _boundless(name, tree).books
    return replace(tree, books={key: tree.books[key] if key == tree.root else book for key, book in boundless.items()})


def _alone(name: str, tree: Tree) -> Tree:
    """Every pool for itself: one below a root opens without it."""
    return Tree(Shape.of(name, {name: None}), {name: tree.books[name]} if name in tree.books else {})


def _void(row: Row) -> Row:
    """Pools take back what is not decided yet, without the allocation's word."""
    return replace(row, state=replace(row.state, sequence=max(row.state.sequence, 99)))


def _committed(row: Row) -> Row:
    """Whatever is decided counts as committed."""
    return replace(row, state=replace(row.state, charge_sequence=row.state.sequence))


def _unedited(row: Row) -> Row:
    """The mark of a repair is not seen."""
    return replace(row, state=replace(row.state, charge_sequence=max(0, row.state.charge_sequence)))


def _unspent(operation: Operation) -> Operation | None:
    return replace(operation, spend={})


def _kept_for_ever(operation: Operation) -> Operation | None:
    return None if operation.kind is Kind.RELEASE else operation


def _fits_by_itself(operation: Operation) -> Operation | None:
    """A raise to what it wants, whatever was charged meanwhile."""
    return replace(operation, from_={}) if operation.kind is Kind.RAISE else operation


MUTANTS: Final[Mapping[str, Mutant]] = {
    # those of the first model
    "no acknowledgement is asked for": Mutant(asked_otherwise(_acknowledged)),
    "any acknowledgement will do": Mutant(asked_otherwise(_acknowledged_once), ALONE),
    "pools take back without a void": Mutant(written_otherwise(row_as=_void)),
    "a new term does not list": Mutant(replace(PRODUCT, lists=False)),
    "the ledger takes any revision": Mutant(replace(PRODUCT, orders=False)),
    "opens before there is a finalizer": Mutant(replace(PRODUCT, stamps=False, operations=_without_finalizer), UNSTAMPED),
    "no terms": Mutant(replace(PRODUCT, fences=False)),
    "no terms in a tree": Mutant(replace(PRODUCT, fences=False), ROOT_AND_LEAF),
    "roots close before leaves": Mutant(written_otherwise(_nothing_below), LEAF_ALONE),
    "no acknowledgement of a tombstone": Mutant(replace(PRODUCT, proves=False), replace(TORN, lost=0)),
    "a recount lowers at any time": Mutant(replace(PRODUCT, settles=False), replace(TORN, lost=0)),
    "a pool is used while an answer is out": Mutant(replace(PRODUCT, distrusts=False), replace(ROOT_AND_LEAF, lost=1)),
    # what that one did not cover
    "acknowledged before it is published": Mutant(asked_otherwise(_acknowledged_unpublished)),
    "used hours are forgotten": Mutant(asked_otherwise(_without_use), replace(SMALL, uses=1, takeovers=0)),
    "used hours are not spent at deletion": Mutant(wanting_otherwise(_unspent), replace(SMALL, uses=1, takeovers=0)),
    "what jobs may still use is forgotten": Mutant(asked_otherwise(_without_jobs), replace(SMALL, jobs=1, takeovers=0)),
    "deleted while jobs run": Mutant(replace(PRODUCT, operations=_deleted_while_jobs_run), replace(SMALL, jobs=1, takeovers=0)),
    "a lower grant under the same revision": Mutant(settled_otherwise(_same_revision), ALONE),
    "a lower grant takes its charge along": Mutant(settled_otherwise(_lowers_its_charge), ALONE),
    "granted before it is charged": Mutant(settled_otherwise(_grants_at_once), ALONE),
    "nothing is released": Mutant(wanting_otherwise(_kept_for_ever), ALONE),
    "a raise does not say what it starts from": Mutant(wanting_otherwise(_fits_by_itself), ALONE),
    "whatever is decided counts as committed": Mutant(written_otherwise(row_as=_committed)),
    "commits before every pool has it": Mutant(asked_otherwise(_on_known_pools), LEAF_ALONE),
    "limits are not looked at": Mutant(written_otherwise(_boundless), replace(ALONE, limits=((1,),))),
    "limits of leaves are not looked at": Mutant(
        written_otherwise(_boundless_below), replace(TWO_LEAVES, limits=((4,), (1,), (2,)))
    ),
    "leaves open for themselves": Mutant(written_otherwise(_alone), LEAF_ALONE),
    "a project's share is not looked at": Mutant(written_otherwise(shares=False), CAPPED),
    "what was torn away is not kept": Mutant(replace(PRODUCT, keeps=False), TORN),
    "a recount is judged by old copies": Mutant(replace(PRODUCT, relists=False, misses=False), TORN),
    "a recount overlooks what its list lacks": Mutant(replace(PRODUCT, misses=False), TORN),
    "hand edits are not repaired": Mutant(asked_otherwise(_never_edited), EDITED_ONCE),
    "a repair is taken for a void": Mutant(settled_otherwise(_repaired_as_void), EDITED_ONCE),
    "pools do not see that it was repaired": Mutant(written_otherwise(row_as=_unedited), EDITED_ONCE),
    "a new leader believes every total": Mutant(replace(PRODUCT, corrects=False), EDITED_WHILE_NOBODY_LEADS),
    "pools' status is not put back": Mutant(replace(PRODUCT, restores=False), TWO_EDITED),
}

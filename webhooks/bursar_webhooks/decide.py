"""The decision, pure: one question and the facts in, a verdict out. Dry runs and real requests get the same one.

The API server asks only about objects that keep the schema and its CEL rules, so neither is looked at again here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pydantic import ValidationError

from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Resource
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.validate import beyond_schema, validate, without_old
from bursar_domain.violations import Violation
from bursar_webhooks import allocation, cluster, membership, project, quotapool
from bursar_webhooks.deprecations import deprecations
from bursar_webhooks.facts import Facts
from bursar_webhooks.review import Document, Review
from bursar_webhooks.verdict import Verdict, distinct

R = TypeVar("R", bound=Resource[Any, Any])

# What a moment's lag of the copy can explain: the object may be there already.
MAY_BE_LAG: Final = frozenset(
    {
        Reason.CLUSTER_NOT_FOUND,
        Reason.PROJECT_NOT_FOUND,
        Reason.POOL_NOT_FOUND,
        Reason.NO_POOL,
        Reason.PARENT_NOT_FOUND,
    }
)


@dataclass(frozen=True)
class Checks(Generic[R]):
    """The checks of one kind that need other objects."""

    model: type[R]
    references: Callable[[R, Facts], list[Violation]]
    changes: Callable[[R, R | None, Facts], list[Violation]]
    warnings: Callable[[R, R | None, Facts], list[str]]

    def judge(self, new: Document, old: Document | None, facts: Facts) -> Verdict:
        """Violations that the stored object did not have; where there is none, warnings."""
        after, before = _read(self.model, new), _read(self.model, old)
        if after is None:
            return Verdict(distinct(validate(new, old)))
        if old is not None and before is None:
            return Verdict()  # whoever mends what could not even be read is held to nothing more
        found = self._of_one(after, facts)
        if before is not None:
            found = without_old(found, self._of_one(before, facts))
        violations = distinct(found + self.changes(after, before, facts))
        return Verdict(violations) if violations else Verdict(warnings=self._warnings(after, before, facts))

    def _of_one(self, state: R, facts: Facts) -> list[Violation]:
        return beyond_schema(state) + self.references(state, facts)

    def _warnings(self, after: R, before: R | None, facts: Facts) -> tuple[str, ...]:
        return *deprecations(after), *self.warnings(after, before, facts)


CHECKS: Final[dict[str, Checks[Any]]] = {
    "Allocation": Checks(Allocation, allocation.references, allocation.changes, allocation.warnings),
    "Cluster": Checks(Cluster, cluster.references, cluster.changes, cluster.warnings),
    "Membership": Checks(Membership, membership.references, membership.changes, membership.warnings),
    "Project": Checks(Project, project.references, project.changes, project.warnings),
    "QuotaPool": Checks(QuotaPool, quotapool.references, quotapool.changes, quotapool.warnings),
}


def decide(review: Review, facts: Facts) -> Verdict:
    """Whether the object may be stored. What is on its way out is let through, and so is a change of metadata alone."""
    if review.deleting or not review.spec_changed:
        return Verdict()
    checks = CHECKS.get(review.kind)
    return Verdict(tuple(validate(review.new))) if checks is None else checks.judge(review.new, review.old, facts)


def may_be_lag(verdict: Verdict) -> bool:
    """Whether an object that a moment ago was made by the same person could change the verdict."""
    return any(violation.reason in MAY_BE_LAG for violation in verdict.violations)


def _read(model: type[R], document: Document | None) -> R | None:
    if document is None:
        return None
    try:
        return model.parse_stored(document)
    except ValidationError:
        return None

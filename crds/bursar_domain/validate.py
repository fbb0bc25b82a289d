"""Checks of one object by itself, pure: webhook, gateway and command line refuse the same things with the same words.

Fields, rules, transitions from the old object, and what is not built yet. What needs other objects is in `references`.
On an update nothing is refused that was wrong with the stored object already.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from pydantic import ValidationError

from bursar_crds.allocation import Allocation
from bursar_crds.cluster import Cluster
from bursar_crds.common import Model, Resource
from bursar_crds.kinds import KINDS
from bursar_crds.membership import Membership
from bursar_crds.project import Project
from bursar_crds.quotapool import QuotaPool
from bursar_crds.reasons import Reason
from bursar_domain.billing import billing_violations
from bursar_domain.schedule import schedule_violations
from bursar_domain.unsupported import unsupported
from bursar_domain.violations import Violation, from_error

Document: TypeAlias = Mapping[str, Any] | Resource[Any, Any]

__all__ = [
    "Document",
    "Violation",
    "beyond_schema",
    "validate",
    "validate_allocation",
    "validate_cluster",
    "validate_membership",
    "validate_project",
    "validate_quotapool",
]


def validate(new: Document, old: Document | None = None) -> list[Violation]:
    """Check an object of any kind of ours by its `kind`."""
    kind = new.kind if isinstance(new, Resource) else new.get("kind")
    info = KINDS.get(str(kind))
    if info is None:
        return [Violation("kind", Reason.INVALID, f"{kind!r} is no kind of ours; use one of {', '.join(KINDS)}")]
    return _validate(info.model, new, old)


def validate_cluster(new: Document, old: Document | None = None) -> list[Violation]:
    """Check a Cluster."""
    return _validate(Cluster, new, old)


def validate_project(new: Document, old: Document | None = None) -> list[Violation]:
    """Check a Project."""
    return _validate(Project, new, old)


def validate_membership(new: Document, old: Document | None = None) -> list[Violation]:
    """Check a Membership."""
    return _validate(Membership, new, old)


def validate_quotapool(new: Document, old: Document | None = None) -> list[Violation]:
    """Check a QuotaPool."""
    return _validate(QuotaPool, new, old)


def validate_allocation(new: Document, old: Document | None = None) -> list[Violation]:
    """Check an Allocation."""
    return _validate(Allocation, new, old)


def without_old(found: Iterable[Violation], old: Iterable[Violation]) -> list[Violation]:
    """What is wrong now and was not wrong before."""
    known = {violation.identity for violation in old}
    return [violation for violation in found if violation.identity not in known]


def _validate(model: type[Resource[Any, Any]], new: Document, old: Document | None) -> list[Violation]:
    found = _alone(model, _document(new))
    if old is None:
        return found
    before = _document(old)
    return without_old(found, _alone(model, before)) + _changed(model, _document(new), before)


def _document(value: Document) -> Mapping[str, Any]:
    return value.dump() if isinstance(value, Resource) else value


def _alone(model: type[Resource[Any, Any]], document: Mapping[str, Any]) -> list[Violation]:
    """Violations that need no other object and no earlier state."""
    try:
        return beyond_schema(model.parse(document))
    except ValidationError as error:
        found = from_error(error)
        readable = _lenient(model, document)
        if readable is None:
            return found
        # The model stops at an entry that breaks a rule of its own; the rules of what holds the entry are asked here.
        return found + [item for item in broken_rules("", readable) if item not in found] + unsupported(readable)


def beyond_schema(parsed: Resource[Any, Any]) -> list[Violation]:
    """What is wrong with an object that keeps the schema and its rules: what is not built yet, and what no schema can say."""
    return unsupported(parsed) + _impossible(parsed)


def _impossible(parsed: Resource[Any, Any]) -> list[Violation]:
    if isinstance(parsed, Allocation):
        return schedule_violations(parsed.spec)
    return billing_violations(parsed.spec) if isinstance(parsed, Cluster) else []


def broken_rules(path: str, model: Model) -> Iterator[Violation]:
    """Violations of the rules of an object and of everything in it."""
    for rule in model.rules():
        if not rule.holds(model):
            yield Violation(".".join(filter(None, (path, rule.at))), Reason.RULE_BROKEN, rule.message)
    for attribute, field in type(model).model_fields.items():
        value, at = getattr(model, attribute), ".".join(filter(None, (path, field.alias)))
        if isinstance(value, Model):
            yield from broken_rules(at, value)
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                yield from broken_rules(f"{at}[{index}]", item) if isinstance(item, Model) else ()


def _lenient(model: type[Resource[Any, Any]], document: Mapping[str, Any]) -> Resource[Any, Any] | None:
    try:
        return model.parse_stored(document)
    except ValidationError:
        return None


def _changed(model: type[Resource[Any, Any]], new: Mapping[str, Any], old: Mapping[str, Any]) -> list[Violation]:
    """Violations of the rules over a change, where both sides can be read."""
    after, before = _lenient(model, new), _lenient(model, old)
    if after is None or before is None:
        return []
    return list(_transitions("", after, before))


def _transitions(path: str, new: Model, old: Model) -> Iterator[Violation]:
    """Of an object and of what it holds, where both states have it."""
    for item in type(new).transitions():
        if not item.holds(new, old):
            yield Violation(".".join(filter(None, (path, item.at))), Reason.IMMUTABLE, item.message)
    for attribute, field in type(new).model_fields.items():
        after, before = getattr(new, attribute), getattr(old, attribute)
        if isinstance(after, Model) and isinstance(before, Model):
            yield from _transitions(".".join(filter(None, (path, field.alias))), after, before)

"""What the schema has and Bursar does not do yet: one table, so that nothing is ever accepted and then ignored."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from bursar_crds.allocation import AllocationSpec
from bursar_crds.cluster import ClusterSpec, DriftAction
from bursar_crds.common import Model, Resource, StopPolicy
from bursar_crds.project import ProjectSpec
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """One row: the fields of a spec that ask for it, what it is, and what to do instead."""

    spec: type[Model]
    what: str
    remedy: str
    asked: Callable[[Any], Iterable[str]]

    def violations(self, spec: Model) -> list[Violation]:
        """One violation per field that asks for it."""
        message = f"{self.what} is not supported yet; {self.remedy}"
        return [Violation(f"spec.{field}", Reason.NOT_YET_SUPPORTED, message) for field in self.asked(spec)]


def _when(field: str, asked: bool) -> tuple[str, ...]:
    return (field,) if asked else ()


def _allocation(what: str, remedy: str, asked: Callable[[AllocationSpec], Iterable[str]]) -> Unbuilt:
    return Unbuilt(AllocationSpec, what, remedy, asked)


def _cluster(what: str, remedy: str, asked: Callable[[ClusterSpec], Iterable[str]]) -> Unbuilt:
    return Unbuilt(ClusterSpec, what, remedy, asked)


def _project(what: str, remedy: str, asked: Callable[[ProjectSpec], Iterable[str]]) -> Unbuilt:
    return Unbuilt(ProjectSpec, what, remedy, asked)


_OUT: Final = "leave the field out"
_STOP: Final = "stopping jobs by policy"

UNBUILT: Final[tuple[Unbuilt, ...]] = (
    _allocation("a limit on units in use at one time", _OUT, lambda spec: _when("concurrency", bool(spec.concurrency))),
    _allocation("a share per member", _OUT, lambda spec: _when("perMember", bool(spec.per_member))),
    _allocation(_STOP, "use None or leave it out", lambda spec: _when("stopPolicy", spec.stop_policy != StopPolicy.NONE)),
    _cluster(
        "adopting foreign changes",
        "use Enforce or Report",
        lambda spec: _when("drift.limits", spec.drift.limits == DriftAction.ADOPT),
    ),
    _cluster(
        "adopting foreign changes",
        "use Enforce or Report",
        lambda spec: _when("drift.members", spec.drift.members == DriftAction.ADOPT),
    ),
    _cluster(
        "touching a QOS",
        "use Report or leave the field out",
        lambda spec: _when("drift.qos", spec.drift.qos != DriftAction.REPORT),
    ),
    _cluster(_STOP, "use None or leave it out", lambda spec: _when("stopPolicy", spec.stop_policy != StopPolicy.NONE)),
    _project(_STOP, "use None or leave it out", lambda spec: _when("stopPolicy", spec.stop_policy != StopPolicy.NONE)),
)


def unsupported(resource: Resource[Any, Any]) -> list[Violation]:
    """What the object asks for that is not built."""
    rows = [row for row in UNBUILT if isinstance(resource.spec, row.spec)]
    return [violation for row in rows for violation in row.violations(resource.spec)]

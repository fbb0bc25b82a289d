"""What a check found: violations that refuse, and warnings that do not."""

from collections.abc import Iterable
from dataclasses import dataclass

from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation

# Room causes are whole sentences that name the pool and the resource; the field before them would only be in the way.
_WHOLE_SENTENCES = frozenset({Reason.QUOTA_EXCEEDED, Reason.RESOURCE_NOT_IN_POOL})


@dataclass(frozen=True, slots=True)
class Verdict:
    """Refused when there is a violation; warnings are about what would be stored, so a refusal has none."""

    violations: tuple[Violation, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether the object may be stored."""
        return not self.violations

    @property
    def line(self) -> str:
        """The refusal in one line for people."""
        return "; ".join(_sentence(violation) for violation in self.violations)


def _sentence(violation: Violation) -> str:
    return violation.message if violation.reason in _WHOLE_SENTENCES else str(violation)


def distinct(violations: Iterable[Violation]) -> tuple[Violation, ...]:
    """Each violation once, in order."""
    return tuple(dict.fromkeys(violations))

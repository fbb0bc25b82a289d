"""Windows, tranches and gates of one allocation: what a schema cannot say of them. Pure."""

from bursar_crds.allocation import AllocationSpec
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation
from bursar_domain.windows import WindowError, cut


def schedule_violations(spec: AllocationSpec) -> list[Violation]:
    """A recurrence that can't be cut, tranches that open outside of the period, gates that open nothing."""
    return [*_windows(spec), *_tranches(spec), *_gates(spec)]


def _windows(spec: AllocationSpec) -> list[Violation]:
    if spec.recurrence is None:
        return []
    start, end = (int(at.timestamp()) for at in (spec.period.start, spec.period.end))
    try:
        cut(start, end, spec.recurrence.every.value, spec.recurrence.time_zone)
    except WindowError as error:
        return [Violation("spec.recurrence", Reason.INVALID, str(error))]
    return []


def _tranches(spec: AllocationSpec) -> list[Violation]:
    message = "a tranche opens inside the period; move its date, or leave it out and make the percent of another one larger"
    return [
        Violation(f"spec.tranches[{index}].from", Reason.INVALID, message)
        for index, tranche in enumerate(spec.tranches or ())
        if tranche.from_ is not None and not spec.period.start <= tranche.from_ < spec.period.end
    ]


def _gates(spec: AllocationSpec) -> list[Violation]:
    gates = sorted({tranche.gate for tranche in spec.tranches or () if tranche.gate is not None})
    known = f"there are {', '.join(gates)}" if gates else "no tranche has a gate"
    return [
        Violation(f"spec.openedGates[{index}]", Reason.INVALID, f"no tranche has the gate {gate}; {known}")
        for index, gate in enumerate(spec.opened_gates)
        if gate not in gates
    ]

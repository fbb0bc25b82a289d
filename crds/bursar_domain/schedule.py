"""Windows, gates and the end of one allocation: what a schema cannot say of them. Pure."""

from datetime import datetime, timedelta

from bursar_crds.allocation import AllocationSpec
from bursar_crds.instants import format_instant
from bursar_crds.reasons import Reason
from bursar_domain.violations import Violation
from bursar_domain.windows import WindowError, cut


def schedule_violations(spec: AllocationSpec) -> list[Violation]:
    """A recurrence that can't be cut, gates that open nothing."""
    return [*_windows(spec), *_gates(spec)]


def _windows(spec: AllocationSpec) -> list[Violation]:
    if spec.recurrence is None:
        return []
    start, end = (int(at.timestamp()) for at in (spec.period.start, spec.period.end))
    try:
        cut(start, end, spec.recurrence.every.value, spec.recurrence.time_zone)
    except WindowError as error:
        return [Violation("spec.recurrence", Reason.INVALID, str(error))]
    return []


def _gates(spec: AllocationSpec) -> list[Violation]:
    """No CEL rule, for the API server puts its cost above what a rule may cost, or it is longer than one can read."""
    gates = sorted({tranche.gate for tranche in spec.tranches or () if tranche.gate is not None})
    known = f"there are {', '.join(gates)}" if gates else "no tranche has a gate"
    return [
        Violation(f"spec.openedGates[{index}]", Reason.INVALID, f"no tranche has the gate {gate}; {known}")
        for index, gate in enumerate(spec.opened_gates)
        if gate not in gates
    ]


def open_until(spec: AllocationSpec) -> datetime:
    """The end with the grace after it."""
    return spec.period.end + timedelta(days=spec.grace.after_end_days if spec.grace is not None else 0)


def end_violations(new: AllocationSpec, old: AllocationSpec, now: datetime) -> list[Violation]:
    """An end that is moved from or into the time that is charged already; beyond it only what is used later is concerned."""
    after, before = open_until(new), open_until(old)
    if after == before and new.period.end == old.period.end:
        return []
    field = "spec.grace.afterEndDays" if new.period.end == old.period.end else "spec.period.end"
    message = _ends_badly(after, before, now, is_cut=new.period.end < min(now, old.period.end))
    return [] if message is None else [Violation(field, Reason.CHARGES_WOULD_MOVE, message)]


def _ends_badly(after: datetime, before: datetime, now: datetime, *, is_cut: bool) -> str | None:
    if before <= now:
        return f"the allocation ended at {format_instant(before)} and its books with it; renew it with a new allocation"
    if is_cut or after < now:
        return (
            f"what is charged until now ({format_instant(now)}) stays charged; choose a later end, "
            "or delete the allocation to end it at once"
        )
    return None

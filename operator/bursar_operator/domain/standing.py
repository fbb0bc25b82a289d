"""What an allocation's status says for people: conditions and figures, and when they are worth a write."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bursar_crds.conditions import ConditionDict, find_condition, order, set_condition
from bursar_crds.instants import format_instant, parse_instant
from bursar_crds.reasons import Reason
from bursar_domain.room import Cause, Problem
from bursar_operator.domain import hours
from bursar_operator.domain.grant import Facts
from bursar_operator.domain.rows import GrantState, Obj, state_fields
from bursar_operator.ledgerview import Figures

# Figures that move without a condition flipping are written at most so often.
FIGURES_SECONDS = 60.0
# What the conditions say of which nobody has to hear.
USUAL = frozenset({Reason.ACTIVE, Reason.NOT_EXHAUSTED, Reason.NOT_OVERDRAWN, Reason.USAGE_CURRENT})

Verdict = tuple[bool, Reason, str]


@dataclass(frozen=True, slots=True)
class Standing:
    """Everything that the status of one allocation tells."""

    facts: Facts
    state: GrantState
    now: datetime
    cluster: str
    observed: bool = False
    """Whether the cluster only observes, by its spec."""
    enforced_at: datetime | None = None
    problem: Problem | None = None
    causes: Sequence[Cause] = ()
    place: tuple[int, int] | None = None
    """Which one it is, of how many that wait for the pool of the first cause."""
    counted: bool = True
    """Whether every pool on the path is claimed and counted."""
    figures: Figures | None = None
    account: str | None = None
    is_over: bool = False
    overdue: Verdict | None = None
    """What Ready says of a deletion that hangs."""

    @property
    def granted_in_full(self) -> bool:
        """Whether everything that is wanted is granted."""
        return hours.same(self.state.granted, self.facts.want)


def granted(standing: Standing) -> Verdict:
    """Condition Granted."""
    state = standing.state
    if standing.facts.row.deleting:
        return _withdrawn(state)
    if standing.granted_in_full and not hours.is_zero(state.granted):
        return _in_full(state)
    if standing.is_over:
        return False, Reason.EXPIRED, "the period is over and nothing of it was used; nothing is granted."
    if standing.problem is not None:
        return False, standing.problem.reason, standing.problem.message
    if standing.causes:
        return False, standing.causes[0].reason, " ".join([*(cause.message for cause in standing.causes), *_place(standing)])
    if not standing.counted:
        return False, Reason.EPOCH_PENDING, "the pool is being counted; the grant follows by itself."
    return False, Reason.WAITING, "the request waits for its turn at the pool; the grant follows by itself."


def _place(standing: Standing) -> Iterable[str]:
    if standing.place is not None:
        number, count = map(about, standing.place)
        yield f"It is {ordinal(number)} of {count:,} that wait for pool {standing.causes[0].pool}."


def about(number: int) -> int:
    """Exact up to 20, from there on two digits of it: in a long queue each place that moves would cost everybody a write."""
    step = 10 ** max(0, len(str(number)) - 2)
    return number if number <= 20 else number // step * step


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, …"""
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{'th' if 11 <= number % 100 <= 13 else last}"


def _withdrawn(state: GrantState) -> Verdict:
    if hours.is_zero(state.charged):
        return False, Reason.WITHDRAWN, "the hours were given back to the pool; the object goes next."
    return False, Reason.DELETING, "the hours go back to the pool once the scheduler has taken the limit away."


def _in_full(state: GrantState) -> Verdict:
    words = f"{hours.in_words(state.granted)} of pool {state.pool} are granted"
    if hours.same(state.charged, state.granted):
        return True, Reason.GRANTED, f"{words}."
    return True, Reason.RELEASING, f"{words}; the rest goes back to the pool once the scheduler has the lower limit."


def enforced(standing: Standing) -> Verdict:
    """Condition Enforced."""
    revision, facts = standing.state.revision, standing.facts
    if revision == 0:
        return False, Reason.WAITING, "nothing was granted yet, so there is nothing to enforce."
    if facts.not_enforced:
        if standing.observed:
            return False, Reason.NOT_ENFORCED, f"cluster {standing.cluster} only observes; set its enforcement to Enforce."
        return (
            False,
            Reason.AGENT_NEVER_ENROLLED,
            f"no agent was ever enrolled for cluster {standing.cluster}; run `bursar clusters enrol {standing.cluster}`.",
        )
    if facts.acknowledged(standing.state):
        at = f" at {format_instant(standing.enforced_at)}" if standing.enforced_at else ""
        return True, Reason.ENFORCED, f"revision {revision} was read back from the scheduler{at}."
    return False, Reason.ENFORCING, f"revision {revision} is on its way to the scheduler of cluster {standing.cluster}."


def expired(standing: Standing) -> Verdict:
    """Condition Expired."""
    row = standing.facts.row
    if standing.now >= row.end:
        return True, Reason.EXPIRED, f"the period ended at {format_instant(row.end)}."
    if standing.now < row.start:
        return False, Reason.NOT_STARTED, f"the period begins at {format_instant(row.start)}."
    return False, Reason.ACTIVE, f"the period runs until {format_instant(row.end)}."


def exhausted(figures: Figures) -> Verdict:
    """Condition Exhausted."""
    if figures.exhausted:
        return True, Reason.EXHAUSTED, "the granted hours are used up; ask for more, or wait for the next period."
    return False, Reason.NOT_EXHAUSTED, "granted hours are left."


def overdrawn(figures: Figures) -> Verdict:
    """Condition Overdrawn."""
    if figures.overdrawn:
        return True, Reason.OVERDRAWN, "more hours were used than are granted; ask for more."
    return False, Reason.NOT_OVERDRAWN, "no more hours were used than are granted."


def usage_stale(figures: Figures) -> Verdict:
    """Condition UsageStale."""
    as_of = f" (as of {format_instant(figures.usage_as_of)})" if figures.usage_as_of else ""
    if figures.usage_stale:
        return True, Reason.USAGE_STALE, f"usage is older than it should be{as_of}; figures may be low."
    return False, Reason.USAGE_CURRENT, "usage is up to date."


def ready(standing: Standing, is_granted: Verdict, is_enforced: Verdict, is_expired: Verdict) -> Verdict:
    """Condition Ready: the first thing that stands in the way, or that all is in place."""
    if standing.facts.row.deleting:
        return standing.overdue or (False, Reason.DELETING, is_granted[2])
    for holds, reason, message in (is_granted, (not is_expired[0], is_expired[1], is_expired[2])):
        if not holds:
            return False, reason, message
    if is_enforced[0]:
        return True, Reason.READY, "the hours are granted and the scheduler keeps the limit."
    if standing.facts.not_enforced and standing.observed:
        return True, Reason.READY, "the hours are granted; the cluster only observes."
    return False, is_enforced[1], is_enforced[2]


def conditions(standing: Standing, before: Sequence[Mapping[str, Any]]) -> list[ConditionDict]:
    """The whole list; equal to the one before where nothing changed.

    What says nothing unusual is left out until it has something to say: each condition costs the API server as much as a
    tenth of the whole write.
    """
    present = {item["type"]: item for item in before}
    verdicts = _verdicts(standing, present)
    kept = [dict(item) for type_, item in present.items() if type_ not in verdicts]
    # One condition at a time against what was there of it: setting seven in a list of seven costs seven sorts.
    stated = [_condition(present.get(type_), type_, verdict, standing) for type_, verdict in verdicts.items()]
    return order([*kept, *stated])


def _verdicts(standing: Standing, present: Container[str]) -> dict[str, Verdict]:
    is_granted, is_enforced, is_expired = granted(standing), enforced(standing), expired(standing)
    figures = standing.figures or Figures()
    unusual = {
        "Expired": is_expired,
        "Exhausted": exhausted(figures),
        "Overdrawn": overdrawn(figures),
        "UsageStale": usage_stale(figures),
    }
    return {
        "Ready": ready(standing, is_granted, is_enforced, is_expired),
        "Granted": is_granted,
        "Enforced": is_enforced,
        **{type_: verdict for type_, verdict in unusual.items() if type_ in present or verdict[1] not in USUAL},
    }


def _condition(before: Mapping[str, Any] | None, type_: str, verdict: Verdict, standing: Standing) -> ConditionDict:
    generation = standing.facts.row.generation
    return set_condition([] if before is None else [before], type_, *verdict, standing.now, generation)[0]


def status(standing: Standing, before: Obj) -> Obj:
    """The status in full, as one PUT writes it."""
    after = {**before, **state_fields(standing.state), "observedGeneration": standing.facts.row.generation}
    after["conditions"] = conditions(standing, before.get("conditions") or ())
    if standing.account is not None:
        after["account"] = standing.account
    if standing.figures is not None:
        after |= _figure_fields(standing.figures)
    return {name: value for name, value in after.items() if value is not None}


def _figure_fields(figures: Figures) -> Obj:
    fields: Obj = {
        "used": hours.as_list(figures.used),
        "committed": hours.as_list(figures.committed),
        "adjusted": hours.as_list(figures.adjusted),
        "available": hours.as_list(figures.available),
        "usedPercent": figures.used_percent,
        "coveragePercent": figures.coverage_percent,
        "enforcement": figures.enforcement,
    }
    for name, at in (("usageAsOf", figures.usage_as_of), ("projectedExhaustion", figures.projected_exhaustion)):
        # None takes the date away where one stood before.
        fields[name] = None if at is None else format_instant(at)
    if figures.window_start is not None and figures.window_end is not None:
        fields["window"] = {
            "start": format_instant(figures.window_start),
            "end": format_instant(figures.window_end),
            "hours": hours.as_list(figures.window_hours),
            "carriedHours": hours.as_list(figures.carried),
        }
    return fields


def waits_since(obj: Obj, now: float) -> float:
    """Since when an allocation waits, as far as its object tells: its creation, or when it was refused."""
    status_ = obj.get("status") or {}
    refusal = find_condition(status_.get("conditions"), "Granted")
    if refusal is not None and refusal["status"] == "False":
        return parse_instant(refusal["lastTransitionTime"]).timestamp()
    created = obj["metadata"].get("creationTimestamp")
    return now if created is None or status_.get("grantRevision") else parse_instant(created).timestamp()


def urgent(before: Obj, after: Obj) -> bool:
    """Whether the change has to be written now: the protocol moved, a condition flipped or another action is in force."""
    return _essence(before) != _essence(after)


def hangs(status_: Obj) -> bool:
    """Whether it says that the deletion hangs, which is worth a write of its own."""
    found = find_condition(status_.get("conditions"), "Ready")
    return found is not None and found["reason"] in (Reason.RELEASE_OVERDUE, Reason.STATEMENT_REFUSED)


def _essence(status_: Obj) -> object:
    protocol = ("granted", "charged", "pool", "grantGeneration", "grantRevision", "grantSequence", "chargeSequence")
    unusual = (item for item in status_.get("conditions") or () if item["reason"] not in USUAL)
    flips = [(item["type"], item["status"], item["reason"], _answer(item)) for item in unusual]
    fields = [status_.get(name) or None for name in protocol]
    # What people or a roll-over do, not the passing of use.
    window = status_.get("window") or {}
    booked = hours.of(status_.get("adjusted")), window.get("start"), hours.of(window.get("carriedHours"))
    action = status_.get("enforcement") or "None"
    return fields, status_.get("observedGeneration"), status_.get("account"), booked, action, flips


def _answer(condition: Obj) -> str:
    """What somebody waits for who handed a statement over."""
    return str(condition["message"]) if condition["reason"] == Reason.STATEMENT_REFUSED else ""


def moved(before: Obj, after: Obj) -> bool:
    """Whether a figure moved by one percent of the window's hours or more, or a message changed."""
    if [item["message"] for item in before.get("conditions") or ()] != [item["message"] for item in after["conditions"]]:
        return True
    if before.get("enforcement") != after.get("enforcement"):
        return True
    window = after.get("window")
    whole = hours.plus(hours.of(window.get("hours")), hours.of(window.get("carriedHours"))) if window else None
    figures = ("used", "committed", "adjusted", "available")
    base = hours.of(after.get("granted")) if whole is None else whole
    return any(_moved(hours.of(before.get(name)), hours.of(after.get(name)), base) for name in figures)


def _moved(before: Mapping[str, int], after: Mapping[str, int], whole: Mapping[str, int]) -> bool:
    names = {**before, **after}
    return any(abs(after.get(name, 0) - before.get(name, 0)) * 100 >= max(1, whole.get(name, 0)) for name in names) and (
        before != after
    )

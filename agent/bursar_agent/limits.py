"""Which limits one account gets: the ceiling over what is left, closed resources, caps, walls of running remainders. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from bursar_agent import unseen
from bursar_agent.grants import Charged
from bursar_agent.schedulers.base import AccountView, QosChange, QosView, Reading
from bursar_agent.unseen import Counter, Unseen
from bursar_domain import ceiling
from bursar_domain.ceiling import UNLIMITED, Sample
from bursar_domain.terms import Terms
from bursar_domain.units import MINUTE, OPEN_UNLESS_LISTED
from bursar_domain.wire import ClusterSettings, TrackedResource

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Question:
    """One account; amounts are unit-seconds by resource.

    ``written``: limits as last written, to tell drift; ``room`` and ``known_room``: what entries give now and what they gave
    when the account was last proven (None: never); ``is_unproven``: we made it and never proved it;
    ``fresh``: job records were read together with the observation. ``caps``: units in use at one time by resource, as a
    threshold has it; ``known_caps``: by TRES, as last written (``in_doubt``: or not proven). ``widest_seconds``: samples that
    lie further apart prove nothing, for a counter that was lost may have grown past what it was. ``counter_seconds``: how
    much later than the use counters may move.

    In limit mode QOS: ``qoses`` of the account as they are seen by name, ``written_qoses`` their limits as last written,
    ``written_list`` which of them its jobs may have; ``keeps_list``: not now, for another QOS is all that they may have.
    """

    account: str
    settings: ClusterSettings
    view: AccountView | None
    now: int
    watermark: int | None
    active: Sequence[Terms]
    charged: Charged
    after_observation: Amounts
    after_watermark: Amounts
    remaining: Amounts
    recent: Amounts
    samples: Mapping[tuple[str, str], Sequence[Sample]]
    written: Amounts
    room: Amounts
    known_room: Amounts | None
    is_unproven: bool
    force: bool
    fresh: bool
    expired: bool
    caps: Amounts = field(default_factory=dict)
    known_caps: Amounts = field(default_factory=dict)
    in_doubt: bool = False
    widest_seconds: float = float("inf")
    counter_seconds: int = 0
    qoses: Mapping[str, QosView] = field(default_factory=dict)
    written_qoses: Mapping[str, Amounts] = field(default_factory=dict)
    written_list: tuple[str, ...] = ()
    keeps_list: bool = False


@dataclass(slots=True)
class Answer:
    """What to write, by TRES; ``written`` are all limits as they will stand; ``lowered`` in words, for the brake.

    ``caps``: those in force afterwards; ``throttled``: TRES that get a cap or a lower one. ``withheld``: TRES whose raise
    waits until job records are complete again. ``qoses`` and ``qos_list``: what to write in limit mode QOS, and as it will
    stand then (``written_qoses``, ``listed``); ``inherit_qos``: members who would otherwise have QOSes of their own.
    """

    limits: dict[str, int] = field(default_factory=dict)
    run_minutes: dict[str, int] = field(default_factory=dict)
    concurrent: dict[str, int] = field(default_factory=dict)
    written: dict[str, int] = field(default_factory=dict)
    lowered: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    withheld: list[str] = field(default_factory=list)
    caps: dict[str, int] = field(default_factory=dict)
    throttled: list[str] = field(default_factory=list)
    qoses: list[QosChange] = field(default_factory=list)
    qos_list: tuple[str, ...] | None = None
    written_qoses: dict[str, dict[str, int]] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    inherit_qos: frozenset[str] = frozenset()


def decide(question: Question) -> Answer:
    """Limits of every tracked resource."""
    answer = Answer()
    for resource in question.settings.resources:
        _resource(question, resource, answer)
    return answer


def _resource(question: Question, resource: TrackedResource, answer: Answer) -> None:
    name = resource.trackable
    seen = question.view.readings.get(name, Reading()) if question.view else Reading()
    drift = drift_of(question, name, seen)
    if drift:
        answer.drift.append(drift)
    write_concurrent(question, resource, seen, answer)
    if drift and only_reports(question):
        return
    target = _target(question, resource, seen, force=question.force or bool(drift))
    if holds_back(question, name, seen, target):
        answer.withheld.append(name)
        target = seen.limit or target
    if question.expired and not tightens(target, seen.limit):
        return
    _write_limit(question, resource, seen, target, answer)
    if (wall := wall_to_write(question, seen, target)) is not None:
        answer.run_minutes[name] = wall


def drift_of(question: Question, name: str, seen: Reading) -> str:
    """A sentence where the limit is not the one that was written last."""
    written, limit = question.written.get(name), in_force(seen.limit)
    if question.view is None or written is None or written == limit:
        return ""
    return f"{name} limit of {question.account} is {words(limit)}, was set to {words(written)}"


def in_force(limit: int | None) -> int:
    """A limit as it was read, as it would be written."""
    return UNLIMITED if limit is None else limit


def words(limit: int) -> str:
    return "none" if limit == UNLIMITED else str(limit)


def _target(question: Question, resource: TrackedResource, seen: Reading, *, force: bool) -> int:
    """The limit to have, in TRES-minutes; -1 for none."""
    if not is_limited(question, resource.name):
        return UNLIMITED
    if _may_stay(question, resource.trackable, seen, force=force):
        return seen.limit or UNLIMITED
    left = _left(question, resource.name)
    running, recent = question.remaining.get(resource.name, 0), question.recent.get(resource.name, 0)
    reading = ceiling.Reading(
        counter=seen.counter,
        left_now=left,
        left_then=left + question.after_observation.get(resource.name, 0),
        in_force=seen.limit if question.view else None,
        lag_seconds=ceiling.lag(seen.running, running, recent),
        behind_seconds=_behind(question, resource, left),
        force=force,
        unit=question.settings.scales.units(resource.name),
    )
    return ceiling.limit(reading)


def only_reports(question: Question) -> bool:
    """Whether what somebody else wrote stays."""
    return question.settings.drift_limits != "Enforce" and not question.force


def holds_back(question: Question, trackable: str, seen: Reading, target: int) -> bool:
    """Whether a raise has to wait until records are complete again."""
    return seen.limit is not None and target > seen.limit and is_blind(question, trackable)


def _may_stay(question: Question, name: str, seen: Reading, *, force: bool) -> bool:
    """Whether nothing is known that the last decision did not know: no new records, no lost counter, no other entry."""
    is_set = question.view is not None and bool(seen.limit)
    return is_set and not (force or question.fresh or _counter_fell(question, name))


def is_limited(question: Question, resource: str) -> bool:
    """Whether hours of it are counted or closed; cpu, memory and billing are open where an active allocation lists others."""
    listed = {name for terms in question.active for name in terms.resources}
    if resource in listed or not listed:
        return True
    return not (resource in OPEN_UNLESS_LISTED or "billing" in listed)


def _left(question: Question, resource: str) -> int:
    return question.charged.left(question.now, resource, None if is_current(question) else question.watermark)


def is_current(question: Question) -> bool:
    return question.watermark is not None and question.watermark >= question.now


def _behind(question: Question, resource: TrackedResource, left: int) -> int | None:
    """What can be left at most where records end before the observation: the counter's growth counts in their place."""
    if is_current(question) or question.watermark is None:
        return None
    found = unseen_use(question, resource, question.watermark)
    laid_out = question.charged.grants
    is_leaving = any(item.uid in laid_out.taken_back and item.is_active(question.now) for item in laid_out.terms)
    if not (is_leaving or laid_out.cuts_between(question.watermark, question.now)):
        return left - found.total  # whoever has it now had it all the time
    return question.charged.left_after(question.now, resource.name, found.placed, question.watermark) - found.adrift


def unseen_use(question: Question, resource: TrackedResource, watermark: int) -> Unseen:
    """Growth beyond what is known is use that nobody saw yet."""
    counter = Counter(
        samples=question.samples.get((question.account, resource.trackable), ()),
        capacity=resource.capacity,
        lag_seconds=question.counter_seconds,
    )
    cuts = question.charged.grants.cuts_between(watermark, question.now)
    since = [question.after_watermark.get(resource.name, 0), *(question.charged.since(cut, resource.name) for cut in cuts), 0]
    return unseen.find(counter, (watermark, *cuts), [more - less for more, less in pairwise(since)])


def is_blind(question: Question, trackable: str) -> bool:
    """Whether records are late and the counter was not watched closely since they ended: nothing may be raised then."""
    if is_current(question):
        return False
    samples = question.samples.get((question.account, trackable), ())
    if question.watermark is None or not samples or samples[0].at > question.watermark:
        return True
    return ceiling.widest_gap(samples, question.watermark) > question.widest_seconds


def tightens(target: int, in_force: int | None) -> bool:
    return target != UNLIMITED and (in_force is None or target < in_force)


def _write_limit(question: Question, resource: TrackedResource, seen: Reading, target: int, answer: Answer) -> None:
    name, before = resource.trackable, in_force(seen.limit)
    answer.written[name] = target
    if question.view is not None and target == before:
        return
    answer.limits[name] = target
    answer.reasons.append(f"{question.account} {name}: {words(before)} -> {words(target)} (counter {seen.counter})")
    if tightens(target, seen.limit) and not _is_explained(question, resource, seen, target):
        answer.lowered.append(f"lower {question.account} {name} from {words(before)} to {target}")


def _is_explained(question: Question, resource: TrackedResource, seen: Reading, target: int) -> bool:
    room = None if seen.limit is None else seen.limit - seen.counter
    return is_explained(question, resource, room, target - seen.counter, has_fallen=_counter_fell(question, resource.trackable))


def is_explained(question: Question, resource: TrackedResource, before: int | None, after: int, *, has_fallen: bool) -> bool:
    """Whether less head-room takes nothing away: a counter was lost, or it is behind the records by what just ran.

    Where less is granted than before, or nobody knows what was, it does take something away.
    """
    if has_fallen:
        return True
    if before is None or question.known_room is None:
        return question.is_unproven
    name = resource.name
    if question.room.get(name, 0) < question.known_room.get(name, 0):
        return False
    just_ran = question.recent.get(name, 0) + question.after_observation.get(name, 0)
    unit = question.settings.scales.units(name)
    tolerance = 3 + min(60 * unit, max(0, before) // 20)
    return (before - after - tolerance) * MINUTE <= just_ran


def _counter_fell(question: Question, name: str) -> bool:
    """A lost counter makes a lower limit right: the head-room stays what it was."""
    return fell(question.samples.get((question.account, name), ()))


def fell(samples: Sequence[Sample]) -> bool:
    """Whether a counter was lower at one time than before."""
    return any(after.minutes < before.minutes for before, after in pairwise(samples))


def wall_to_write(question: Question, seen: Reading, target: int) -> int | None:
    """The wall beside such a limit; None where it stays as it is."""
    wall = UNLIMITED if target == UNLIMITED else ceiling.run_minutes_wall(target, seen.counter, seen.run_minutes_limit)
    may_write = tightens(wall, seen.run_minutes_limit) or not question.expired
    return wall if may_write and wall != in_force(seen.run_minutes_limit) else None


def write_concurrent(question: Question, resource: TrackedResource, seen: Reading, answer: Answer) -> None:
    """Close what nothing lists and is not open by nature, for it may not even run free jobs; cap what is throttled."""
    name, known = resource.trackable, question.known_caps.get(resource.trackable)
    target = _concurrent(question, resource, seen)
    before = in_force(seen.concurrent_limit)
    is_foreign = before > 0 and before != known and not question.in_doubt
    if is_foreign and (target == UNLIMITED or before <= target):
        target = before  # somebody else's; we only take off what we put on
    if target == before or (question.expired and not tightens(target, seen.concurrent_limit)):
        if before > 0 and not is_foreign:
            answer.caps[name] = before
        return
    answer.concurrent[name] = target
    if target > 0:
        answer.caps[name] = target
        answer.throttled += [name] if tightens(target, seen.concurrent_limit) else []
        answer.reasons.append(f"{question.account} {name}: at most {target} at one time")


def _concurrent(question: Question, resource: TrackedResource, seen: Reading) -> int:
    """Units that may be in use at one time; -1 for any number. A cap stays until it is a quarter off."""
    is_listed = any(resource.name in terms.resources for terms in question.active)
    if not is_listed and is_limited(question, resource.name) and resource.name not in OPEN_UNLESS_LISTED:
        return 0
    cap, in_force = question.caps.get(resource.name), seen.concurrent_limit
    if cap is None:
        return UNLIMITED
    is_near = in_force is not None and in_force > 0 and abs(cap - in_force) * 4 <= in_force
    return in_force if is_near and in_force is not None else cap

"""Limit mode QOS: which limits the QOSes of one account get, one for each active allocation, and which it may use. Pure.

Attribution is the same as in account mode, whichever QOS a job ran under; only who is told what is left differs. Counters
of these QOSes never decay, so that a cluster whose accounts forget use can be held to its budgets all the same.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from bursar_agent import grants, limits, qosnames, shares
from bursar_agent.limits import Answer, Question
from bursar_agent.schedulers.base import MARK, QosChange, QosView, Reading
from bursar_domain import ceiling
from bursar_domain.ceiling import FLOOR, UNLIMITED
from bursar_domain.terms import Terms
from bursar_domain.units import MINUTE
from bursar_domain.wire import ClusterSettings, TrackedResource

DEFAULT_PART: Final = 20
"""Once less than this part of its window is left, an allocation is no longer the default: most jobs would wait there."""
_BORN: Final = Reading(limit=FLOOR)


@dataclass(slots=True)
class _Half:
    """What of a QOS tightens, or what loosens, by TRES."""

    limits: dict[str, int] = field(default_factory=dict)
    run_minutes: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Ceiling:
    """One active allocation and its QOS: what to write of it, tightening and loosening apart."""

    terms: Terms
    name: str
    view: QosView | None
    known: limits.Amounts
    tight: _Half = field(default_factory=_Half)
    loose: _Half = field(default_factory=_Half)
    written: dict[str, int] = field(default_factory=dict)
    lasting: bool = False

    def seen(self, trackable: str) -> Reading:
        """As it is, or as it will be made."""
        return _BORN if self.view is None else self.view.readings.get(trackable, Reading())

    def is_edited(self, trackable: str) -> bool:
        """Whether somebody else wrote its limit."""
        written = self.known.get(trackable)
        return self.view is not None and written is not None and written != limits.in_force(self.seen(trackable).limit)

    def half(self, target: int, in_force: int | None) -> _Half:
        """Where such a target belongs."""
        return self.tight if limits.tightens(target, in_force) else self.loose

    def changes(self) -> list[QosChange]:
        """What tightens first."""
        first = QosChange(
            name=self.name,
            create=self.view is None,
            description="" if self.view else f"{MARK}{self.terms.uid}",
            limits=self.tight.limits,
            run_minutes=self.tight.run_minutes,
            lasting=self.lasting,
            tightens=True,
        )
        then = QosChange(self.name, limits=self.loose.limits, run_minutes=self.loose.run_minutes)
        return [item for item in (first, then) if item != QosChange(self.name, tightens=item.tightens)]


@dataclass(frozen=True, slots=True)
class _Share:
    """What an allocation's QOS may let run of one resource, unit-seconds; ``then``: as of the observation."""

    now: int
    then: int
    lag: int = 0


def names_of(settings: ClusterSettings, laid_out: grants.Grants) -> dict[str, str]:
    """Allocation uid -> its QOS, for every allocation that the account's entry knows."""
    account = laid_out.entry.account
    return {item.uid: qosnames.name(settings.scheduler_name, account, item.uid) for item in laid_out.terms}


def decide(question: Question) -> Answer:
    """Limits of every tracked resource on the QOSes of the active allocations, and what the account itself keeps."""
    answer = Answer()
    names = names_of(question.settings, question.charged.grants)
    ceilings = [_ceiling(question, item, names[item.uid], answer) for item in question.active]
    found = [item for item in ceilings if item.view is not None or not question.expired]
    for resource in question.settings.resources:
        _resource(question, resource, found, answer)
    for item in found:
        answer.qoses += item.changes()
        answer.written_qoses[item.name] = item.written
    retire(question, {*names.values(), *question.written_qoses} - {item.name for item in found}, answer)
    _list(question, found, answer)
    _heirs(question, answer)
    return answer


def leave(question: Question, answer: Answer) -> None:
    """Back in account mode: once the account's own limits hold, the QOSes carry nothing and leave its list."""
    if question.qoses:
        retire(question, question.qoses, answer)
        answer.written_qoses.clear()
    if question.view is not None and any(qosnames.is_ours(name) for name in question.view.qos_list):
        answer.qos_list = ()
        answer.reasons.append(f"{question.account}: its QOSes are those from before")


def retire(question: Question, names: Iterable[str], answer: Answer) -> None:
    """What no active allocation has keeps its counter and lets nothing start; it is never deleted and never reset."""
    tracked = [resource.trackable for resource in question.settings.resources]
    for name in sorted(names):
        view = question.qoses.get(name)
        if view is None:
            continue
        answer.written_qoses[name] = dict.fromkeys(tracked, FLOOR)
        readings = {key: view.readings.get(key, Reading()) for key in tracked}
        over = {key: FLOOR for key, reading in readings.items() if limits.tightens(FLOOR, reading.limit)}
        walls = {key: FLOOR for key, reading in readings.items() if limits.tightens(FLOOR, reading.run_minutes_limit)}
        before = question.written_qoses.get(name)
        is_drift = bool(over) and before is not None and all(before.get(key) == FLOOR for key in over)
        if is_drift:
            answer.drift.append(f"QOS {name} of {question.account} lets jobs start again, though its allocation is over")
        if (over or walls) and not (is_drift and limits.only_reports(question)):
            answer.qoses.append(QosChange(name, limits=over, run_minutes=walls, tightens=True))
            answer.reasons.append(f"{question.account}: QOS {name} lets nothing start any more")


def _ceiling(question: Question, terms: Terms, name: str, answer: Answer) -> _Ceiling:
    view = question.qoses.get(name)
    found = _Ceiling(terms, name, view, {} if question.in_doubt else question.written_qoses.get(name, {}))
    if view is not None and not view.is_lasting:
        answer.drift.append(f"QOS {name} of {question.account} lost the flag that its counters never decay")
        found.lasting = not limits.only_reports(question)
    return found


def _resource(question: Question, resource: TrackedResource, ceilings: list[_Ceiling], answer: Answer) -> None:
    seen = question.view.readings.get(resource.trackable, Reading()) if question.view else Reading()
    limits.write_concurrent(question, resource, seen, answer)
    lefts = _lefts(question, resource)
    found = _shares(question, resource, seen, ceilings, lefts)
    before = _room(question, resource.trackable, seen, ceilings)
    is_lower = _own_limit(question, resource, seen, answer)
    has_news = _has_news(question, resource.trackable, ceilings)
    for item in ceilings:
        is_lower |= _write(question, resource, item, found.get(item.terms.uid), answer, has_news=has_news)
    after = max(0, sum(lefts.values())) // MINUTE
    is_less = before is None or before > after
    if is_lower and is_less and question.view is not None:
        fallen = _has_fallen(question, resource.trackable, ceilings)
        if not limits.is_explained(question, resource, before, after, has_fallen=fallen):
            had = "no limit" if before is None else str(before)
            answer.lowered.append(f"lower {question.account} {resource.trackable} from {had} to {after} minutes left")


def _room(question: Question, trackable: str, seen: Reading, ceilings: Iterable[_Ceiling]) -> int | None:
    """Minutes that the account may use as it stands; None for any number."""
    if seen.limit is not None:
        return seen.limit - seen.counter
    listed = question.view.qos_list if question.view else ()
    used = [question.qoses[name] for name in listed if name in question.qoses]
    readings = [view.readings.get(trackable, Reading()) for view in used or [c.view for c in ceilings if c.view]]
    if not readings or any(reading.limit is None for reading in readings):
        return None
    return sum(max(0, (reading.limit or 0) - reading.counter) for reading in readings)


def _lefts(question: Question, resource: TrackedResource) -> dict[str, int]:
    """Unit-seconds that each active allocation has left, with use that no record shows yet put down to them."""
    is_current = limits.is_current(question) or question.watermark is None
    watermark = None if is_current else question.watermark
    lefts = question.charged.lefts(question.now, resource.name, watermark)
    if watermark is None:
        return lefts
    found = limits.unseen_use(question, resource, watermark)
    if found.placed:
        lefts = question.charged.lefts_after(question.now, resource.name, found.placed, watermark)
    return dict(zip(lefts, shares.burdened(list(lefts.values()), found.adrift), strict=True))


def _shares(
    question: Question, resource: TrackedResource, seen: Reading, ceilings: list[_Ceiling], lefts: dict[str, int]
) -> dict[str, _Share]:
    """All QOSes together may use what is left; what counters do not show yet is the use of the only one that runs jobs."""
    listing = [item for item in ceilings if item.terms.uid in lefts]
    running = [MINUTE * item.seen(resource.trackable).running for item in listing]
    rounding = MINUTE * max(0, len(question.qoses) - 1)
    elsewhere = max(0, MINUTE * seen.running - sum(running) - rounding)
    busy = [number for number, amount in enumerate(running) if amount]
    sole = busy[0] if len(busy) == 1 and not elsewhere and limits.is_current(question) else None
    remaining, recent = question.remaining.get(resource.name, 0), question.recent.get(resource.name, 0)
    lag = 0 if sole is None else ceiling.lag(running[sole] // MINUTE, remaining, recent)
    if sole is not None:
        running[sole] -= min(lag, running[sole])
    rooms = shares.shares([lefts[item.terms.uid] for item in listing], running, elsewhere)
    after = question.after_observation.get(resource.name, 0)
    return {
        item.terms.uid: _Share(room, room + after, lag) if number == sole else _Share(room, room)
        for number, (item, room) in enumerate(zip(listing, rooms, strict=True))
    }


def _own_limit(question: Question, resource: TrackedResource, seen: Reading, answer: Answer) -> bool:
    """The account's own limit: none of what its QOSes limit, all closed where it has none; whether that tightens."""
    name = resource.trackable
    is_listed = any(resource.name in item.resources for item in question.active)
    is_open = bool(question.active) and (is_listed or not limits.is_limited(question, resource.name))
    target = UNLIMITED if is_open else FLOOR
    if drift := limits.drift_of(question, name, seen):
        answer.drift.append(drift)
        if limits.only_reports(question):
            return False
    if question.expired and not limits.tightens(target, seen.limit):
        return False
    answer.written[name] = target
    if question.view is None or target != limits.in_force(seen.limit):
        answer.limits[name] = target
    if target != limits.in_force(seen.run_minutes_limit):
        answer.run_minutes[name] = target
    return limits.tightens(target, seen.limit)


def _has_news(question: Question, trackable: str, ceilings: Iterable[_Ceiling]) -> bool:
    """Whether anything is known that the last decision did not know. Then all are decided anew: what one gets, others lose.

    Where its members could get around the QOSes, jobs may run that none of these counts.
    """
    if question.force or question.fresh or _has_fallen(question, trackable, ceilings):
        return True
    if _is_list_edited(question) or (question.view is not None and question.view.own_qos):
        return True
    return any(item.view is None or item.is_edited(trackable) for item in ceilings)


def _write(
    question: Question, resource: TrackedResource, item: _Ceiling, share: _Share | None, answer: Answer, *, has_news: bool
) -> bool:
    """One TRES of one QOS; whether that tightens."""
    name, seen = resource.trackable, item.seen(resource.trackable)
    in_force, written = limits.in_force(seen.limit), item.known.get(name)
    is_drift = item.is_edited(name)
    if is_drift:
        was, now = limits.words(written or 0), limits.words(in_force)
        answer.drift.append(f"{name} limit of QOS {item.name} of {question.account} is {now}, was set to {was}")
        if limits.only_reports(question):
            item.written[name] = written or 0
            return False
    force = question.force or is_drift
    may_stay = share is not None and bool(seen.limit) and not has_news
    target = in_force if may_stay else _target(question, resource, item, share, force=force)
    if limits.holds_back(question, name, seen, target):
        answer.withheld.append(name)
        target = in_force
    if question.expired and not limits.tightens(target, seen.limit):
        target = in_force
    item.written[name] = target
    if target != in_force:
        item.half(target, seen.limit).limits[name] = target
        change = f"{limits.words(in_force)} -> {limits.words(target)}"
        answer.reasons.append(f"{question.account} {name}: QOS {item.name} {change} (counter {seen.counter})")
    if (wall := limits.wall_to_write(question, seen, target)) is not None:
        item.half(wall, seen.run_minutes_limit).run_minutes[name] = wall
    return limits.tightens(target, seen.limit)


def _target(question: Question, resource: TrackedResource, item: _Ceiling, share: _Share | None, *, force: bool) -> int:
    """The limit to have, in TRES-minutes. What only other allocations list is closed here: it would be used at their cost."""
    seen = item.seen(resource.trackable)
    if share is None:
        return FLOOR if limits.is_limited(question, resource.name) else UNLIMITED
    reading = ceiling.Reading(
        counter=seen.counter,
        left_now=share.now,
        left_then=share.then,
        in_force=None if item.view is None else seen.limit,
        lag_seconds=share.lag,
        force=force,
        unit=question.settings.scales.units(resource.name),
    )
    return ceiling.limit(reading)


def _has_fallen(question: Question, trackable: str, ceilings: Iterable[_Ceiling]) -> bool:
    return any(limits.fell(question.samples.get((item.name, trackable), ())) for item in ceilings)


def _list(question: Question, ceilings: list[_Ceiling], answer: Answer) -> None:
    """Which QOSes its jobs may have: all that carry a ceiling, the first with room by default."""
    answer.listed = question.written_list
    seen = question.view.qos_list if question.view else ()
    is_open = any(not qosnames.is_ours(name) for name in seen or ("",))  # its own limits came off: nothing holds its jobs
    names = [item.name for item in ceilings if not question.expired or is_open or item.name in seen]
    if question.keeps_list or not names:
        return
    target = qosnames.ordered(names, _default(question, [item for item in ceilings if item.name in names]))
    if _is_list_edited(question):
        answer.drift.append(f"QOSes of {question.account} are {_words(seen)}, were set to {_words(question.written_list)}")
        if limits.only_reports(question) and target == question.written_list:
            return
    answer.listed = target
    if target != seen:
        answer.qos_list = target
        answer.reasons.append(f"{question.account}: its QOSes are {_words(target)}")


def _is_list_edited(question: Question) -> bool:
    """Whether somebody else wrote which QOSes its jobs may have."""
    if question.view is None or question.in_doubt:
        return False
    return bool(question.written_list) and question.view.qos_list != question.written_list


def _heirs(question: Question, answer: Answer) -> None:
    """A member with QOSes of its own could run jobs under one without any limit, for the account's own came off."""
    users = question.view.own_qos if question.view else frozenset()
    if users:
        answer.drift.append(f"members of {question.account} with QOSes of their own: {', '.join(sorted(users))}")
        answer.inherit_qos = frozenset() if limits.only_reports(question) else users


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(names) or "inherited"


def _default(question: Question, ceilings: list[_Ceiling]) -> str:
    """The first allocation of which enough is left; else the first of which anything is; else the first."""
    for part in (DEFAULT_PART, None):
        for item in ceilings:
            if all(_has_room(question, item, resource, part) for resource in question.settings.resources):
                return item.name
    return ceilings[0].name


def _has_room(question: Question, item: _Ceiling, resource: TrackedResource, part: int | None) -> bool:
    if resource.name not in item.terms.resources:
        return True
    room = item.written[resource.trackable] - item.seen(resource.trackable).counter
    whole = grants.known(item.terms, question.now).room.get(resource.name, 0) // MINUTE
    return room >= 1 and (part is None or room * part >= whole)

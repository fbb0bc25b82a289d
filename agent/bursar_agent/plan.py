"""The plan: from what should be, what was done, what is there and what was used to the changes that mend it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bursar_agent import enforcement, grants, limits, members, qoslimits, wall
from bursar_agent.enforcement import Restriction
from bursar_agent.grants import Charged
from bursar_agent.memory import AccountMemory, Known
from bursar_agent.schedulers.base import MARK, AccountChange, AccountView, Observation, QosView
from bursar_crds import names
from bursar_domain.ceiling import Sample
from bursar_domain.projection import Rate
from bursar_domain.terms import Terms
from bursar_domain.wire import AccountEntry, ClusterSettings

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Use of one account, unit-seconds by resource.

    ``after_observation`` and ``after_watermark``: the part of the counted use that is younger than the observation, or than
    the watermark; ``remaining``: what the records of running jobs may still use; ``recent``: use that a slow counter may not
    show yet. ``committed``: what running jobs may still use, for thresholds; ``rates``: the run rate where one looks at it.
    """

    charged: Charged
    after_observation: Amounts = field(default_factory=dict)
    after_watermark: Amounts = field(default_factory=dict)
    remaining: Amounts = field(default_factory=dict)
    recent: Amounts = field(default_factory=dict)
    committed: Amounts = field(default_factory=dict)
    rates: Mapping[str, Rate] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a plan depends on. ``watermark`` is the second up to which use is complete (None: nothing was read yet).

    ``expired``: the signed state is past its validity, only tightening is left. ``skewed``: our clock and the server's
    differ, so no period is decided. ``fresh``: job records were read in this cycle; where they were not, limits move only for
    a reason of their own. ``in_doubt``: accounts whose last write was never proven.
    ``cycle_seconds``: how often counters are looked at; seen less often, they prove nothing where records are late.
    ``counter_seconds``: how much later than the use they may move.
    """

    settings: ClusterSettings
    entries: Mapping[str, AccountEntry]
    observation: Observation
    figures: Mapping[str, Figures]
    memories: Mapping[str, AccountMemory] = field(default_factory=dict)
    digests: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[tuple[str, str], Sequence[Sample]] = field(default_factory=dict)
    in_doubt: frozenset[str] = frozenset()
    unresolved: Mapping[str, frozenset[str]] = field(default_factory=dict)
    watermark: int | None = None
    expired: bool = False
    skewed: bool = False
    fresh: bool = True
    cycle_seconds: float = float("inf")
    counter_seconds: int = 0

    def digest(self, entry: AccountEntry) -> str:
        """The entry's digest, known from its verification or made now."""
        return self.digests.get(entry.account) or entry.digest()


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What becomes of one account: ``change`` is None where all is right; ``counted`` is what a brake counts.

    ``ceilings``: in limit mode QOS the QOSes of its active allocations, in the order in which they are charged.
    """

    account: str
    memory: AccountMemory
    change: AccountChange | None = None
    restriction: Restriction = enforcement.FREE
    counted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    error: str = ""
    withheld: tuple[str, ...] = ()
    ceilings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """All accounts, and the wall around them."""

    accounts: Mapping[str, AccountPlan]
    root: AccountChange | None = None

    @property
    def changes(self) -> list[AccountChange]:
        """In the order in which they are written: the root account first."""
        found = [plan.change for plan in self.accounts.values() if plan.change is not None]
        return [self.root, *found] if self.root else found

    @property
    def falling_back(self) -> list[str]:
        """Accounts that are held because the scheduler has no QOS for a soft landing."""
        return [name for name, plan in self.accounts.items() if plan.restriction.falls_back]


def make(situation: Situation, right: Mapping[str, AccountPlan] | None = None) -> Plan:
    """The plan for every entry; those that are known to be ``right`` are taken as they are."""
    known = right or {}
    plans = {
        name: known[name] if name in known else _account(situation, entry) for name, entry in sorted(situation.entries.items())
    }
    changes = {name: plan.change for name, plan in plans.items() if plan.change}
    return Plan(plans, wall.root_change(situation.settings, situation.observation, changes, expired=situation.expired))


def _account(situation: Situation, entry: AccountEntry) -> AccountPlan:
    view = situation.observation.accounts.get(entry.account)
    memory = situation.memories.get(entry.account, AccountMemory(entry.account))
    if problem := _problem(situation, entry, view):
        return AccountPlan(entry.account, memory, error=problem)
    if view is None and (entry.closed or situation.expired):
        seen = memory if situation.expired else AccountMemory(entry.account, situation.digest(entry), members=entry.members)
        return AccountPlan(entry.account, seen)
    state = _state(situation, entry, memory, view)
    if situation.skewed and memory.entry_digest and memory.starts() != {uid: item.start for uid, item in state.windows.items()}:
        return AccountPlan(entry.account, memory, error="no period is decided while the clocks differ; mend the clock")
    return _planned(situation, entry, memory, state)


def _problem(situation: Situation, entry: AccountEntry, view: AccountView | None) -> str:
    """Why the account can't be planned at all."""
    if not names.is_account(entry.account):
        return f"account {entry.account!r}: {names.HELP[names.ACCOUNT_PATTERN]}; nothing was done for it"
    if view is not None and not view.owned:
        root = situation.settings.root_account
        return f"account {entry.account} is not ours (not below {root}, or without our mark); rename one of the two"
    if situation.settings.limit_mode == "QOS" and situation.observation.qoses is None:
        return "limitMode QOS: this scheduler has no QOS that could carry a ceiling; set spec.limitMode to Account"
    if entry.account not in situation.figures:
        return "use was not read yet; nothing is written before it is"
    if name := situation.figures[entry.account].charged.grants.without_windows:
        return f"allocation {name} comes without windows, from a control plane that is too old; its limits stay as they are"
    return ""


@dataclass(frozen=True, slots=True)
class _State:
    """One account at the time of the observation. ``dated``: its room moved, and only as was signed long before.

    ``is_idle``: in limit mode QOS, no allocation is active; its own counter may decay, so that it is held beside its limit.
    """

    view: AccountView | None
    active: Sequence[Terms]
    windows: Mapping[str, Known]
    room: Amounts
    dated: bool
    changed: bool
    restriction: Restriction
    is_idle: bool = False


def _state(situation: Situation, entry: AccountEntry, memory: AccountMemory, view: AccountView | None) -> _State:
    now, figures = situation.observation.time, situation.figures[entry.account]
    laid_out = figures.charged.grants
    active = laid_out.active(now)
    windows = {item.uid: grants.known(item, now) for item in active}
    room = grants.total(windows)
    same_entry = memory.entry_digest == situation.digest(entry)
    moved = memory.starts() != {uid: item.start for uid, item in windows.items()} or room != dict(memory.room)
    is_rolled = bool(memory.windows) and not entry.closed and not grants.takes_away(laid_out, memory.windows, now)
    restriction = enforcement.decide(
        figures.charged,
        memory,
        now,
        committed=figures.committed,
        rates=figures.rates,
        soft_land_qos=situation.observation.soft_land_qos,
    )
    is_idle = situation.settings.limit_mode == "QOS" and not active
    return _State(view, active, windows, room, moved and (same_entry or is_rolled), moved, restriction, is_idle)


def _planned(situation: Situation, entry: AccountEntry, memory: AccountMemory, state: _State) -> AccountPlan:
    doubtful = entry.account in situation.in_doubt
    is_unproven = doubtful and not memory.entry_digest
    question = limits.Question(
        account=entry.account,
        settings=situation.settings,
        view=state.view,
        now=situation.observation.time,
        watermark=situation.watermark,
        active=state.active,
        charged=situation.figures[entry.account].charged,
        after_observation=situation.figures[entry.account].after_observation,
        after_watermark=situation.figures[entry.account].after_watermark,
        remaining=situation.figures[entry.account].remaining,
        recent=situation.figures[entry.account].recent,
        samples=situation.samples,
        written={} if doubtful else memory.limits,
        room=state.room,
        known_room=memory.room if memory.entry_digest else None,
        is_unproven=is_unproven,
        force=state.changed or doubtful or _is_switched(situation, memory, state),
        fresh=situation.fresh,
        expired=situation.expired,
        caps=state.restriction.caps,
        known_caps=memory.caps,
        in_doubt=doubtful,
        widest_seconds=2 * situation.cycle_seconds,
        counter_seconds=situation.counter_seconds,
        qoses=_qoses(situation, entry, memory),
        written_qoses=memory.qoses,
        written_list=(memory.qos,) if memory.qos else memory.qos_list,
        keeps_list=bool(state.restriction.qos or (situation.expired and state.view and state.view.qos)),
    )
    answer = _limits(question)
    roster = members.decide(situation, entry, memory, state.view)
    switches = _switches(situation, state, memory, doubtful=doubtful)
    change = AccountChange(
        account=entry.account,
        create=state.view is None,
        description=f"{MARK}{entry.project}" if state.view is None else "",
        parent=situation.settings.root_account if state.view is None else "",
        limits=answer.limits,
        run_minutes=answer.run_minutes,
        concurrent=answer.concurrent,
        held=switches.held,
        blocked=switches.blocked,
        qos=switches.qos,
        qoses=tuple(answer.qoses),
        qos_list=answer.qos_list,
        inherit_qos=answer.inherit_qos,
        add_members=roster.add,
        remove_members=roster.remove,
    )
    is_new = memory.entry_digest != situation.digest(entry) and not is_unproven
    counted = _counted(entry, state, answer, switches, roster.remove, is_new=is_new)
    kept = _remembered(situation, entry, memory, state, answer, switches)
    return AccountPlan(
        account=entry.account,
        memory=kept,
        change=change if change != AccountChange(entry.account) else None,
        restriction=state.restriction,
        counted=counted,
        reasons=(*answer.reasons, *switches.reasons, *roster.reasons),
        drift=(*answer.drift, *switches.drift, *roster.drift),
        error=roster.error,
        withheld=tuple(answer.withheld),
        ceilings=_ceilings(situation, entry, state),
    )


def _is_switched(situation: Situation, memory: AccountMemory, state: _State) -> bool:
    """Whether the limits move from the account to its QOSes or back. What somebody edited must not hold there by itself."""
    if situation.settings.limit_mode == "QOS":
        return bool(state.active) and not memory.qos_list
    return bool(memory.qoses or memory.qos_list)


def _limits(question: limits.Question) -> limits.Answer:
    if question.settings.limit_mode == "QOS":
        return qoslimits.decide(question)
    answer = limits.decide(question)
    qoslimits.leave(question, answer)
    return answer


def _ceilings(situation: Situation, entry: AccountEntry, state: _State) -> tuple[str, ...]:
    if situation.settings.limit_mode != "QOS":
        return ()
    names = _names(situation, entry)
    return tuple(names[item.uid] for item in state.active)


def _names(situation: Situation, entry: AccountEntry) -> Mapping[str, str]:
    return qoslimits.names_of(situation.settings, situation.figures[entry.account].charged.grants)


def _qoses(situation: Situation, entry: AccountEntry, memory: AccountMemory) -> Mapping[str, QosView]:
    """Those of the account that are there; nothing is looked for where no QOS was read."""
    seen = situation.observation.qoses
    if not seen:
        return {}
    return {name: seen[name] for name in {*_names(situation, entry).values(), *memory.qoses} if name in seen}


@dataclass(slots=True)
class _Switches:
    """GrpJobs=0, GrpSubmitJobs=0 and the only QOS: what to write (None leaves it), and what will have been written."""

    held: bool | None = None
    blocked: bool | None = None
    qos: str | None = None
    known: dict[str, Any] = field(default_factory=dict)
    tightened: list[str] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)


_SWITCHES: Final = (("held", "hold", "let go"), ("blocked", "block", "unblock"), ("qos", "soft-land", "take off"))


def _switches(situation: Situation, state: _State, memory: AccountMemory, *, doubtful: bool) -> _Switches:
    """Set what the ladder asks for and undo it as soon as it no longer does. Past its validity a state undoes nothing."""
    found = _Switches()
    view = state.view or AccountView(memory.account, owned=True)
    for name, do, undo in _SWITCHES:
        target, seen, written = getattr(state.restriction, name), getattr(view, name), getattr(memory, name)
        target = True if name == "held" and state.is_idle else target
        found.known[name] = seen
        if state.view is not None and memory.entry_digest and not doubtful and seen != written:
            found.drift.append(f"{memory.account}: {name} is {seen or 'no'}, was set to {written or 'no'}")
            if situation.settings.drift_limits != "Enforce" and target == written:
                found.known[name] = written
                continue
        if target == seen or (situation.expired and not target):
            continue
        setattr(found, name, target)
        found.known[name] = target
        found.reasons.append(
            f"{memory.account}: {do if target else undo}" + (f" ({target})" if isinstance(target, str) else "")
        )
        found.tightened += [f"{do} {memory.account}"] if target else []
    return found


def _counted(
    entry: AccountEntry,
    state: _State,
    answer: limits.Answer,
    switches: _Switches,
    removed: frozenset[str],
    *,
    is_new: bool,
) -> tuple[str, ...]:
    """What takes something away and was not dated by a signature: lowered limits, removals, restrictions nothing explains.

    A restriction counts only if the entry changed or the limit falls too: otherwise the scheduler's own counter agrees that
    the hours are used.
    """
    if state.view is None or state.dated:
        return ()
    found = list(answer.lowered)
    if is_new or answer.lowered:
        found += switches.tightened
        found += [f"throttle {entry.account}"] if answer.throttled else []
    found += [f"remove {user} from {entry.account}" for user in sorted(removed)]
    return tuple(found)


def _remembered(
    situation: Situation,
    entry: AccountEntry,
    memory: AccountMemory,
    state: _State,
    answer: limits.Answer,
    switches: _Switches,
) -> AccountMemory:
    """What will be remembered once the change is proven."""
    return AccountMemory(
        account=entry.account,
        entry_digest=memory.entry_digest if situation.expired else situation.digest(entry),
        windows=state.windows,
        room=state.room,
        rules=state.restriction.rules,
        limits={**memory.limits, **answer.written},
        caps=answer.caps,
        members=entry.members if not situation.expired else memory.members,
        qoses=answer.written_qoses,
        qos_list=answer.listed,
        **switches.known,
    )

"""The plan: from what should be, what was done, what is there and what was used to the changes that mend it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_agent import grants, limits, members, wall
from bursar_agent.memory import AccountMemory
from bursar_agent.schedulers.base import AccountChange, AccountView, Observation
from bursar_crds import names
from bursar_domain import thresholds
from bursar_domain.balance import AccountBalance, Grant
from bursar_domain.ceiling import Sample
from bursar_domain.thresholds import Action
from bursar_domain.wire import AccountEntry, ClusterSettings

MARK = "bursar:"
Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Figures:
    """Use of one account, unit-seconds by resource.

    ``after_observation`` and ``after_watermark``: the part of the counted use that is younger than the observation, or than
    the watermark; ``remaining``: what the records of running jobs may still use; ``recent``: use that a slow counter may not
    show yet.
    """

    balance: AccountBalance
    after_observation: Amounts = field(default_factory=dict)
    after_watermark: Amounts = field(default_factory=dict)
    remaining: Amounts = field(default_factory=dict)
    recent: Amounts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Situation:
    """Everything a plan depends on. ``watermark`` is the second up to which use is complete (None: nothing was read yet).

    ``expired``: the signed state is past its validity, only tightening is left. ``skewed``: our clock and the server's
    differ, so no period is decided. ``fresh``: job records were read in this cycle; where they were not, limits move only for
    a reason of their own. ``in_doubt``: accounts whose last write was never proven.
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

    def digest(self, entry: AccountEntry) -> str:
        """The entry's digest, known from its verification or made now."""
        return self.digests.get(entry.account) or entry.digest()


@dataclass(frozen=True, slots=True)
class AccountPlan:
    """What becomes of one account: ``change`` is None where all is right; ``counted`` is what a brake counts."""

    account: str
    memory: AccountMemory
    change: AccountChange | None = None
    action: Action = Action.NONE
    counted: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    error: str = ""
    withheld: tuple[str, ...] = ()


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


def make(situation: Situation) -> Plan:
    """The plan for every entry."""
    plans = {name: _account(situation, entry) for name, entry in sorted(situation.entries.items())}
    changes = {name: plan.change for name, plan in plans.items() if plan.change}
    return Plan(plans, wall.root_change(situation.settings, situation.observation, changes, expired=situation.expired))


def _account(situation: Situation, entry: AccountEntry) -> AccountPlan:
    view = situation.observation.accounts.get(entry.account)
    memory = situation.memories.get(entry.account, AccountMemory(entry.account))
    if problem := _problem(situation, entry, view):
        return AccountPlan(entry.account, memory, error=problem)
    if view is None and (entry.closed or situation.expired):
        return AccountPlan(entry.account, memory if situation.expired else _remembered(situation, entry, memory, ()))
    state = _state(situation, entry, memory, view)
    if situation.skewed and memory.entry_digest and memory.active != state.active_uids:
        return AccountPlan(entry.account, memory, error="no period is decided while the clocks differ; mend the clock")
    return _planned(situation, entry, memory, state)


def _problem(situation: Situation, entry: AccountEntry, view: AccountView | None) -> str:
    """Why the account can't be planned at all."""
    if not names.is_account(entry.account):
        return f"account {entry.account!r}: {names.HELP[names.ACCOUNT_PATTERN]}; nothing was done for it"
    if view is not None and not view.owned:
        root = situation.settings.root_account
        return f"account {entry.account} is not ours (not below {root}, or without our mark); rename one of the two"
    return "" if entry.account in situation.figures else "use was not read yet; nothing is written before it is"


@dataclass(frozen=True, slots=True)
class _State:
    """One account at the time of the observation."""

    view: AccountView | None
    active: Sequence[Grant]
    active_uids: tuple[str, ...]
    room: Amounts
    dated: bool
    changed: bool
    rules: Mapping[str, tuple[str, ...]]
    action: Action
    held: bool


def _state(situation: Situation, entry: AccountEntry, memory: AccountMemory, view: AccountView | None) -> _State:
    now = situation.observation.time
    active = [] if entry.closed else grants.active(grants.grants_of(entry, now), now)
    uids, room = tuple(sorted(grant.uid for grant in active)), grants.room(active)
    same_entry = memory.entry_digest == situation.digest(entry)
    moved = uids != memory.active or room != dict(memory.room)
    rules, actions = _thresholds(situation.figures[entry.account].balance, entry, active, memory)
    held = entry.closed or (bool(actions) and all(action is Action.HOLD for action in actions))
    action = Action.BLOCK if entry.closed else max(actions, key=thresholds.LADDER.index, default=Action.NONE)
    effective = Action.NOTIFY if action is Action.HOLD and not held else action
    return _State(view, active, uids, room, same_entry and moved, moved, rules, effective, held)


def _thresholds(
    balance: AccountBalance, entry: AccountEntry, active: Sequence[Grant], memory: AccountMemory
) -> tuple[dict[str, tuple[str, ...]], list[Action]]:
    """Rules in force by uid, and the strongest action of each active allocation; an account stops when all of them do."""
    by_uid = {allocation.uid: allocation for allocation in entry.allocations}
    keys, actions = {}, []
    for grant in active:
        rules, account = grants.rules(by_uid[grant.uid]), balance.allocations[grant.uid]
        now_in_force = thresholds.in_force(rules, account.booked(), account.granted, memory.rules.get(grant.uid, ()))
        keys[grant.uid] = tuple(sorted(now_in_force))
        actions.append(thresholds.strongest(rules, now_in_force))
    return keys, actions


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
        balance=situation.figures[entry.account].balance,
        after_observation=situation.figures[entry.account].after_observation,
        after_watermark=situation.figures[entry.account].after_watermark,
        remaining=situation.figures[entry.account].remaining,
        recent=situation.figures[entry.account].recent,
        samples=situation.samples,
        written={} if doubtful else memory.limits,
        room=state.room,
        known_room=memory.room if memory.entry_digest else None,
        is_unproven=is_unproven,
        force=state.changed or doubtful,
        fresh=situation.fresh,
        expired=situation.expired,
    )
    answer = limits.decide(question)
    roster = members.decide(situation, entry, memory, state.view)
    held = _held(situation, state)
    change = AccountChange(
        account=entry.account,
        create=state.view is None,
        description=f"{MARK}{entry.project}" if state.view is None else "",
        parent=situation.settings.root_account if state.view is None else "",
        limits=answer.limits,
        run_minutes=answer.run_minutes,
        concurrent=answer.concurrent,
        held=held,
        add_members=roster.add,
        remove_members=roster.remove,
    )
    is_new = memory.entry_digest != situation.digest(entry) and not is_unproven
    counted = _counted(entry, state, answer, held, roster.remove, is_new=is_new)
    kept = _remembered(situation, entry, memory, state.active_uids, state, answer.written)
    is_needed = bool(change.create or change.limits or change.run_minutes or change.concurrent or held is not None) or bool(
        roster.add | roster.remove
    )
    return AccountPlan(
        account=entry.account,
        memory=kept,
        change=change if is_needed else None,
        action=state.action,
        counted=counted,
        reasons=(*answer.reasons, *roster.reasons),
        drift=(*answer.drift, *roster.drift),
        error=roster.error,
        withheld=tuple(answer.withheld),
    )


def _held(situation: Situation, state: _State) -> bool | None:
    """What to write of GrpJobs=0, or None."""
    is_held = state.view.held if state.view else False
    if is_held == state.held or (situation.expired and not state.held):
        return None
    return state.held


def _counted(
    entry: AccountEntry,
    state: _State,
    answer: limits.Answer,
    held: bool | None,
    removed: frozenset[str],
    *,
    is_new: bool,
) -> tuple[str, ...]:
    """What takes something away and was not dated by a signature: lowered limits, holds that nothing explains, removals.

    A hold counts only if the entry changed or the limit falls too: otherwise the scheduler's own counter agrees that the
    hours are used.
    """
    if state.view is None or state.dated:
        return ()
    found = list(answer.lowered)
    if held and (is_new or answer.lowered):
        found.append(f"{'block' if entry.closed else 'hold'} {entry.account}")
    found += [f"remove {user} from {entry.account}" for user in sorted(removed)]
    return tuple(found)


def _remembered(
    situation: Situation,
    entry: AccountEntry,
    memory: AccountMemory,
    active: tuple[str, ...],
    state: _State | None = None,
    written: Amounts | None = None,
) -> AccountMemory:
    """What will be remembered once the change is proven."""
    return AccountMemory(
        account=entry.account,
        entry_digest=memory.entry_digest if situation.expired else situation.digest(entry),
        active=active,
        room=dict(state.room) if state else {},
        rules=dict(state.rules) if state else {},
        limits={**memory.limits, **(written or {})},
        members=entry.members if not situation.expired else memory.members,
        held=state.held if state else False,
    )

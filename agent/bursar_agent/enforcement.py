"""The ladder at one account: which thresholds are in force, and how far that restricts it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_agent import grants
from bursar_agent.grants import Charged
from bursar_agent.memory import AccountMemory
from bursar_domain import ladder
from bursar_domain.fold import WindowBooks
from bursar_domain.ladder import LADDER, Action
from bursar_domain.projection import Rate
from bursar_domain.standings import Account
from bursar_domain.terms import Terms

Amounts = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Restriction:
    """How far an account is restricted. ``caps``: units in use at one time by Bursar's resource name (Throttle).

    ``falls_back``: it should land softly, and the scheduler has no QOS for that, so it is held.
    """

    action: Action = Action.NONE
    actions: Mapping[str, Action] = field(default_factory=dict)
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    caps: Amounts = field(default_factory=dict)
    qos: str = ""
    falls_back: bool = False

    @property
    def held(self) -> bool:
        """No job may start."""
        return self.action in (Action.HOLD, Action.BLOCK)

    @property
    def blocked(self) -> bool:
        """No job may be handed in."""
        return self.action is Action.BLOCK


FREE = Restriction()
CLOSED = Restriction(Action.BLOCK)


def decide(
    charged: Charged,
    memory: AccountMemory,
    now: int,
    *,
    committed: Amounts,
    rates: Mapping[str, Rate],
    soft_land_qos: str,
) -> Restriction:
    """Thresholds of each active allocation, and what they make of the account.

    It is restricted only as far as the least restricted allocation that has any room: its hours may still be used.
    """
    if charged.grants.entry.closed:
        return CLOSED
    active = charged.grants.active(now)
    ruled = [item for item in active if item.uid in charged.grants.rules]
    if not any(charged.grants.rules[item.uid] for item in ruled):
        return Restriction(actions=dict.fromkeys((item.uid for item in ruled), Action.NONE))
    books = {item.uid: grants.window_books(charged, item, now) for item in active}
    account = Account(active, books, now, committed, rates)
    rules, actions = {}, {}
    for item in ruled:
        own = charged.grants.rules[item.uid]
        keys = ladder.in_force(own, account.standings(item), _before(memory, item, now))
        rules[item.uid] = tuple(sorted(keys))
        actions[item.uid] = ladder.strongest(own, keys)
    action = _least(ruled, books, actions)
    return _restriction(action, actions, rules, account, soft_land_qos)


def _before(memory: AccountMemory, terms: Terms, now: int) -> tuple[str, ...]:
    """Rules in force so far; none yet in a window that has just begun."""
    known = memory.windows.get(terms.uid)
    if known is not None and known.start != terms.windows[terms.index(now)].start:
        return ()
    return memory.rules.get(terms.uid, ())


def _least(ruled: Sequence[Terms], books: Mapping[str, Mapping[str, WindowBooks]], actions: Mapping[str, Action]) -> Action:
    funded = [item.uid for item in ruled if any(own.room > 0 for own in books[item.uid].values())]
    return min((actions[uid] for uid in funded or actions), key=LADDER.index, default=Action.NONE)


def _restriction(
    action: Action,
    actions: Mapping[str, Action],
    rules: Mapping[str, tuple[str, ...]],
    account: Account,
    soft_land_qos: str,
) -> Restriction:
    lands = action is Action.SOFT_LAND
    falls_back = lands and not soft_land_qos
    return Restriction(
        action=Action.HOLD if falls_back else action,
        actions=actions,
        rules=rules,
        caps=_caps(account) if action is Action.THROTTLE else {},
        qos=soft_land_qos if lands else "",
        falls_back=falls_back,
    )


def _caps(account: Account) -> dict[str, int]:
    """Units that use the rest up evenly until the windows end, at least one."""
    found: dict[str, int] = {}
    for item in account.giving:
        seconds = item.closes(account.now) - account.now
        for name in item.resources:
            found[name] = found.get(name, 0) + account.room_left(item, name) // seconds
    return {name: max(1, units) for name, units in found.items()}

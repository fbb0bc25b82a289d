"""The ladder at one account: which thresholds are in force, and how far that restricts it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from bursar_agent import grants
from bursar_agent.grants import Charged
from bursar_agent.memory import AccountMemory
from bursar_domain import ladder
from bursar_domain.fold import WindowBooks
from bursar_domain.ladder import LADDER, Action, Standing
from bursar_domain.projection import Rate
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
    rules, actions = {}, {}
    for item in ruled:
        own = charged.grants.rules[item.uid]
        standings = _standings(active, books, item, now, committed, rates)
        keys = ladder.in_force(own, standings, _before(memory, item, now))
        rules[item.uid] = tuple(sorted(keys))
        actions[item.uid] = ladder.strongest(own, keys)
    action = _least(ruled, books, actions)
    return _restriction(action, actions, rules, active, books, now, soft_land_qos)


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
    active: Sequence[Terms],
    books: Mapping[str, Mapping[str, WindowBooks]],
    now: int,
    soft_land_qos: str,
) -> Restriction:
    lands = action is Action.SOFT_LAND
    falls_back = lands and not soft_land_qos
    return Restriction(
        action=Action.HOLD if falls_back else action,
        actions=actions,
        rules=rules,
        caps=_caps(active, books, now) if action is Action.THROTTLE else {},
        qos=soft_land_qos if lands else "",
        falls_back=falls_back,
    )


def _standings(
    active: Sequence[Terms],
    books: Mapping[str, Mapping[str, WindowBooks]],
    terms: Terms,
    now: int,
    committed: Amounts,
    rates: Mapping[str, Rate],
) -> dict[str, Standing]:
    """What the account will still use falls to its allocations in the order in which they are charged."""
    found = {}
    for name, own in books[terms.uid].items():
        before = sum(_room_left(books[item.uid], name) for item in active[: active.index(terms)])
        is_last = not any(name in item.resources for item in active[active.index(terms) + 1 :])
        most = None if is_last else _room_left(books[terms.uid], name)
        rate = rates.get(name)
        ahead = None if rate is None else _share(rate.over(grants.seconds_left(terms, now)), before, most)
        found[name] = Standing.of(own, _share(committed.get(name, 0), before, most), ahead)
    return found


def _room_left(books: Mapping[str, WindowBooks], name: str) -> int:
    return max(0, books[name].left) if name in books else 0


def _share(amount: int, before: int, most: int | None) -> int:
    rest = max(0, amount - before)
    return rest if most is None else min(rest, most)


def _caps(active: Sequence[Terms], books: Mapping[str, Mapping[str, WindowBooks]], now: int) -> dict[str, int]:
    """Units that use the rest up evenly until the windows end, at least one."""
    found: dict[str, int] = {}
    for item in active:
        seconds = grants.seconds_left(item, now)
        for name in item.resources:
            found[name] = found.get(name, 0) + _room_left(books[item.uid], name) // seconds
    return {name: max(1, units) for name, units in found.items()}

"""Who is added to an account and who is taken out of it. Pure."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bursar_agent.memory import AccountMemory
from bursar_agent.schedulers.base import AccountView
from bursar_crds import names
from bursar_domain.wire import AccountEntry

if TYPE_CHECKING:
    from bursar_agent.plan import Situation


@dataclass(frozen=True, slots=True)
class Roster:
    """Changes of members, and what was noticed."""

    add: frozenset[str] = frozenset()
    remove: frozenset[str] = frozenset()
    reasons: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    error: str = ""


def decide(situation: "Situation", entry: AccountEntry, memory: AccountMemory, view: AccountView | None) -> Roster:
    """Add whom the entry lists; take out whom it no longer lists.

    Somebody whom we never added is taken out only where the Cluster says that drift of members is mended.
    """
    if situation.expired:
        return Roster()
    wanted = frozenset(user for user in entry.members if names.is_user(user))
    seen = view.members if view else frozenset()
    ours = frozenset(memory.members)
    mends = situation.settings.drift_members == "Enforce"
    later = situation.unresolved.get(entry.account, frozenset())
    add = frozenset() if entry.closed else wanted - seen - later
    remove = frozenset() if entry.closed else frozenset(user for user in seen - wanted if user in ours or mends)
    foreign = sorted(seen - wanted - ours)
    lost = sorted((wanted & ours) - seen) if view is not None and not entry.closed else []
    bad = sorted(frozenset(entry.members) - wanted)
    return Roster(
        add=add,
        remove=remove,
        reasons=_reasons(entry.account, add, remove),
        drift=(
            *(f"{user} is a member of {entry.account}, and no membership says so" for user in foreign),
            *(f"{user} was taken out of {entry.account} by somebody" for user in lost if user not in later),
        ),
        error=f"{bad[0]!r}: {names.HELP[names.USER_PATTERN]}; left out" if bad else "",
    )


def _reasons(account: str, add: frozenset[str], remove: frozenset[str]) -> tuple[str, ...]:
    added = (f"{account}: add {', '.join(sorted(add))}",) if add else ()
    removed = (f"{account}: remove {', '.join(sorted(remove))}",) if remove else ()
    return added + removed

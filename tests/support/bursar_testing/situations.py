"""Situations of one account, and the plan that follows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from bursar_agent import grants, plan
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import Figures, Situation
from bursar_agent.schedulers.base import AccountChange, AccountView, Observation, Reading
from bursar_domain.units import UNSCALED
from bursar_domain.wire import AccountEntry, ClusterSettings
from bursar_testing.agents import cluster_settings

NOW: Final = 1_000_000_800
HOUR: Final = 3600


def view(name: str = "aa", readings: Mapping[str, Reading] | None = None, **fields: Any) -> AccountView:
    """An account of ours."""
    given: dict[str, Any] = {"owned": True, "parent": "bursar", "readings": readings or {}}
    return AccountView(name, **(given | fields))


def situation(
    entry: AccountEntry,
    seen: AccountView | None,
    *,
    used_hours: int = 0,
    settings: ClusterSettings | None = None,
    use: Mapping[str, Sequence[tuple[int, int]]] | None = None,
    now: int = NOW,
    soft_land_qos: str = "",
    figures: Figures | None = None,
    **fields: Any,
) -> Situation:
    """One account; ``used_hours`` of cpu were used an hour ago, or ``use`` says (second, hours) by resource."""
    hours = {"cpu": [(now - HOUR, used_hours)]} if use is None else use
    sums = {name: [(at, UNSCALED.seconds_from_hours(name, n)) for at, n in items if n] for name, items in hours.items()}
    views = {seen.account: seen} if seen else {}
    root = view("bursar", {"cpu": Reading(limit=10**9)}, parent="root")
    given: dict[str, Any] = {
        "settings": settings or cluster_settings("c"),
        "entries": {entry.account: entry},
        "observation": Observation(now, views, root, soft_land_qos=soft_land_qos),
        "figures": {entry.account: figures or Figures(grants.charge(grants.lay_out(entry), sums))},
        "watermark": now,
    }
    return Situation(**(given | fields))


def one(given: Situation) -> plan.AccountPlan:
    """The plan of the only account."""
    (found,) = plan.make(given).accounts.values()
    return found


def change(given: Situation) -> AccountChange:
    """What is to be written."""
    found = one(given).change
    assert found is not None
    return found


def remembered(entry: AccountEntry, now: int = NOW, **fields: Any) -> dict[str, AccountMemory]:
    """What is remembered after this entry was carried out."""
    windows = {terms.uid: grants.known(terms, now) for terms in grants.lay_out(entry).active(now)}
    given: dict[str, Any] = {
        "entry_digest": entry.digest(),
        "windows": windows,
        "room": grants.total(windows),
        "members": entry.members,
    }
    return {entry.account: AccountMemory(entry.account, **(given | fields))}

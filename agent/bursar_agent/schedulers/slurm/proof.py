"""Read-back: what of a change does Slurm not show yet? Pure; exit codes play no part in it."""

from collections.abc import Callable, Mapping

from bursar_agent import qosnames
from bursar_agent.schedulers.base import AccountChange, AccountView, QosChange, QosView, Reading
from bursar_domain.ceiling import UNLIMITED


def unproven(change: AccountChange, view: AccountView | None, qoses: Mapping[str, QosView] | None = None) -> str:
    """The first thing that Slurm shows otherwise, or ""."""
    if view is None:
        return "the account is not there"
    return (
        next((why for item in change.qoses if (why := _qos(item, (qoses or {}).get(item.name)))), "")
        or _list(change, view)
        or _heirs(change, view)
        or _parent(change, view)
        or _amounts("limit", change.limits, view, lambda reading: reading.limit)
        or _amounts("GrpTRESRunMins", change.run_minutes, view, lambda reading: reading.run_minutes_limit)
        or _amounts("GrpTRES", change.concurrent, view, lambda reading: reading.concurrent_limit)
        or _hold(change, view)
        or _confinement(change, view)
        or _members(change, view)
    )


def _qos(item: QosChange, view: QosView | None) -> str:
    if view is None:
        return f"QOS {item.name} is not there"
    if (item.create or item.lasting) and not view.is_lasting:
        return f"QOS {item.name} lacks the flag that its counters never decay"
    differs = _amounts("limit", item.limits, view, lambda reading: reading.limit) or _amounts(
        "GrpTRESRunMins", item.run_minutes, view, lambda reading: reading.run_minutes_limit
    )
    return f"of QOS {item.name} {differs}" if differs else ""


def _list(change: AccountChange, view: AccountView) -> str:
    """An empty list gave back those from before: none of ours is among them."""
    if change.qos_list is None or change.qos:
        return ""
    wanted = change.qos_list
    is_right = view.qos_list == wanted if wanted else not any(qosnames.is_ours(name) for name in view.qos_list)
    return "" if is_right else f"its QOSes are {_names(view.qos_list)}, not {_names(wanted)}"


def _heirs(change: AccountChange, view: AccountView) -> str:
    still = sorted(change.inherit_qos & view.own_qos)
    return f"members with QOSes of their own: {', '.join(still)}" if still else ""


def _names(listed: tuple[str, ...]) -> str:
    return ", ".join(listed) or "those from before"


def _parent(change: AccountChange, view: AccountView) -> str:
    if change.create and change.parent and view.parent != change.parent:
        return f"its parent is {view.parent}, not {change.parent}"
    return ""


def _amounts(what: str, wanted: Mapping[str, int], view: AccountView | QosView, read: Callable[[Reading], int | None]) -> str:
    for name, amount in wanted.items():
        shown = read(view.readings.get(name, Reading()))
        if shown != (None if amount == UNLIMITED else amount):
            return f"{what} of {name} is {'none' if shown is None else shown}, not {'none' if amount == UNLIMITED else amount}"
    return ""


def _hold(change: AccountChange, view: AccountView) -> str:
    if change.held is None or change.held == view.held:
        return ""
    return f"it is {'held' if view.held else 'not held'}"


def _confinement(change: AccountChange, view: AccountView) -> str:
    if change.blocked is not None and change.blocked != view.blocked:
        return f"it is {'blocked' if view.blocked else 'not blocked'}"
    if change.qos is not None and change.qos != view.qos:
        return f"its jobs may have {f'QOS {view.qos} alone' if view.qos else 'more than one QOS'}"
    return ""


def _members(change: AccountChange, view: AccountView) -> str:
    if absent := sorted(change.add_members - view.members):
        return f"not members yet: {', '.join(absent)}"
    if present := sorted(change.remove_members & view.members):
        return f"still members: {', '.join(present)}"
    return ""

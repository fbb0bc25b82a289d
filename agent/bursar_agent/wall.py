"""The root account: the last wall around all accounts, should single limits fail. Pure."""

from collections.abc import Mapping

from bursar_agent.schedulers.base import AccountChange, AccountView, Observation, Reading
from bursar_domain import ceiling
from bursar_domain.ceiling import UNLIMITED, Child
from bursar_domain.wire import ClusterSettings

ROOT_MARK = "bursar:root"
TOP = "root"


def root_change(
    settings: ClusterSettings, observation: Observation, changes: Mapping[str, AccountChange], *, expired: bool
) -> AccountChange | None:
    """What to write at the root account so that it holds its children as they will be; None where it is right."""
    root = observation.root
    if root is None and (expired or not changes):
        return None
    limits = {}
    for resource in settings.resources:
        name = resource.trackable
        in_force = root.readings.get(name, Reading()).limit if root else None
        target = _target(settings, observation, changes, name, in_force)
        is_tighter = target != UNLIMITED and (in_force is None or target < in_force)
        if target != (UNLIMITED if in_force is None else in_force) and (is_tighter or not expired):
            limits[name] = target
    if root is None:
        return AccountChange(settings.root_account, create=True, description=ROOT_MARK, parent=TOP, limits=limits)
    return AccountChange(settings.root_account, limits=limits) if limits else None


def _target(
    settings: ClusterSettings,
    observation: Observation,
    changes: Mapping[str, AccountChange],
    name: str,
    in_force: int | None,
) -> int:
    """Counter plus every child's head-room; none where one child has no limit.

    Counters are whole minutes: those of n children may add up to n - 1 less than the parent's. A wall is written that much
    higher, so that rounding alone never makes it too low.
    """
    below = {
        account: view for account, view in observation.accounts.items() if view.owned or view.parent == settings.root_account
    }
    children = [_child(below.get(account), changes.get(account), name) for account in {*below, *changes}]
    if any(child is None for child in children):
        return UNLIMITED
    counter = observation.root.readings.get(name, Reading()).counter if observation.root else 0
    limited = [child for child in children if child is not None]
    wall = ceiling.parent(counter, limited, in_force)
    return wall if wall == in_force else wall + max(0, len(limited) - 1)


def _child(view: AccountView | None, change: AccountChange | None, name: str) -> Child | None:
    """Limit as it will be, counter, running remainder; None for no limit."""
    seen = view.readings.get(name, Reading()) if view else Reading()
    limit = change.limits.get(name, seen.limit) if change else seen.limit
    if limit is None or limit == UNLIMITED:
        return None
    return Child(limit, seen.counter, seen.running)

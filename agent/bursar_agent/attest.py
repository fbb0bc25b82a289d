"""`bursar-agent attest`: states that the scheduler lets an allocation's jobs run no longer, from what it says itself.

For an agent that can't report: the way out of a deletion that waits for it. Nothing of the agent's own memory is believed but
its key and the cluster's settings; nothing is written at the scheduler.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bursar_agent import identity, plugins, qosnames
from bursar_agent.desired import DesiredStore
from bursar_agent.identity import Identity
from bursar_agent.promises import Promises
from bursar_agent.schedulers.base import AccountChange, AccountView, Observation, QosChange, QosView, Reading, Scheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.verify import DesiredState
from bursar_domain import release
from bursar_domain.ceiling import FLOOR
from bursar_domain.release import ReleaseStatement, SeenLimit, SignedStatement
from bursar_domain.wire import ClusterSettings


class NotAttested(Exception):
    """The scheduler does not say what would have to be stated."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What is to be stated: nothing of revision ``revision`` of the allocation ``uid`` is left in ``account``.

    ``used_since``: from when on its use is unknown to the books, on the scheduler's clock. ``resources``: of which it had
    hours; empty for what the last desired state says of it, or else all that the cluster has.
    """

    account: str
    uid: str
    revision: int
    used_since: int
    resources: tuple[str, ...] = ()


async def attest(settings: AgentSettings, claim: Claim, wall: Callable[[], float] = time.time) -> SignedStatement:
    """The signed statement; NotAttested says what stands against it. The state directory must be locked by the caller."""
    directory = settings.state_directory
    known = identity.load(directory, settings.cluster)
    state = _desired(directory, known)
    cluster, resources = state.settings, claim.resources or _resources(state, claim)
    promises = Promises(directory)
    scheduler = plugins.connect(settings)
    try:
        observation = await scheduler.observe(cluster)
        statement = await _look(scheduler, cluster, observation, claim, int(wall()))
        if left := release.still_open(statement, resources):
            change = closing(cluster, observation, observation.accounts[claim.account], claim.uid, resources)
            raise NotAttested("; ".join(left) + _remedy(scheduler.render(cluster, [change])))
        promises.give(claim.uid, claim.revision, observation.time)
    finally:
        await scheduler.close()
    return release.sign(statement, known.signer)


def _desired(directory: Path, known: Identity) -> DesiredState:
    state = DesiredStore(directory).load(known.cluster, known.fingerprint)
    if state is None:
        raise NotAttested(
            f"{directory}: no desired state was ever fetched, so nobody here knows which limits are ours; "
            "run `bursar-agent run` until it has fetched one, or set the Cluster's enforcement to Observe"
        )
    return state


def _resources(state: DesiredState, claim: Claim) -> tuple[str, ...]:
    entry = state.entries.get(claim.account)
    named = next((item.granted for item in entry.allocations if item.uid == claim.uid), None) if entry else None
    return tuple(named or (resource.name for resource in state.settings.resources))


async def _look(
    scheduler: Scheduler, cluster: ClusterSettings, observation: Observation, claim: Claim, now: int
) -> ReleaseStatement:
    if observation.root is None and claim.account not in observation.accounts:
        raise NotAttested(
            f"the scheduler has neither account {claim.account} nor the root account {cluster.root_account}: this may be "
            "another cluster's; look which one the commands of this host answer for"
        )
    found = await scheduler.usage(claim.used_since)
    # A job that has ended and has no record yet holds the watermark back: its use would be left out.
    if found.watermark is None or found.watermark < observation.time:
        raise NotAttested("the scheduler's job records are not complete yet; try again in a minute")
    view = observation.accounts.get(claim.account)
    said: dict[str, Any] = {"found": "Gone"} if view is None else seen_limits(cluster, observation, view, claim.uid)
    return ReleaseStatement.model_validate(
        {
            "cluster": cluster.cluster,
            "account": claim.account,
            "uid": claim.uid,
            "revision": claim.revision,
            "issued_at": now,
            "scheduler": f"{cluster.scheduler_type} {cluster.scheduler_name}",
            "used_since": claim.used_since,
            "used": release.use_since(found.jobs, claim.account, claim.used_since),
            **said,
        }
    )


def seen_limits(cluster: ClusterSettings, observation: Observation, view: AccountView, uid: str) -> dict[str, Any]:
    """The limits that hold it: those of its own QOS where the account's jobs may have none but such, else the account's.

    A QOS with limits takes the place of the account's. So where jobs may have it and others, the more open of both counts.
    """
    own = _own_qos(cluster, observation, view, uid)
    if own is not None and _is_confined(cluster, view):
        return {"found": "Qos", "qos": own.name, "limits": _seen(cluster, own.readings)}
    account = _seen(cluster, view.readings)
    both = (
        account
        if own is None
        else {name: max(account[name], item, key=_room) for name, item in _seen(cluster, own.readings).items()}
    )
    return {"found": "Account", "limits": both}


def closing(
    cluster: ClusterSettings, observation: Observation, view: AccountView, uid: str, resources: Collection[str]
) -> AccountChange:
    """What closes the allocation, so that it can be stated: its own QOS, and the account where jobs may have another."""
    tracked = [resource.trackable for resource in cluster.resources if resource.name in resources]
    own = _own_qos(cluster, observation, view, uid)
    closed = dict.fromkeys(tracked, FLOOR)
    qoses = (
        () if own is None else (QosChange(own.name, limits=_used(own.readings, tracked), run_minutes=closed, tightens=True),)
    )
    if own is not None and _is_confined(cluster, view):
        return AccountChange(view.account, qoses=qoses)
    return AccountChange(view.account, limits=_used(view.readings, tracked), run_minutes=closed, qoses=qoses)


def _own_qos(cluster: ClusterSettings, observation: Observation, view: AccountView, uid: str) -> QosView | None:
    return (observation.qoses or {}).get(qosnames.name(cluster.scheduler_name, view.account, uid))


def _is_confined(cluster: ClusterSettings, view: AccountView) -> bool:
    """Whether the account's jobs may have no QOS but such as carry ceilings."""
    is_ours = bool(view.qos_list) and all(qosnames.is_ours(item) for item in view.qos_list)
    return cluster.limit_mode == "QOS" and is_ours and not view.own_qos


def _seen(cluster: ClusterSettings, readings: Mapping[str, Reading]) -> dict[str, SeenLimit]:
    found = {resource.name: readings.get(resource.trackable, Reading()) for resource in cluster.resources}
    return {name: SeenLimit(limit=item.limit, counter=item.counter, running=item.running) for name, item in found.items()}


def _room(seen: SeenLimit) -> tuple[bool, int, int]:
    """How open a limit is, to be compared."""
    if seen.limit is None:
        return True, 0, seen.running
    return False, 0 if seen.is_closed else seen.limit - seen.counter, seen.running


def _used(readings: Mapping[str, Reading], tracked: Collection[str]) -> dict[str, int]:
    return {name: max(FLOOR, readings.get(name, Reading()).counter) for name in tracked}


def _remedy(lines: Iterable[str]) -> str:
    """The commands that close it for good, for a person to look at and run."""
    words = "\nwait for its jobs or cancel them, and close it (nothing more of it starts until the agent is back):\n"
    return words + "\n".join(f"  {line}" for line in lines)

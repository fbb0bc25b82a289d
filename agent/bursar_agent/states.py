"""What a cycle is reported as: the state of each account after read-back, and the revisions that are proven. Pure."""

from collections.abc import Mapping
from typing import Literal

from bursar_agent.plan import AccountPlan, Plan
from bursar_agent.schedulers.base import AccountView, Observation, Outcome, QosView, Reading
from bursar_domain.ceiling import UNLIMITED
from bursar_domain.wire import AccountEntry, AccountState, Brake, ClusterSettings, LimitState

Outcomes = Mapping[str, Outcome]


def is_proven(plan: AccountPlan, outcomes: Outcomes) -> bool:
    """Whether the account is at the scheduler as planned: nothing to do, or done and read back."""
    if plan.error:
        return False
    return plan.change is None or (plan.account in outcomes and outcomes[plan.account].done)


def wall_holds(plan: Plan, outcomes: Outcomes, root_account: str) -> bool:
    """Whether the root account is as planned; while it is not, a raised limit below it may not be usable."""
    return plan.root is None or (root_account in outcomes and outcomes[root_account].done)


def revisions(settings: ClusterSettings, entries: Mapping[str, AccountEntry], plan: Plan, outcomes: Outcomes) -> dict[str, int]:
    """Allocation uid -> revision whose limit was read back. Nothing is enforced in Observe mode, so nothing is proven."""
    if settings.enforcement != "Enforce" or not wall_holds(plan, outcomes, settings.root_account):
        return {}
    return {
        allocation.uid: allocation.grant_revision
        for name, account in plan.accounts.items()
        if is_proven(account, outcomes) and not account.withheld
        for allocation in entries[name].allocations
    }


def states(
    settings: ClusterSettings,
    observation: Observation,
    plan: Plan,
    outcomes: Outcomes,
    brake: Brake | None,
    committed: Mapping[str, Mapping[str, int]],
    same: Mapping[str, AccountState] | None = None,
) -> dict[str, AccountState]:
    """One state per entry; those that are known to be the ``same`` as before are taken as they are."""
    known = same or {}
    return {
        name: known[name]
        if name in known
        else _state(settings, observation, account, outcomes.get(name), brake, committed.get(name, {}))
        for name, account in plan.accounts.items()
    }


def _state(
    settings: ClusterSettings,
    observation: Observation,
    plan: AccountPlan,
    outcome: Outcome | None,
    brake: Brake | None,
    committed: Mapping[str, int],
) -> AccountState:
    view = observation.accounts.get(plan.account)
    error = plan.error or (outcome.error if outcome else "")
    return AccountState(
        account=plan.account,
        state=_word(settings, plan, outcome, brake, error),
        enforcement=str(plan.restriction.action),
        actions={uid: str(action) for uid, action in plan.restriction.actions.items()},
        rules=dict(plan.restriction.rules),
        limits=_by_qos(settings, observation.qoses or {}, plan, outcome)
        if plan.ceilings
        else _limits(settings, view, plan, outcome),
        committed=dict(committed),
        drift=plan.drift,
        error=error,
        users_missing=outcome.users_missing if outcome else (),
    )


def _word(
    settings: ClusterSettings, plan: AccountPlan, outcome: Outcome | None, brake: Brake | None, error: str
) -> Literal["Enforced", "Observed", "Pending", "Failed"]:
    if settings.enforcement == "Observe":
        return "Observed"
    if error:
        return "Failed"
    if plan.withheld or (plan.change is not None and (brake is not None or outcome is None)):
        return "Pending"
    return "Enforced"


def _limits(
    settings: ClusterSettings, view: AccountView | None, plan: AccountPlan, outcome: Outcome | None
) -> dict[str, LimitState]:
    """By Bursar's resource name: the limit in force, after what was just proven."""
    written = plan.change.limits if plan.change and outcome and outcome.done else {}
    found = {}
    for resource in settings.resources:
        reading = view.readings.get(resource.trackable, Reading()) if view else Reading()
        limit = written.get(resource.trackable, reading.limit)
        in_force = None if limit is None or limit < 0 else limit
        found[resource.name] = LimitState(limit=in_force, counter=max(0, reading.counter), running=max(0, reading.running))
    return found


def _by_qos(
    settings: ClusterSettings, seen: Mapping[str, QosView], plan: AccountPlan, outcome: Outcome | None
) -> dict[str, LimitState]:
    """In limit mode QOS: the ceilings of the active allocations together; one that is reached counts as its counter."""
    is_proven = plan.change is None or (outcome is not None and outcome.done)
    found = {}
    for resource in settings.resources:
        name, limit, counter, running = resource.trackable, 0, 0, 0
        is_open = False
        for qos in plan.ceilings:
            reading = seen[qos].readings.get(name, Reading()) if qos in seen else Reading(limit=0)
            own = plan.memory.qoses.get(qos, {}).get(name, UNLIMITED) if is_proven else reading.limit
            is_open |= own is None or own == UNLIMITED
            limit += max(own or 0, reading.counter)
            counter, running = counter + max(0, reading.counter), running + max(0, reading.running)
        found[resource.name] = LimitState(limit=None if is_open else limit, counter=counter, running=running)
    return found

"""Accounts of which nothing changed since they were found right: they are not looked at again. Pure.

Only what was decided on complete records counts, for accounts without running jobs whose figures do not move with time.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from bursar_agent.grants import Charged
from bursar_agent.memory import AccountMemory
from bursar_agent.plan import AccountPlan, Figures, Plan, Situation
from bursar_agent.schedulers.base import AccountView, Observation, QosView
from bursar_domain.wire import AccountEntry, ClusterSettings


@dataclass(frozen=True, slots=True)
class Settled:
    """A plan with nothing to do, what it was made of, and the second before which time alone does not alter it."""

    plan: AccountPlan
    entry: AccountEntry
    charged: Charged
    view: AccountView | None
    settings: ClusterSettings
    soft_land_qos: str
    until: int | None
    qoses: tuple[QosView | None, ...] = ()


def still(before: Mapping[str, Settled], situation: Situation) -> dict[str, AccountPlan]:
    """Plans that hold as they are."""
    if situation.expired or situation.skewed:
        return {}
    return {name: item.plan for name, item in before.items() if _holds(name, item, situation)}


def _holds(name: str, item: Settled, situation: Situation) -> bool:
    figures, observation = situation.figures.get(name), situation.observation
    if situation.entries.get(name) is not item.entry or figures is None or figures.charged is not item.charged:
        return False
    if item.until is not None and item.until <= observation.time:
        return False
    if _is_busy(figures) or name in situation.in_doubt or name in situation.unresolved:
        return False
    return (
        observation.accounts.get(name) == item.view
        and _remembered(name, situation) == item.plan.memory
        and situation.settings == item.settings
        and observation.soft_land_qos == item.soft_land_qos
        and _qoses(item.plan, observation) == item.qoses
    )


def settle(before: Mapping[str, Settled], situation: Situation, plan: Plan) -> dict[str, Settled]:
    """What need not be looked at in the next cycle."""
    kept = {name: item for name, item in before.items() if plan.accounts.get(name) is item.plan}
    is_complete = situation.fresh and situation.watermark is not None and situation.watermark >= situation.observation.time
    if is_complete and not situation.expired and not situation.skewed:
        fresh = ((name, made) for name, made in plan.accounts.items() if name not in kept)
        kept |= {name: _settled(name, made, situation) for name, made in fresh if _is_right(name, made, situation)}
    return kept


def _is_right(name: str, made: AccountPlan, situation: Situation) -> bool:
    has_words = bool(made.error or made.withheld or made.drift)
    if made.change is not None or has_words or made.restriction.caps or name in situation.in_doubt:
        return False
    figures = situation.figures[name]
    is_moving = _is_busy(figures) or figures.charged.grants.is_projected or name in situation.unresolved
    return not is_moving and _remembered(name, situation) == made.memory


def _settled(name: str, made: AccountPlan, situation: Situation) -> Settled:
    charged, observation = situation.figures[name].charged, situation.observation
    return Settled(
        plan=made,
        entry=situation.entries[name],
        charged=charged,
        view=observation.accounts.get(name),
        settings=situation.settings,
        soft_land_qos=observation.soft_land_qos,
        until=charged.grants.next_cut(observation.time),
        qoses=_qoses(made, observation),
    )


def _qoses(made: AccountPlan, observation: Observation) -> tuple[QosView | None, ...]:
    """The account's own ones as they are (limit mode QOS)."""
    return tuple((observation.qoses or {}).get(name) for name in made.memory.qoses)


def _is_busy(figures: Figures) -> bool:
    return bool(
        figures.committed or figures.remaining or figures.recent or figures.after_observation or figures.after_watermark
    )


def _remembered(name: str, situation: Situation) -> AccountMemory:
    return situation.memories.get(name) or AccountMemory(name)

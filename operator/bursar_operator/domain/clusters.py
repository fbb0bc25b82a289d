"""Clusters, decided: readiness and health from what the agent says and what was published."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from bursar_crds.conditions import READY, set_condition
from bursar_crds.instants import format_instant, parse_instant
from bursar_crds.names import ACKNOWLEDGED_GENERATION
from bursar_crds.reasons import Reason
from bursar_domain.wire import Brake, Miss

Obj = dict[str, Any]
Said = tuple[bool | str, Reason | str, str]
UNKNOWN: Final = "Unknown"
SHOWN: Final = 5
_WORD: Final = re.compile(r"[A-Z][A-Za-z]{0,63}")
SKEW_SECONDS: Final = 60
# `lastSeen` and the watermark move with every call of the agent; the status follows once a minute.
PACE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class AgentView:
    """The agent as the ledger knows it; times in epoch seconds, `scheduler_time` and `watermark` by the scheduler's clock."""

    version: str
    scheduler_version: str
    capabilities: tuple[str, ...]
    misses: tuple[Miss, ...]
    last_seen: int
    generation: int
    scheduler_time: int | None = None
    watermark: int | None = None
    brake: Brake | None = None


@dataclass(frozen=True, slots=True)
class AccountsView:
    """Accounts of the cluster that are not as they should be, in order of their names."""

    drifting: Sequence[str] = ()
    failing: Mapping[str, str] | None = None
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Patience:
    """From when on silence and old usage count."""

    agent_seconds: int
    usage_seconds: int


def released(cluster: Mapping[str, Any]) -> int:
    """The generation whose brake a person released, from the annotation; 0 where there is none (or nonsense)."""
    text = (cluster["metadata"].get("annotations") or {}).get(ACKNOWLEDGED_GENERATION, "")
    return int(text) if text.isdecimal() and len(text) <= 15 else 0


def acknowledged(cluster: Mapping[str, Any], generation: int) -> int:
    """What of it may be signed at ``generation``: nobody has seen a generation that is not there yet."""
    found = released(cluster)
    return found if found <= generation else 0


def observes(cluster: Mapping[str, Any]) -> bool:
    """Whether the agent only plans and reports."""
    return bool(cluster["spec"].get("enforcement") == "Observe")


def enrolled(cluster: Mapping[str, Any]) -> bool:
    """Whether any key may speak for it, or ever said anything."""
    agent = (cluster.get("status") or {}).get("agent") or {}
    return bool(agent.get("keys") or agent.get("lastSeen"))


def status(
    cluster: Obj,
    agent: AgentView | None,
    accounts: AccountsView,
    desired: int | None,
    patience: Patience,
    now: datetime,
    billing_version: int | None = None,
) -> Obj:
    """The status that answers this spec and this agent; ``desired`` and ``billing_version`` are what is published."""
    before = dict(cluster.get("status") or {})
    generation = cluster["metadata"].get("generation")
    said = _conditions(cluster, agent, accounts, desired, patience, now)
    conditions = before.get("conditions")
    for type_, (holds, reason, message) in said.items():
        conditions = set_condition(conditions, type_, holds, reason, message, now, generation)
    shown = _agent(before.get("agent") or {}, agent, desired, now)
    after = before | {"conditions": conditions, "observedGeneration": generation} | ({"agent": shown} if shown else {})
    return after | ({} if billing_version is None else {"billingVersion": billing_version})


def _conditions(
    cluster: Obj, agent: AgentView | None, accounts: AccountsView, desired: int | None, patience: Patience, now: datetime
) -> dict[str, Said]:
    name = cluster["metadata"]["name"]
    if agent is None:
        text = f"no agent has called yet; run: bursar clusters enrol {name}"
        never: Said = (UNKNOWN, Reason.AGENT_NEVER_ENROLLED, text)
        rest = dict.fromkeys(("Enforceable", "Converged", "DriftDetected", "BrakeEngaged", "UsageStale"), never)
        return {READY: (False, *never[1:]), "AgentConnected": (False, *never[1:])} | rest
    said = {
        "AgentConnected": _connected(agent, patience, now),
        "Enforceable": _enforceable(agent),
        "Converged": _converged(cluster, agent, accounts, desired),
        "DriftDetected": _drift(accounts),
        "BrakeEngaged": _brake(name, agent),
        "UsageStale": _stale(agent, patience),
    }
    return {READY: _ready(cluster, said)} | said


def _connected(agent: AgentView, patience: Patience, now: datetime) -> Said:
    silent = int(now.timestamp()) - agent.last_seen
    if silent > patience.agent_seconds:
        text = "the agent has not called for {}; the limits that it wrote hold. Look at its log: journalctl -u bursar-agent"
        return False, Reason.AGENT_AWAY, text.format(_span(silent))
    return True, Reason.AGENT_CONNECTED, "the agent calls in"


def _enforceable(agent: AgentView) -> Said:
    if not agent.misses:
        return True, Reason.ENFORCEABLE, "the scheduler is set up so that limits hold"
    lines = [f"{miss.message} ({miss.remedy})" if miss.remedy else miss.message for miss in agent.misses]
    reason = agent.misses[0].reason
    return False, reason if _WORD.fullmatch(reason) else Reason.NOT_READY, "; ".join(lines)


def _converged(cluster: Obj, agent: AgentView, accounts: AccountsView, desired: int | None) -> Said:
    if accounts.failing:
        shown = "; ".join(f"{account}: {error}" for account, error in list(accounts.failing.items())[:SHOWN])
        return False, Reason.ENFORCEMENT_FAILED, f"{len(accounts.failing)} accounts: {shown}"
    if agent.generation < (desired or 0):
        text = f"generation {desired} is on its way, the scheduler shows {agent.generation}"
        return False, Reason.BRAKE_ENGAGED if agent.brake else Reason.CONVERGING, text
    if observes(cluster):
        return True, Reason.OBSERVING, "limits are planned and reported, nothing is written"
    if accounts.pending:
        return False, Reason.CONVERGING, f"{accounts.pending} accounts are not read back yet"
    return True, Reason.CONVERGED, f"the scheduler shows generation {agent.generation}"


def _drift(accounts: AccountsView) -> Said:
    if not accounts.drifting:
        return False, Reason.NO_DRIFT, "everything that Bursar owns is as it left it"
    more = f" and {len(accounts.drifting) - SHOWN} more" if len(accounts.drifting) > SHOWN else ""
    return True, Reason.DRIFT_DETECTED, f"somebody changed {', '.join(accounts.drifting[:SHOWN])}{more}"


def _brake(name: str, agent: AgentView) -> Said:
    if agent.brake is None:
        return False, Reason.BRAKE_RELEASED, "no plan waits for a person"
    command = f"kubectl annotate --overwrite cluster {name} {ACKNOWLEDGED_GENERATION}={agent.brake.generation}"
    return True, Reason.BRAKE_ENGAGED, f"{agent.brake.message}; if that is meant, run: {command}"


def _stale(agent: AgentView, patience: Patience) -> Said:
    if agent.watermark is None:
        return True, Reason.USAGE_STALE, "the agent has reported no usage yet"
    late = (agent.scheduler_time or agent.watermark) - agent.watermark
    if late > patience.usage_seconds:
        return True, Reason.USAGE_STALE, f"usage is complete up to {_span(late)} ago only; figures may be low"
    return False, Reason.USAGE_CURRENT, "usage is up to date"


def _ready(cluster: Obj, said: Mapping[str, Said]) -> Said:
    for type_, wanted in (("AgentConnected", True), ("Enforceable", True), ("BrakeEngaged", False)):
        holds, reason, message = said[type_]
        if holds is not wanted:
            return False, reason, message
    if observes(cluster):
        return True, Reason.OBSERVING, "the agent observes; limits are planned and reported, not written"
    return True, Reason.READY, "the agent keeps the limits of this cluster"


def _agent(before: Mapping[str, Any], agent: AgentView | None, desired: int | None, now: datetime) -> Obj:
    shown = dict(before)
    if desired is not None:
        shown["desiredGeneration"] = desired
    if agent is None:
        return shown
    shown |= {
        "version": agent.version[:64],
        "schedulerVersion": agent.scheduler_version[:128],
        "capabilities": sorted({item[:64] for item in agent.capabilities})[:64],
        "observedGeneration": agent.generation,
    }
    moving = {"lastSeen": agent.last_seen, "usageWatermark": agent.watermark}
    if _is_time_to_move(before, agent, now):
        shown |= {name: format_instant(datetime.fromtimestamp(at, UTC)) for name, at in moving.items() if at is not None}
    return shown


def _is_time_to_move(before: Mapping[str, Any], agent: AgentView, now: datetime) -> bool:
    seen = before.get("lastSeen")
    if seen is None or (agent.watermark is not None and before.get("usageWatermark") is None):
        return True
    return agent.last_seen - parse_instant(seen).timestamp() >= PACE_SECONDS


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} seconds"
    return f"{seconds // 60} minutes" if seconds < 7200 else f"{seconds // 3600} hours"

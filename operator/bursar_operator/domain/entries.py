"""Desired state, decided: the entry of one account and the settings of one cluster, from the objects as they are stored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from bursar_crds.instants import parse_instant
from bursar_crds.names import DEFAULT_ROOT_ACCOUNT
from bursar_domain.units import scale, trackable
from bursar_domain.wire import (
    AccountEntry,
    AllocationEntry,
    ClusterSettings,
    ThresholdEntry,
    TrackedResource,
    Transition,
)
from bursar_operator.domain import hours

Obj = Mapping[str, Any]
BUILT_ACTIONS: Final = ("Notify", "Hold")


def settings(cluster: Obj) -> ClusterSettings:
    """What the Cluster says about enforcement. Capacities are in units (memory in MiB), as the scheduler counts them."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    scheduler, brake, drift = spec["scheduler"], spec.get("brake") or {}, spec.get("drift") or {}
    return ClusterSettings(
        cluster=name,
        scheduler_name=scheduler.get("name") or name,
        root_account=scheduler.get("rootAccount") or DEFAULT_ROOT_ACCOUNT,
        enforcement=spec.get("enforcement") or "Enforce",
        brake_max_change_percent=brake.get("maxChangePercent", 10),
        brake_minimum_changes=brake.get("minimumChanges", 3),
        drift_limits=drift.get("limits") or "Enforce",
        drift_members=drift.get("members") or "Enforce",
        resources=tuple(
            TrackedResource(
                name=item["name"],
                trackable=item.get("trackable") or trackable(item["name"]),
                capacity=item["capacity"] * scale(item["name"]),
            )
            for item in sorted(spec["resources"], key=lambda item: str(item["name"]))
        ),
    )


def account_entry(account: str, project: str, members: Sequence[str], allocations: Iterable[AllocationEntry]) -> AccountEntry:
    """The entry of an account: its members, and its granted allocations in order of uid."""
    entries = tuple(sorted(allocations, key=lambda entry: entry.uid))
    return AccountEntry(account=account, project=project, members=tuple(members), allocations=entries)


def closed_entry(account: str, project: str) -> AccountEntry:
    """The tombstone of an account whose project is gone."""
    return AccountEntry(account=account, project=project, closed=True)


def is_granted(allocation: Obj) -> bool:
    """Whether the allocation ever was granted something; before that no agent hears of it."""
    return bool((allocation.get("status") or {}).get("grantRevision"))


def is_overgranted(allocation: Obj) -> bool:
    """Whether more is granted than the pools hold for it: somebody edited the status."""
    status = allocation.get("status") or {}
    return not hours.at_least(hours.of(status.get("charged")), hours.of(status.get("granted")))


def allocation_entry(allocation: Obj) -> AllocationEntry:
    """One allocation with its dated transitions: open at the start, closed at the end."""
    metadata, spec, status = allocation["metadata"], allocation["spec"], allocation["status"]
    # Exactly what the status says: the ledger refuses another `granted` under the same revision.
    granted = hours.of(status.get("granted"))
    start, end = (int(parse_instant(spec["period"][at]).timestamp()) for at in ("start", "end"))
    return AllocationEntry(
        uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        grant_revision=status["grantRevision"],
        granted=granted,
        start=start,
        end=end,
        transitions=(Transition(at=start, granted=granted), Transition(at=end, granted={})),
        thresholds=tuple(_thresholds(spec.get("thresholds") or ())),
    )


def _thresholds(found: Iterable[Obj]) -> Iterable[ThresholdEntry]:
    for item in sorted(found, key=lambda item: int(item["percent"])):
        if item["basis"] == "Used" and item["action"] in BUILT_ACTIONS:
            yield ThresholdEntry(
                percent=item["percent"], action=item["action"], clear_below_percent=item.get("clearBelowPercent")
            )

"""Desired state, decided: the entry of one account and the settings of one cluster, from the objects as they are stored."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bursar_crds.names import DEFAULT_ROOT_ACCOUNT
from bursar_domain.billing import billing_of, scales_of
from bursar_domain.fold import Correction
from bursar_domain.published import correction_entries, ended_entry, signed
from bursar_domain.terms import Terms
from bursar_domain.units import trackable
from bursar_domain.wire import (
    AccountEntry,
    AllocationEntry,
    ClusterSettings,
    ThresholdEntry,
    TrackedResource,
)
from bursar_operator.domain import hours, periods

Obj = Mapping[str, Any]


def settings(cluster: Obj) -> ClusterSettings:
    """What the Cluster says about enforcement. Capacities are in units, as the scheduler counts them: memory in MiB."""
    name, spec = cluster["metadata"]["name"], cluster["spec"]
    scales = scales_of(cluster)
    scheduler, brake, drift = spec["scheduler"], spec.get("brake") or {}, spec.get("drift") or {}
    return ClusterSettings(
        cluster=name,
        scheduler_name=scheduler.get("name") or name,
        scheduler_type=scheduler["type"],
        root_account=scheduler.get("rootAccount") or DEFAULT_ROOT_ACCOUNT,
        enforcement=spec.get("enforcement") or "Enforce",
        brake_max_change_percent=brake.get("maxChangePercent", 10),
        brake_minimum_changes=brake.get("minimumChanges", 3),
        drift_limits=drift.get("limits") or "Enforce",
        drift_members=drift.get("members") or "Enforce",
        limit_mode=spec.get("limitMode") or "Account",
        billing=billing_of(cluster),
        resources=tuple(
            TrackedResource(
                name=item["name"],
                trackable=item.get("trackable") or trackable(item["name"]),
                capacity=item["capacity"] * scales.units(item["name"]),
            )
            for item in sorted(spec["resources"], key=lambda item: str(item["name"]))
        ),
    )


def account_entry(
    account: str,
    project: str,
    members: Sequence[str],
    allocations: Iterable[AllocationEntry],
    ended: Iterable[Terms] = (),
    corrections: Sequence[Correction] = (),
) -> AccountEntry:
    """The entry of an account: members, granted allocations and those that are gone, each in order of uid, corrections."""
    return AccountEntry(
        account=account,
        project=project,
        members=tuple(members),
        allocations=tuple(sorted(allocations, key=lambda entry: entry.uid)),
        ended=tuple(ended_entry(terms) for terms in sorted(ended, key=lambda terms: terms.uid)),
        corrections=correction_entries(tuple(corrections)),
    )


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


def allocation_entry(allocation: Obj, terms: Terms) -> AllocationEntry:
    """One allocation with every window of its period, so that they roll over without anyone."""
    metadata, status = allocation["metadata"], allocation["status"]
    # Exactly what the status says: the ledger refuses another `granted` under the same revision.
    granted = hours.of(status.get("granted"))
    period = periods.period_of(allocation)
    return AllocationEntry(
        namespace=metadata["namespace"],
        name=metadata["name"],
        grant_revision=status["grantRevision"],
        granted=granted,
        start=period.start,
        end=period.end,
        thresholds=tuple(_thresholds(allocation)),
        **signed(terms),
    )


def _thresholds(allocation: Obj) -> Iterable[ThresholdEntry]:
    for rule in sorted(periods.thresholds_of(allocation), key=lambda rule: (rule.percent, rule.key)):
        words = {"action": str(rule.action), "basis": str(rule.basis)}
        fields = {"percent": rule.percent, "clearBelowPercent": rule.clear_below, **words}
        yield ThresholdEntry.model_validate(fields)


def waits_for_acknowledgement(allocation: Obj | None) -> bool:
    """Whether it goes on once its grant is acknowledged: hours go back to pools, or it goes itself, or it is gone."""
    if allocation is None or "deletionTimestamp" in allocation["metadata"]:
        return True
    status = allocation.get("status") or {}
    return bool(status.get("granted") != status.get("charged"))

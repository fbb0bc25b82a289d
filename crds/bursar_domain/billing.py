"""Billing: what a Cluster says of service units, read from its object, and whether its parts fit together. Pure."""

from collections.abc import Mapping
from typing import Any

from bursar_crds.cluster import Cluster, ClusterSpec
from bursar_crds.reasons import Reason
from bursar_domain.units import BILLING, UNSCALED, Scales
from bursar_domain.violations import Violation
from bursar_domain.wire import BillingEntry, WeightEntry

Obj = Mapping[str, Any]


def scales_of(cluster: Cluster | Obj | None) -> Scales:
    """How a cluster's hours are counted; of one that is not there, as of one that says nothing of billing."""
    if isinstance(cluster, Cluster):
        return UNSCALED if cluster.spec.billing is None else Scales(cluster.spec.billing.scale)
    billing = None if cluster is None else cluster["spec"].get("billing")
    return UNSCALED if billing is None else Scales(int(billing["scale"]))


def billing_of(cluster: Obj) -> BillingEntry | None:
    """Weights as its agent gets them."""
    billing = cluster["spec"].get("billing")
    if billing is None:
        return None
    weights = sorted((str(item["name"]), int(item["weight"])) for item in billing["weights"])
    return BillingEntry(
        version=int(billing["version"]),
        scale=int(billing["scale"]),
        weights=tuple(WeightEntry(name=name, weight=weight) for name, weight in weights),
    )


def billing_violations(spec: ClusterSpec) -> list[Violation]:
    """The capacity of billing is at least what the weights make of everything installed: more use than that is refused."""
    capacities = {item.name: item.capacity for item in spec.resources}
    if spec.billing is None or BILLING not in capacities:
        return []
    most = sum(item.weight * capacities.get(item.name, 0) for item in spec.billing.weights)
    least = -(-most // spec.billing.scale)
    if capacities[BILLING] >= least:
        return []
    index = [item.name for item in spec.resources].index(BILLING)
    message = (
        f"a full machine costs {least:,} service units an hour by spec.billing, and usage above the capacity of billing is "
        f"refused; set it to {least} at least"
    )
    return [Violation(f"spec.resources[{index}].capacity", Reason.INVALID, message)]

"""Manifests that several tests make."""

from typing import Any

API_VERSION = "bursar.dev/v1alpha1"
PERIOD = {"start": "2026-01-01T00:00:00Z", "end": "2036-01-01T00:00:00Z"}


def resource(kind: str, name: str, spec: dict[str, Any], namespace: str | None = None) -> dict[str, Any]:
    """A manifest of one of our kinds."""
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": spec}


def cluster(name: str, scheduler: str = "simulator", capacity: int = 64, **spec: Any) -> dict[str, Any]:
    """A cluster with CPUs only."""
    base = {
        "scheduler": {"type": scheduler, "name": name, "rootAccount": "bursar"},
        "resources": [{"name": "cpu", "capacity": capacity}],
    }
    return resource("Cluster", name, {**base, **spec})


def project(name: str, owner: str) -> dict[str, Any]:
    """A project whose account has its name."""
    return resource("Project", name, {"displayName": name.title(), "owner": owner})


def pool(name: str, cluster_name: str, hours: int, parent: str | None = None) -> dict[str, Any]:
    """A pool of CPU hours for ten years."""
    base: dict[str, Any] = {
        "clusterRef": {"name": cluster_name},
        "period": PERIOD,
        "resources": [{"name": "cpu", "hours": hours}],
    }
    return resource("QuotaPool", name, base | ({"parentRef": {"name": parent}} if parent else {}))


def allocation(project_name: str, name: str, pool_name: str, hours: int, cluster_name: str, **spec: Any) -> dict[str, Any]:
    """CPU hours for ten years from a pool."""
    base = {
        "clusterRef": {"name": cluster_name},
        "poolRef": {"name": pool_name},
        "period": PERIOD,
        "resources": [{"name": "cpu", "hours": hours}],
    }
    return resource("Allocation", name, {**base, **spec}, f"project-{project_name}")


def member(project_name: str, user: str, role: str = "Member") -> dict[str, Any]:
    """A membership."""
    return resource("Membership", user, {"user": user, "role": role}, f"project-{project_name}")

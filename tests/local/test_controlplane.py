"""The control plane that tests, demo and benchmarks run on behaves as a real cluster does."""

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable

import httpx
import pytest

from bursar_local.controlplane import ControlPlane
from bursar_local.kubectl import Kubectl


async def eventually(holds: Callable[[], Awaitable[bool]], what: str, attempts: int = 300) -> None:
    """Ask again until `holds`; the bound is generous, since the controllers rediscover kinds every half minute."""
    for _ in range(attempts):
        if await holds():
            return
        await asyncio.sleep(0.2)
    pytest.fail(f"never happened: {what}")


@pytest.fixture
def kubectl(bare_controlplane: ControlPlane) -> Kubectl:
    """Nothing here needs Bursar's kinds."""
    return bare_controlplane.kubectl


def anonymous(plane: ControlPlane) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=plane.url, verify=ssl.create_default_context(cafile=str(plane.ca_file)), trust_env=False)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
async def test_health_paths_are_open_to_all(bare_controlplane: ControlPlane, path: str) -> None:
    async with anonymous(bare_controlplane) as client:
        answer = await client.get(path)
    assert answer.status_code == 200


@pytest.mark.parametrize("path", ["/api", "/apis", "/version", "/api/v1/secrets", "/openapi/v3", "/metrics"])
async def test_everything_else_is_closed_to_the_unknown(bare_controlplane: ControlPlane, path: str) -> None:
    async with anonymous(bare_controlplane) as client:
        bare = await client.get(path)
        forged = await client.get(path, headers={"Authorization": "Bearer let-me-in"})
    assert bare.status_code == 401
    assert forged.status_code == 401


async def test_reports_the_version_it_was_built_from(kubectl: Kubectl) -> None:
    version = json.loads((await kubectl("version", "-o", "json")).stdout)
    assert version["serverVersion"]["gitVersion"] == "v1.36.3"
    assert version["clientVersion"]["gitVersion"] == "v1.36.3"


async def test_authorizes_by_roles(kubectl: Kubectl) -> None:
    denied = await kubectl("auth", "can-i", "list", "secrets", "--as=oidc:alice", check=False)
    assert denied.stdout.strip() == "no"
    await kubectl("create", "clusterrolebinding", "test-alice-views", "--clusterrole=view", "--user=oidc:alice")
    # The `view` role is an aggregate: it is empty unless the aggregation controller fills it.
    allowed = await kubectl("auth", "can-i", "list", "configmaps", "--as=oidc:alice")
    assert allowed.stdout.strip() == "yes"


async def test_fills_an_aggregated_role(kubectl: Kubectl) -> None:
    roles = """
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: test-whole}
aggregationRule: {clusterRoleSelectors: [{matchLabels: {test-part: "yes"}}]}
rules: []
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: test-part, labels: {test-part: "yes"}}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get]}]
"""
    await kubectl("apply", "-f", "-", input=roles)

    async def filled() -> bool:
        whole = await kubectl("get", "clusterrole", "test-whole", "-o", "json")
        return bool(json.loads(whole.stdout)["rules"])

    await eventually(filled, "the aggregated role is filled")


async def test_a_deleted_namespace_goes_with_all_in_it(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "test-gone")
    await kubectl("create", "configmap", "content", "-n", "test-gone")
    await kubectl("delete", "namespace", "test-gone", "--wait=true", "--timeout=60s")
    assert (await kubectl("get", "namespace", "test-gone", check=False)).return_code != 0


async def test_collects_what_lost_its_owner(kubectl: Kubectl) -> None:
    await kubectl("create", "configmap", "test-owner", "-n", "default")
    owner = json.loads((await kubectl("get", "configmap", "test-owner", "-n", "default", "-o", "json")).stdout)
    owned = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": "test-owned",
            "namespace": "default",
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "ConfigMap", "name": "test-owner", "uid": owner["metadata"]["uid"]}
            ],
        },
    }
    await kubectl("apply", "-f", "-", input=json.dumps(owned))
    await kubectl("delete", "configmap", "test-owner", "-n", "default")

    async def collected() -> bool:
        return (await kubectl("get", "configmap", "test-owned", "-n", "default", check=False)).return_code != 0

    await eventually(collected, "the owned object is collected")


async def test_counts_a_resource_quota(kubectl: Kubectl) -> None:
    await kubectl("create", "namespace", "test-quota")
    await kubectl("create", "quota", "few", "-n", "test-quota", "--hard=count/configmaps=2")

    async def counted() -> bool:
        quota = json.loads((await kubectl("get", "quota", "few", "-n", "test-quota", "-o", "json")).stdout)
        return bool(quota.get("status", {}).get("used") == {"count/configmaps": "0"})

    await eventually(counted, "the quota is counted")
    await kubectl("create", "configmap", "one", "-n", "test-quota")
    await kubectl("create", "configmap", "two", "-n", "test-quota")
    refused = await kubectl("create", "configmap", "three", "-n", "test-quota", check=False)
    assert "exceeded quota" in refused.stderr


async def test_the_controller_manager_shows_strangers_its_health_alone(bare_controlplane: ControlPlane) -> None:
    address = bare_controlplane.addresses["kube-controller-manager"]
    async with anonymous(bare_controlplane) as client:
        assert (await client.get(f"{address}/healthz")).status_code == 200
        assert (await client.get(f"{address}/metrics")).status_code in {401, 403}
        assert (await client.get(f"{address}/configz")).status_code in {401, 403}

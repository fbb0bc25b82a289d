"""Leading and ending: one at a time, the Lease let go on SIGTERM, no writing after the term."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from bursar_domain.keys import Signer
from bursar_domain.wire import ClusterSettings
from bursar_kube.resources import CLUSTERS, CONFIGMAPS, LEASES
from bursar_testing import manifests
from bursar_testing.operatorprocess import OperatorProcess, Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def holder(stack: Stack) -> str:
    lease = await stack.kube.get(LEASES, "bursar-operator", "bursar-system")
    return str(lease["spec"]["holderIdentity"])


async def test_a_second_one_waits_and_takes_over_when_the_first_lets_go(stack: Stack, eventually: Eventually) -> None:
    second = await OperatorProcess.spawn(stack.kubeconfig, stack.ledger_file, stack.folder)

    async def says_why() -> bool:
        async with httpx.AsyncClient() as client:
            alive = await client.get(f"{second.url}/healthz")
            waiting = await client.get(f"{second.url}/readyz")
        return alive.status_code == 200 and waiting.status_code == 503 and "waits for the Lease" in waiting.text

    await eventually(says_why)
    first = await holder(stack)
    assert await stack.operator.stop() == 0
    stack.operator = second
    await second.ready()
    assert await holder(stack) not in ("", first)


async def test_sigterm_lets_the_lease_go(stack: Stack) -> None:
    assert await stack.operator.stop() == 0
    assert await holder(stack) == ""
    assert "Traceback" not in stack.operator.log.read_text()
    await stack.restart()


async def test_whoever_lost_the_lease_ends(stack: Stack) -> None:
    lease = await stack.kube.get(LEASES, "bursar-operator", "bursar-system")
    lease["spec"] |= {"holderIdentity": "another", "leaseDurationSeconds": 1}
    for _ in range(20):
        try:
            await stack.kube.replace(LEASES, lease)
            break
        except Exception:  # noqa: BLE001, RUF100 - it was renewed in between
            lease = await stack.kube.get(LEASES, "bursar-operator", "bursar-system")
            lease["spec"] |= {"holderIdentity": "another", "leaseDurationSeconds": 1}
    assert await asyncio.wait_for(stack.operator.child.wait(), 30) == 1
    assert "the Lease was lost" in stack.operator.log.read_text()
    await stack.restart()


async def test_whoever_is_overtaken_in_the_ledger_ends(stack: Stack) -> None:
    settings = ClusterSettings(cluster="elsewhere", scheduler_name="x", root_account="bursar", resources=())
    epoch = await stack.ledger.highest_epoch() + 100
    await stack.ledger.publish(settings, (), epoch=epoch, acknowledged=0, now=1, valid_seconds=60, sign=Signer.generate().sign)
    await stack.apply(manifests.cluster("overtaken"))
    assert await asyncio.wait_for(stack.operator.child.wait(), 30) == 1
    assert f"the ledger has seen epoch {epoch}" in stack.operator.log.read_text()
    await stack.restart()
    assert (await stack.kube.get(CLUSTERS, "overtaken"))["metadata"]["name"] == "overtaken"


async def test_the_key_shown_to_admins_is_the_one_in_the_file(stack: Stack) -> None:
    shown = await stack.kube.get(CONFIGMAPS, "bursar-signing-key", "bursar-system")
    assert shown["data"]["publicKey"] == Signer((stack.folder / "signing.key").read_bytes()).public_key


async def test_metrics_tell_the_term(stack: Stack) -> None:
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{stack.operator.url}/metrics")).text
    assert "bursar_operator_leader 1.0" in text


async def test_the_operator_may_not_more_than_it_needs(stack: Stack) -> None:
    async def can(*words: str) -> str:
        account = "--as=system:serviceaccount:bursar-system:bursar-operator"
        return (await stack.kubectl("auth", "can-i", *words, account, check=False)).stdout.strip()

    assert await can("get", "secrets", "-n", "bursar-system") == "yes"
    assert await can("get", "secrets", "-n", "kube-system") == "no"
    assert await can("create", "allocations.bursar.dev", "-n", "project-x") == "no"
    assert await can("create", "quotapools.bursar.dev") == "no"
    assert await can("create", "clusterrolebindings") == "no"
    assert await can("bind", "clusterroles/bursar-project-owner") == "yes"
    assert await can("bind", "clusterroles/cluster-admin") == "no"
    assert await can("update", "validatingwebhookconfigurations/bursar") == "yes"
    assert await can("update", "validatingwebhookconfigurations/other") == "no"

"""Policies: who asked is stamped and cannot be forged; what is charged or used is not deleted."""

import asyncio
from contextlib import nullcontext
from itertools import product

import pytest

from bursar_crds.quotapool import QuotaPool
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import Forbidden, Invalid, NotFound
from bursar_kube.resources import ALLOCATIONS, MEMBERSHIPS, NAMESPACES, PROJECTS, QUOTAPOOLS, SERVICEACCOUNTS
from bursar_local.controlplane import ControlPlane
from bursar_testing.facttable import Table
from bursar_testing.manifests import resource
from bursar_testing.webhooks import NAMESPACE, YEAR, Webhook, fitting_allocation, fresh, grant, hours
from bursar_webhooks.quotapool import changes


async def release(kube: Kube, name: str) -> None:
    await kube.delete(ALLOCATIONS, name, NAMESPACE)
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)


async def test_who_asked_is_stamped_with_the_uid(plane: ControlPlane, webhook: Webhook, kube: Kube) -> None:
    name = fresh("robot")
    account = await kube.create(SERVICEACCOUNTS, {"metadata": {"name": name, "namespace": NAMESPACE}})
    who = ("--clusterrole=cluster-admin", f"--serviceaccount={NAMESPACE}:{name}")
    await plane.kubectl("create", "rolebinding", name, "-n", NAMESPACE, *who)
    token = await plane.kubectl("create", "token", name, "-n", NAMESPACE)
    robot = kube.as_token(token.stdout.strip())
    made = await robot.create(ALLOCATIONS, fitting_allocation() | {"status": {}})
    assert made["spec"]["requestedBy"] == {
        "user": f"system:serviceaccount:{NAMESPACE}:{name}",
        "uid": account["metadata"]["uid"],
    }
    assert made["metadata"]["finalizers"] == ["bursar.dev/release"]
    await release(kube, made["metadata"]["name"])


async def test_nobody_asks_in_anothers_name(webhook: Webhook, kube: Kube) -> None:
    with pytest.raises(Forbidden, match=r"spec\.requestedBy names eve, and you are bursar-admin; leave the field out"):
        await kube.create(ALLOCATIONS, fitting_allocation(requestedBy={"user": "eve"}))
    made = await kube.create(ALLOCATIONS, fitting_allocation(requestedBy={"user": "bursar-admin"}))
    name = made["metadata"]["name"]
    for other in ({"user": "eve"}, None):
        with pytest.raises(Invalid, match="requestedBy"):
            await kube.merge_patch(ALLOCATIONS, name, {"spec": {"requestedBy": other}}, NAMESPACE)
    await release(kube, name)


async def test_finalizers_of_others_are_kept(webhook: Webhook, kube: Kube) -> None:
    obj = fitting_allocation()
    obj["metadata"]["finalizers"] = ["example.org/mine"]
    made = await kube.create(ALLOCATIONS, obj)
    assert made["metadata"]["finalizers"] == ["example.org/mine", "bursar.dev/release"]
    await release(kube, made["metadata"]["name"])


async def test_the_finalizer_is_the_operators(plane: ControlPlane, webhook: Webhook, kube: Kube) -> None:
    name = (await kube.create(ALLOCATIONS, fitting_allocation()))["metadata"]["name"]
    verbs = ("get", "list", "update", "patch", "delete")
    role = ("--resource=allocations.bursar.dev", *(f"--verb={verb}" for verb in verbs))
    await plane.kubectl("create", "role", name, "-n", NAMESPACE, *role)
    await plane.kubectl("create", "rolebinding", name, "-n", NAMESPACE, f"--role={name}", "--user=dana")
    patch = ("patch", "alloc", name, "-n", NAMESPACE, "--type=merge", "-p", '{"metadata":{"finalizers":null}}', "--as=dana")
    assert (await plane.kubectl(*patch)).return_code == 0
    assert (await kube.get(ALLOCATIONS, name, NAMESPACE))["metadata"]["finalizers"] == ["bursar.dev/release"]
    await plane.kubectl("delete", "alloc", name, "-n", NAMESPACE, "--wait=false", "--as=dana")
    done = await plane.kubectl(*patch, check=False)
    assert "the finalizer bursar.dev/release of" in done.stderr
    assert "is the operator's" in done.stderr
    assert (await kube.get(ALLOCATIONS, name, NAMESPACE))["metadata"]["finalizers"] == ["bursar.dev/release"]
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)
    with pytest.raises(NotFound):
        await kube.get(ALLOCATIONS, name, NAMESPACE)


def pool(name: str) -> Obj:
    return resource("QuotaPool", name, {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(cpu=10, gpu=10)})


async def test_a_charged_pool_stays(webhook: Webhook, kube: Kube) -> None:
    name = fresh("pool")
    await kube.create(QUOTAPOOLS, pool(name))
    await grant(kube, name, {"cpu": 5, "gpu": 3}, spent={"gpu": 3})
    confirm = {"metadata": {"annotations": {"bursar.dev/confirm-delete": name}}}
    await kube.merge_patch(QUOTAPOOLS, name, confirm)
    with pytest.raises(Forbidden, match=f"pool {name} is charged with 5 cpu hours; delete the allocations"):
        await kube.delete(QUOTAPOOLS, name)
    await grant(kube, name, {"cpu": 0, "gpu": 0})
    await kube.delete(QUOTAPOOLS, name)
    with pytest.raises(NotFound):
        await kube.get(QUOTAPOOLS, name)


async def test_a_pool_of_spent_hours_goes_only_when_confirmed(webhook: Webhook, kube: Kube) -> None:
    name = fresh("pool")
    await kube.create(QUOTAPOOLS, pool(name))
    await grant(kube, name, {"cpu": 5}, spent={"cpu": 5})
    with pytest.raises(Forbidden, match=f"keeps account of 5 cpu hours that were used.*confirm-delete={name}"):
        await kube.delete(QUOTAPOOLS, name)
    await kube.merge_patch(QUOTAPOOLS, name, {"metadata": {"annotations": {"bursar.dev/confirm-delete": name}}})
    await kube.delete(QUOTAPOOLS, name)


async def test_a_pool_that_was_never_drawn_on_goes(webhook: Webhook, kube: Kube) -> None:
    name = fresh("pool")
    await kube.create(QUOTAPOOLS, pool(name))
    await kube.delete(QUOTAPOOLS, name)


async def test_policy_and_webhook_agree_on_what_a_pool_keeps(kube: Kube, seeded: None) -> None:
    """Every way to grant, list and strike two resources and a third: the twin in the webhook says the same."""
    name, names = fresh("twin"), ("cpu", "gpu")
    await kube.create(QUOTAPOOLS, pool(name))
    lists = [hours(cpu=1), hours(gpu=1), hours(cpu=1, gpu=1), hours(cpu=0, gpu=5)]
    compared = 0
    for granted in ({}, {"cpu": 5}, {"gpu": 7}, {"cpu": 5, "gpu": 7}, {"cpu": 0, "gpu": 0}):
        for before, after in product(lists, lists):
            await grant(kube, name, dict.fromkeys(names, 0))
            await kube.merge_patch(QUOTAPOOLS, name, {"spec": {"resources": before}})
            await grant(kube, name, granted)
            old = QuotaPool.parse_stored(await kube.get(QUOTAPOOLS, name))
            new = old.model_copy(
                update={"spec": QuotaPool.parse(pool(name) | {"spec": {**pool(name)["spec"], "resources": after}}).spec}
            )
            assert await refuses(kube, name, after) == bool(changes(new, old, Table())), (granted, before, after)
            compared += 1
    assert compared == 80
    await grant(kube, name, dict.fromkeys(names, 0))
    await kube.delete(QUOTAPOOLS, name)


async def refuses(kube: Kube, name: str, resources: list[Obj]) -> bool:
    """Whether the policy lets the pool hold these."""
    try:
        await kube.merge_patch(QUOTAPOOLS, name, {"spec": {"resources": resources}}, dry_run=True)
    except Forbidden as error:
        return "keep-granted-resources.bursar.dev" in error.message
    return False


async def test_a_project_with_use_stays_unless_confirmed(webhook: Webhook, kube: Kube) -> None:
    name = fresh("proj")
    await kube.create(PROJECTS, resource("Project", name, {"owner": "alice"}))
    await kube.merge_patch(PROJECTS, name, {"status": {"hasUse": True}}, subresource="status")
    with pytest.raises(Forbidden, match=f"the books hold use of project {name}; keep it, or annotate"):
        await kube.delete(PROJECTS, name)
    await kube.merge_patch(PROJECTS, name, {"metadata": {"annotations": {"bursar.dev/confirm-delete": name}}})
    await kube.delete(PROJECTS, name)


async def test_the_last_owner_stays_until_the_namespace_goes(webhook: Webhook, kube: Kube) -> None:
    name = fresh("own")[:20]
    namespace = f"project-{name}"
    metadata = {"name": namespace, "annotations": {"bursar.dev/owners": "1"}}
    await kube.create(NAMESPACES, {"metadata": metadata})
    await kube.create(PROJECTS, resource("Project", name, {"owner": "alice"}))
    await kube.create(MEMBERSHIPS, resource("Membership", "alice", {"user": "alice", "role": "Owner"}, namespace))
    await kube.create(MEMBERSHIPS, resource("Membership", "bob", {"user": "bob", "role": "Member"}, namespace))
    await kube.delete(MEMBERSHIPS, "bob", namespace)
    with pytest.raises(Forbidden, match="alice is the last owner of the project; make somebody else Owner first"):
        await kube.delete(MEMBERSHIPS, "alice", namespace)
    over = {"type": "Ready", "status": "False", "reason": "MembershipEnded", "message": "", "lastTransitionTime": YEAR["start"]}
    for conditions in ([over], []):  # whose time is over was not counted
        await kube.merge_patch(MEMBERSHIPS, "alice", {"status": {"conditions": conditions}}, namespace, subresource="status")
        with nullcontext() if conditions else pytest.raises(Forbidden, match="last owner"):
            await kube.delete(MEMBERSHIPS, "alice", namespace, dry_run=True)
    await kube.delete(NAMESPACES, namespace)
    async with asyncio.timeout(60):
        while await kube.list(MEMBERSHIPS, namespace):  # noqa: ASYNC110 - the namespace controller takes its time
            await asyncio.sleep(0.1)

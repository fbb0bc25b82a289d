"""Changes: only what gets worse is refused, what the pools hold already counts, what is on its way out goes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bursar_kube.client import Kube, Obj
from bursar_kube.errors import Forbidden, Invalid
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, MEMBERSHIPS, QUOTAPOOLS, WEBHOOKCONFIGS
from bursar_testing.manifests import resource
from bursar_testing.waiting import eventually
from bursar_testing.webhooks import HALF, NAMESPACE, YEAR, Webhook, fitting_allocation, fresh, grant, hours, register


@pytest.fixture
async def stored(webhook: Webhook, kube: Kube) -> AsyncIterator[Obj]:
    """An allocation of 1,000 cpu hours that is granted."""
    made = await kube.create(ALLOCATIONS, fitting_allocation())
    name = made["metadata"]["name"]
    status = {"charged": hours(cpu=1000), "granted": hours(cpu=1000), "pool": "alpha-lattice"}
    yield await kube.merge_patch(ALLOCATIONS, name, {"status": status}, NAMESPACE, subresource="status")
    await remove(kube, name)


async def remove(kube: Kube, name: str) -> None:
    """As the operator does once the limit is away."""
    await kube.delete(ALLOCATIONS, name, NAMESPACE)
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)


async def change(kube: Kube, obj: Obj, **spec: object) -> Obj:
    return await kube.merge_patch(ALLOCATIONS, obj["metadata"]["name"], {"spec": spec}, NAMESPACE)


async def test_only_what_is_asked_beyond_the_charge_needs_room(webhook: Webhook, kube: Kube, stored: Obj) -> None:
    raised = await change(kube, stored, resources=hours(cpu=401_000))
    assert raised["spec"]["resources"] == hours(cpu=401_000)
    with pytest.raises(Forbidden) as caught:
        await change(kube, stored, resources=hours(cpu=401_001))
    assert "this asks for 400,001 more. Ask for 401,000 in all" in caught.value.message


async def test_a_request_that_waits_for_room_may_be_changed_otherwise(webhook: Webhook, kube: Kube) -> None:
    waiting = await kube.create(ALLOCATIONS, fitting_allocation(resources=hours(gpu=12_000)))
    name = waiting["metadata"]["name"]
    await grant(kube, "alpha-2026", {"cpu": 100_000, "gpu": 900_000})
    try:
        await eventually_full(kube)
        threshold = {"percent": 80, "basis": "Used", "action": "Notify"}
        changed = await change(kube, waiting, thresholds=[threshold])
        assert changed["spec"]["thresholds"] == [threshold]
        lowered = await change(kube, waiting, resources=hours(gpu=11_000))
        assert lowered["spec"]["resources"] == hours(gpu=11_000)
        with pytest.raises(Forbidden, match="0 of 900,000 gpu hours left"):
            await change(kube, waiting, resources=hours(gpu=13_000))
    finally:
        await grant(kube, "alpha-2026", {"cpu": 100_000, "gpu": 888_000})
        await remove(kube, name)


async def test_what_was_stored_is_never_punished(webhook: Webhook, kube: Kube) -> None:
    """Stored while the webhook did not look: on a cluster that is not there, in a pool that is not there."""
    await kube.delete(WEBHOOKCONFIGS, "bursar")
    orphan = fitting_allocation(clusterRef={"name": "gamma"}, poolRef={"name": "nowhere"})
    try:
        made = await eventually_created(kube, orphan)
    finally:
        await register(kube, webhook)
    relabelled = {"metadata": {"labels": {"a": "b"}}}
    await kube.merge_patch(ALLOCATIONS, made["metadata"]["name"], relabelled, NAMESPACE)
    await change(kube, made, thresholds=[{"percent": 80, "basis": "Used", "action": "Notify"}])
    with pytest.raises(Forbidden) as caught:
        await change(kube, made, stopPolicy="Hold")
    assert [cause.reason for cause in caught.value.causes] == ["NotYetSupported"]
    await remove(kube, made["metadata"]["name"])


async def test_an_object_that_is_being_deleted_is_let_through(webhook: Webhook, kube: Kube, stored: Obj) -> None:
    made = await kube.create(ALLOCATIONS, fitting_allocation())
    name = made["metadata"]["name"]
    await kube.delete(ALLOCATIONS, name, NAMESPACE)
    patch = {"spec": {"resources": hours(cpu=900_000)}}
    assert (await kube.merge_patch(ALLOCATIONS, name, patch, NAMESPACE))["metadata"]["deletionTimestamp"]
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)


async def test_what_charges_rest_on_stays(webhook: Webhook, kube: Kube) -> None:
    """Each refusal says what to do instead, whoever asks."""
    monthly = await kube.create(ALLOCATIONS, fitting_allocation(recurrence={"every": "Month"}, period=YEAR))
    name = monthly["metadata"]["name"]
    longer = {"start": YEAR["start"], "end": "2026-12-01T00:00:00Z"}
    later = {"start": "2026-02-01T00:00:00Z", "end": YEAR["end"]}
    changes: list[tuple[Obj, str]] = [
        ({"recurrence": None}, "make another allocation for other windows"),
        ({"recurrence": {"every": "Year"}}, "make another allocation for other windows"),
        ({"period": longer}, "renew it with a new allocation from that end on"),
        ({"period": later}, "leave the start as it is, or make another allocation"),
        ({"debt": "Absorb"}, "adjust the hours with `bursar entries adjust`"),
        ({"grace": {"overusePercent": 5}}, "adjust the hours with `bursar entries adjust`"),
        ({"resources": hours(gpu=5)}, "lower its hours instead"),
    ]
    for spec, words in changes:
        with pytest.raises(Invalid, match=words):
            await kube.merge_patch(ALLOCATIONS, name, {"spec": spec}, NAMESPACE, dry_run=True)
    await kube.merge_patch(ALLOCATIONS, name, {"spec": {"carryOver": {"percent": 5}}}, NAMESPACE, dry_run=True)
    await remove(kube, name)


async def test_an_end_moves_only_ahead_of_the_clock(webhook: Webhook, kube: Kube) -> None:
    long = {"start": YEAR["start"], "end": "2120-01-01T00:00:00Z"}
    spec = {"clusterRef": {"name": "alpha"}, "period": long, "resources": hours(cpu=9000)}
    pool = (await kube.create(QUOTAPOOLS, resource("QuotaPool", fresh("long"), spec)))["metadata"]["name"]
    made = [
        await kube.create(ALLOCATIONS, fitting_allocation(poolRef={"name": pool}, period={**long, "end": end}))
        for end in ("2110-01-01T00:00:00Z", "2111-01-01T00:00:00Z", "2026-02-01T00:00:00Z")
    ]
    first, _, over = (item["metadata"]["name"] for item in made)
    refused = [
        (first, "2026-02-01T00:00:00Z", "choose a later end, or delete the allocation to end it at once"),
        (over, "2110-01-01T00:00:00Z", "renew it with a new allocation"),
    ]
    for name, end, words in refused:
        await soon_refused(kube, name, {"period": {**long, "end": end}}, words)
    ahead = {"spec": {"period": {**long, "end": "2112-01-01T00:00:00Z"}}}
    await kube.merge_patch(ALLOCATIONS, first, ahead, NAMESPACE)
    for item in made:
        await remove(kube, item["metadata"]["name"])
    await kube.delete(QUOTAPOOLS, pool)


async def soon_refused(kube: Kube, name: str, spec: Obj, words: str) -> None:
    """With these words, once the webhook's copy has come up."""
    said: list[str] = []
    for _ in range(300):
        try:
            await kube.merge_patch(ALLOCATIONS, name, {"spec": spec}, NAMESPACE, dry_run=True)
        except Forbidden as error:
            said = [cause.message for cause in error.causes if cause.reason == "ChargesWouldMove"]
            if any(words in line for line in said):
                return
        await asyncio.sleep(0.05)
    raise AssertionError(f"{spec} was never refused with {words!r}; last: {said}")


async def test_a_pool_keeps_the_resources_that_are_granted(webhook: Webhook, kube: Kube) -> None:
    words = "20000 gpu hours are granted from pool alpha-lattice, so they stay listed; delete or lower those allocations first"
    with pytest.raises(Forbidden, match=words):
        await kube.merge_patch(QUOTAPOOLS, "alpha-lattice", {"spec": {"resources": hours(cpu=500_000)}}, dry_run=True)


async def test_a_pool_keeps_its_children_and_allocations_inside(webhook: Webhook, kube: Kube, stored: Obj) -> None:
    with pytest.raises(Forbidden) as caught:
        await kube.merge_patch(QUOTAPOOLS, "alpha-2026", {"spec": {"period": HALF}}, dry_run=True)
    assert "pool alpha-lattice hangs below pool alpha-2026 and would lie outside" in caught.value.message
    shorter = {"start": YEAR["start"], "end": "2026-03-01T00:00:00Z"}
    with pytest.raises(Forbidden) as caught:
        await kube.merge_patch(QUOTAPOOLS, "alpha-lattice", {"spec": {"period": shorter}}, dry_run=True)
    assert f"would lie outside its period: {NAMESPACE}/" in caught.value.message


async def test_a_cluster_keeps_the_resources_that_are_granted(webhook: Webhook, kube: Kube) -> None:
    fewer = {"spec": {"resources": [{"name": "cpu", "capacity": 4096}]}}
    with pytest.raises(Forbidden, match="gpu hours are granted from pool alpha-"):
        await kube.merge_patch(CLUSTERS, "alpha", fewer, dry_run=True)
    await kube.merge_patch(CLUSTERS, "beta", fewer, dry_run=True)


async def test_a_person_is_a_member_once_and_the_last_owner_stays(webhook: Webhook, kube: Kube) -> None:
    def member(user: str, role: str) -> Obj:
        return resource("Membership", fresh(user), {"user": user, "role": role}, NAMESPACE)

    owner = await kube.create(MEMBERSHIPS, member("alice", "Owner"))
    name = owner["metadata"]["name"]
    with pytest.raises(Forbidden, match=f"alice is a member of project lattice-qcd already by {name}; change that one"):
        await kube.create(MEMBERSHIPS, member("alice", "Member"))
    demoted = {"spec": {"role": "Member"}}
    with pytest.raises(Forbidden, match="alice is the project's last owner; make somebody else Owner first") as caught:
        await kube.merge_patch(MEMBERSHIPS, name, demoted, NAMESPACE)
    assert [(cause.field, cause.reason) for cause in caught.value.causes] == [("spec.role", "LastOwner")]
    other = await kube.create(MEMBERSHIPS, member("bob", "Owner"))
    await kube.merge_patch(MEMBERSHIPS, name, demoted, NAMESPACE)
    for obj in (owner, other):
        await kube.delete(MEMBERSHIPS, obj["metadata"]["name"], NAMESPACE)


async def eventually_full(kube: Kube) -> None:
    """Until the webhook's copy has the full pool."""
    await eventually_refused(kube, fitting_allocation(resources=hours(gpu=1)))


async def eventually_refused(kube: Kube, obj: Obj) -> None:
    for _ in range(1000):
        try:
            await kube.create(ALLOCATIONS, obj, dry_run=True)
        except Forbidden:
            return
    raise AssertionError("it was never refused")


async def eventually_created(kube: Kube, obj: Obj) -> Obj:
    """Until the API server has forgotten the webhook."""
    made: list[Obj] = []
    for _ in range(1000):
        try:
            made.append(await kube.create(ALLOCATIONS, obj))
        except Forbidden:
            continue
        break
    await eventually(lambda: made, "stored without the webhook")
    return made[0]


async def test_the_operator_is_not_judged(webhook: Webhook, kube: Kube, operator: Kube) -> None:
    """An operator that the webhook could stop could not release anything during an outage."""
    made = await operator.create(ALLOCATIONS, fitting_allocation(clusterRef={"name": "gamma"}))
    await remove(kube, made["metadata"]["name"])

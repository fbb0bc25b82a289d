"""The fault proxy over a real API server: each fault is seen by our client as the real one is, and tells no lie."""

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest

from bursar_kube.client import Kube
from bursar_kube.errors import AlreadyExists, Conflict, Forbidden, Gone, KubeError, NotFound, TooManyRequests
from bursar_kube.informer import Informer
from bursar_kube.resources import CONFIGMAPS, NAMESPACES, SELFSUBJECTREVIEWS, SERVICEACCOUNTS
from bursar_local.controlplane import ControlPlane
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing.faultplan import Call, Fault, Faults
from bursar_testing.faultproxy import FaultProxy, Moment
from bursar_testing.waiting import eventually

Obj = dict[str, Any]
WHERE = "default"
LONG = "x" * 100_000


def made(**data: str) -> Obj:
    return {"metadata": {"name": f"fault-{uuid.uuid4().hex[:8]}", "namespace": WHERE}, "data": data}


async def exists(kube: Kube, obj: Obj) -> bool:
    try:
        await kube.get(CONFIGMAPS, obj["metadata"]["name"], WHERE)
    except NotFound:
        return False
    return True


async def watched(kube: Kube, **settings: Any) -> None:
    async for _ in kube.watch(CONFIGMAPS, WHERE, **settings):
        pass


async def test_without_faults_everything_passes(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    obj = await proxied.create(CONFIGMAPS, made(text="Größe"))
    obj["data"]["text"] = LONG * 5
    await proxied.replace(CONFIGMAPS, obj)
    assert (await kube.get(CONFIGMAPS, obj["metadata"]["name"], WHERE))["data"]["text"] == LONG * 5
    assert obj["metadata"]["name"] in {item["metadata"]["name"] for item in await proxied.list(CONFIGMAPS, WHERE)}
    await proxied.delete(CONFIGMAPS, obj["metadata"]["name"], WHERE)
    assert not await exists(kube, obj)
    assert proxy.counted() == 0
    assert [(item.method, item.status) for item in proxy.written] == [("POST", 201), ("PUT", 200), ("DELETE", 200)]


async def test_each_client_keeps_its_identity(
    controlplane: ControlPlane, proxied: Kube, proxy: FaultProxy, tmp_path: Path
) -> None:
    account = await proxied.create(SERVICEACCOUNTS, {"metadata": made()["metadata"]})
    real = await service_account_kubeconfig(controlplane.kubectl, tmp_path / "account", WHERE, account["metadata"]["name"])
    nobody = await Kube.connect(str(proxy.kubeconfig(tmp_path / "nobody", real, "nobody")))

    async def name(kube: Kube) -> str:
        answer = await kube.create(SELFSUBJECTREVIEWS, {"metadata": {"name": "me"}})
        return str(answer["status"]["userInfo"]["username"])

    assert await name(nobody) == f"system:serviceaccount:{WHERE}:{account['metadata']['name']}"
    with pytest.raises(Forbidden):
        await nobody.list(CONFIGMAPS, WHERE)
    assert not (await name(proxied)).startswith("system:serviceaccount")
    await nobody.close()


@pytest.mark.parametrize("fault", [Fault.TOO_MANY, Fault.FAILING, Fault.LOST_BEFORE])
async def test_what_fails_before_has_no_effect(kube: Kube, proxied: Kube, proxy: FaultProxy, fault: Fault) -> None:
    proxy.faults = Faults({fault: 1.0}, retry_after_seconds=3)
    obj = made()
    with pytest.raises(KubeError) as caught:
        await proxied.create(CONFIGMAPS, obj)
    assert caught.value.unknown_result is (fault is not Fault.TOO_MANY)
    if fault is Fault.TOO_MANY:
        assert isinstance(caught.value, TooManyRequests)
        assert caught.value.retry_after == 3
    assert not await exists(kube, obj)
    assert proxy.counted(fault, client="client", method="POST") == 1
    proxy.active = False
    await proxied.create(CONFIGMAPS, obj)
    assert await exists(kube, obj)


@pytest.mark.parametrize("fault", [Fault.LOST_AFTER, Fault.RESET])
async def test_what_fails_after_took_effect(kube: Kube, proxied: Kube, proxy: FaultProxy, fault: Fault) -> None:
    proxy.faults = Faults({fault: 1.0})
    obj = made(long=LONG)
    with pytest.raises(KubeError) as caught:
        await proxied.create(CONFIGMAPS, obj)
    assert caught.value.unknown_result
    assert await exists(kube, obj)


async def test_lost_answers_are_silence_and_timeouts(proxied: Kube, proxy: FaultProxy) -> None:
    proxy.faults = Faults({Fault.LOST_AFTER: 1.0}, silence_seconds=0.01)
    seen = set()
    for _ in range(12):
        with pytest.raises(KubeError) as caught:
            await proxied.create(CONFIGMAPS, made())
        seen.add((type(caught.value).__name__, caught.value.status))
    assert seen == {("Unavailable", 0), ("ServerTimeout", 504)}


async def test_a_spurious_conflict_is_one_of_compare_and_swap_alone(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    proxy.faults = Faults({Fault.CONFLICT: 1.0})
    obj = await proxied.create(CONFIGMAPS, made(of="a"))
    with pytest.raises(Conflict):
        await proxied.replace(CONFIGMAPS, {**obj, "data": {"of": "b"}})
    assert (await kube.get(CONFIGMAPS, obj["metadata"]["name"], WHERE))["data"] == {"of": "a"}
    del obj["metadata"]["resourceVersion"]
    await proxied.replace(CONFIGMAPS, {**obj, "data": {"of": "c"}})
    await proxied.merge_patch(CONFIGMAPS, obj["metadata"]["name"], {"data": {"of": "d"}}, WHERE)
    assert proxy.counted(Fault.CONFLICT) == proxy.counted() == 1


async def test_a_write_that_is_sent_twice_is_told_the_second_answer(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    proxy.faults = Faults({Fault.RESENT: 1.0})
    obj = made(of="a")
    with pytest.raises(AlreadyExists):
        await proxied.create(CONFIGMAPS, obj)
    stored = await kube.get(CONFIGMAPS, obj["metadata"]["name"], WHERE)
    with pytest.raises(Conflict):
        await proxied.replace(CONFIGMAPS, {**stored, "data": {"of": "b"}})
    assert (await kube.get(CONFIGMAPS, obj["metadata"]["name"], WHERE))["data"] == {"of": "b"}


async def test_faults_choose_by_method_path_agent_and_client(proxied: Kube, proxy: FaultProxy) -> None:
    some = Faults({Fault.TOO_MANY: 1.0}, methods=frozenset({"GET"}), path="/namespaces/", agent="^bursar", client="client")
    assert some.concerns(Call("client", "GET", "/api/v1/namespaces/a", {}, "bursar"))
    for other in (
        Call("other", "GET", "/api/v1/namespaces/a", {}, "bursar"),
        Call("client", "PUT", "/api/v1/namespaces/a", {}, "bursar"),
        Call("client", "GET", "/api/v1/namespaces", {}, "bursar"),
        Call("client", "GET", "/api/v1/namespaces/a", {}, "kubectl"),
    ):
        assert not some.concerns(other)
    proxy.rules.append(some)
    with pytest.raises(TooManyRequests):
        await proxied.get(NAMESPACES, "default")
    await proxied.list(NAMESPACES)
    await proxied.create(CONFIGMAPS, made())


def test_the_same_seed_gives_the_same_faults_whatever_others_do() -> None:
    def drawn(seed: int, *others: str) -> list[Fault | None]:
        faults = Faults({Fault.FAILING: 0.3, Fault.SLOW: 0.3}, seed=seed)
        calls = [Call("a", "GET", f"/{other}", {}) for other in (*others, "x")]
        return [[faults.choose(call, faults.draw(call, number)) for call in calls][-1] for number in range(50)]

    assert drawn(1) == drawn(1, "y", "z") != drawn(2)
    assert {*drawn(1)} == {None, Fault.FAILING, Fault.SLOW}


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.EXPIRED, Fault.LATE, Fault.FAILING])
async def test_an_informer_lives_through_broken_watches(kube: Kube, proxied: Kube, proxy: FaultProxy, fault: Fault) -> None:
    proxy.faults = Faults({fault: 0.7}, life_seconds=0.2, late_seconds=0.05, silence_seconds=0.05)
    objects = [made(long=LONG) for _ in range(4)]
    async with Informer(proxied, CONFIGMAPS, WHERE, watch_seconds=1) as informer:
        for obj in objects:
            await kube.create(CONFIGMAPS, obj)
        for obj in objects:
            name = obj["metadata"]["name"]
            await eventually(lambda name=name: informer.get(WHERE, name), f"the copy holds {name}")  # type: ignore[misc]
        await eventually(lambda: proxy.counted(fault), "a fault was injected")


async def test_a_watch_is_cut_in_the_middle_of_a_line(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    await kube.create(CONFIGMAPS, made(long=LONG))
    proxy.faults = Faults({Fault.CUT: 1.0}, life_seconds=0.0)
    with pytest.raises(KubeError) as caught:
        await watched(proxied)
    assert caught.value.unknown_result


async def test_an_expired_version_is_told_as_the_server_tells_it(proxied: Kube, proxy: FaultProxy) -> None:
    _, version = await proxied.list_versioned(CONFIGMAPS, WHERE)
    proxy.faults = Faults({Fault.EXPIRED: 1.0})
    with pytest.raises(Gone):
        await watched(proxied, resource_version=version)


async def test_all_watches_can_be_cut_at_once(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    async with Informer(proxied, CONFIGMAPS, WHERE) as informer:
        proxy.cut_watches()
        await eventually(lambda: informer.last_error, "the copy noticed")
        obj = await kube.create(CONFIGMAPS, made())
        await eventually(lambda: informer.get(WHERE, obj["metadata"]["name"]), "it follows again")


@pytest.mark.parametrize("moment", list(Moment))
async def test_acting_beside_a_write(kube: Kube, proxied: Kube, proxy: FaultProxy, moment: Moment) -> None:
    called: list[int] = []

    async def act() -> None:
        called.append(len(proxy.written))

    proxy.on_write(2, moment, act, client="client")
    objects = [made(number=str(number)) for number in range(3)]
    await kube.create(CONFIGMAPS, made())  # another client's
    await proxied.create(CONFIGMAPS, objects[0], dry_run=True)
    await proxied.create(CONFIGMAPS, objects[0])
    with pytest.raises(KubeError) as caught:
        await proxied.create(CONFIGMAPS, objects[1])
    assert caught.value.unknown_result
    await proxied.create(CONFIGMAPS, objects[2])
    assert [await exists(kube, obj) for obj in objects] == [True, moment is Moment.AFTER, True]
    assert called == [2 if moment is Moment.AFTER else 1]


async def test_a_write_of_a_client_that_went_away_is_finished(kube: Kube, proxied: Kube, proxy: FaultProxy) -> None:
    proxy.faults = Faults({Fault.SLOW: 1.0}, slow_seconds=1.0)
    obj = made()
    writing = asyncio.create_task(proxied.create(CONFIGMAPS, obj))
    await eventually(lambda: proxy.written, "it was forwarded")
    writing.cancel()
    assert await exists(kube, obj)

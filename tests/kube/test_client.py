"""The client against the real API server: every verb, and every error as what it is."""

import asyncio
from pathlib import Path

import pytest

from bursar_kube.client import PAGE, Kube, Obj
from bursar_kube.errors import (
    AlreadyExists,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotConfigured,
    NotFound,
    ServerTimeout,
    Unauthorized,
    Unavailable,
)
from bursar_kube.resources import (
    CONFIGMAPS,
    MEMBERSHIPS,
    NAMESPACES,
    OWN,
    RESOURCEQUOTAS,
    SELFSUBJECTREVIEWS,
    SERVICEACCOUNTS,
)
from bursar_testing.relay import Relay


def config(namespace: str, name: str = "one", **data: str) -> Obj:
    return {"metadata": {"name": name, "namespace": namespace}, "data": data}


async def test_writes_and_reads(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIGMAPS, config(namespace, a="1"))
    made["data"]["a"] = "2"
    replaced = await kube.replace(CONFIGMAPS, made)
    patched = await kube.merge_patch(CONFIGMAPS, "one", {"data": {"a": None, "b": "3"}}, namespace)
    applied = await kube.apply(CONFIGMAPS, config(namespace, c="4"), field_manager="test")
    read = await kube.get(CONFIGMAPS, "one", namespace)
    assert replaced["data"] == {"a": "2"}
    assert patched["data"] == {"b": "3"}
    assert applied["data"] == read["data"] == {"b": "3", "c": "4"}
    await kube.delete(CONFIGMAPS, "one", namespace)
    with pytest.raises(NotFound):
        await kube.get(CONFIGMAPS, "one", namespace)


async def test_a_dry_run_writes_nothing(kube: Kube, namespace: str) -> None:
    answer = await kube.create(CONFIGMAPS, config(namespace, a="1"), dry_run=True)
    assert answer["data"] == {"a": "1"}
    with pytest.raises(NotFound):
        await kube.get(CONFIGMAPS, "one", namespace)


async def test_status_is_written_apart_from_the_spec(kube: Kube, namespace: str) -> None:
    quota = await kube.create(
        RESOURCEQUOTAS, {"metadata": {"name": "q", "namespace": namespace}, "spec": {"hard": {"pods": "3"}}}
    )
    quota["spec"]["hard"]["pods"], quota["status"] = "9", {"hard": {"pods": "3"}, "used": {"pods": "1"}}
    quota["metadata"].pop("resourceVersion")
    written = await kube.replace_status(RESOURCEQUOTAS, quota)
    assert (written["spec"]["hard"]["pods"], written["status"]["used"]["pods"]) == ("3", "1")


async def test_lists_are_read_in_pages(kube: Kube, namespace: str) -> None:
    count = PAGE + 20
    slots = asyncio.Semaphore(16)

    async def make(number: int) -> None:
        metadata = {"name": f"c{number:04}", "namespace": namespace, "labels": {"page": "yes"}}
        async with slots:
            await kube.create(CONFIGMAPS, {"metadata": metadata})

    await asyncio.gather(*(make(number) for number in range(count)))
    found = await kube.list(CONFIGMAPS, namespace, label_selector="page=yes")
    assert [item["metadata"]["name"] for item in found] == [f"c{number:04}" for number in range(count)]
    assert found[0]["kind"] == "ConfigMap"


async def test_a_stale_replace_is_a_conflict(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIGMAPS, config(namespace, a="1"))
    await kube.merge_patch(CONFIGMAPS, "one", {"data": {"a": "2"}}, namespace)
    with pytest.raises(Conflict) as caught:
        await kube.replace(CONFIGMAPS, made | {"data": {"a": "3"}})
    assert (caught.value.status, caught.value.reason, caught.value.unknown_result) == (409, "Conflict", False)
    assert (await kube.get(CONFIGMAPS, "one", namespace))["data"] == {"a": "2"}


async def test_another_manager_is_a_conflict_unless_forced(kube: Kube, namespace: str) -> None:
    await kube.apply(CONFIGMAPS, config(namespace, a="1"), field_manager="first")
    with pytest.raises(Conflict) as caught:
        await kube.apply(CONFIGMAPS, config(namespace, a="2"), field_manager="second")
    assert [(cause.reason, cause.field) for cause in caught.value.causes] == [("FieldManagerConflict", ".data.a")]
    forced = await kube.apply(CONFIGMAPS, config(namespace, a="2"), field_manager="second", force=True)
    assert forced["data"] == {"a": "2"}


async def test_a_taken_name(kube: Kube, namespace: str) -> None:
    await kube.create(CONFIGMAPS, config(namespace))
    with pytest.raises(AlreadyExists):
        await kube.create(CONFIGMAPS, config(namespace))


async def test_a_dry_run_of_a_delete_deletes_nothing(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIGMAPS, config(namespace, a="1"))
    await kube.delete(CONFIGMAPS, "one", namespace, dry_run=True)
    await kube.delete(CONFIGMAPS, "one", namespace, uid=made["metadata"]["uid"], dry_run=True)
    assert (await kube.get(CONFIGMAPS, "one", namespace))["metadata"]["uid"] == made["metadata"]["uid"]


async def test_a_delete_of_another_object_with_the_same_name_is_a_conflict(kube: Kube, namespace: str) -> None:
    made = await kube.create(CONFIGMAPS, config(namespace))
    with pytest.raises(Conflict):
        await kube.delete(CONFIGMAPS, "one", namespace, uid="another")
    await kube.delete(CONFIGMAPS, "one", namespace, uid=made["metadata"]["uid"])


async def test_an_invalid_object_names_its_fields(kube: Kube, namespace: str) -> None:
    with pytest.raises(Invalid) as caught:
        await kube.create(CONFIGMAPS, config(namespace, "Not A Name", secret="do-not-repeat"))
    assert [cause.field for cause in caught.value.causes] == ["metadata.name"]
    assert "do-not-repeat" not in str(caught.value)


async def test_an_old_version_cannot_be_watched(kube: Kube, namespace: str) -> None:
    with pytest.raises(Gone):
        async for _ in kube.watch(MEMBERSHIPS, namespace, resource_version="1"):
            pass


async def test_another_token_is_another_person(kube: Kube, namespace: str) -> None:
    account = {"metadata": {"name": "robot", "namespace": namespace}}
    await kube.create(SERVICEACCOUNTS, account)
    path = SERVICEACCOUNTS.path("robot", namespace, "token")
    token = await kube.raw("POST", path, {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}})
    robot = kube.as_token(token["status"]["token"])
    who = await robot.create(SELFSUBJECTREVIEWS, {})
    assert who["status"]["userInfo"]["username"] == f"system:serviceaccount:{namespace}:robot"
    with pytest.raises(Forbidden):
        await robot.list(NAMESPACES)
    await robot.close()
    assert await kube.list(NAMESPACES), "closing what as_token gave must not close the rest"


async def test_a_bad_token_is_not_helped_by_our_certificate(kube: Kube) -> None:
    with pytest.raises(Unauthorized):
        await kube.as_token("nonsense").list(NAMESPACES)


async def test_a_frozen_server_is_an_unknown_result(relayed: Kube, relay: Relay) -> None:
    await relayed.list(NAMESPACES)
    relay.freeze()
    with pytest.raises(ServerTimeout) as caught:
        await relayed.raw("GET", "/api/v1/namespaces", timeout=0.3)
    assert caught.value.unknown_result


async def test_a_refused_connection_is_an_unknown_result(relayed: Kube, relay: Relay) -> None:
    relay.refuse()
    with pytest.raises(Unavailable) as caught:
        await relayed.list(NAMESPACES)
    assert caught.value.unknown_result
    relay.refuse(False)
    assert await relayed.list(NAMESPACES)


async def test_a_missing_kubeconfig_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotConfigured, match="nowhere"):
        await Kube.connect(str(tmp_path / "nowhere"))


async def test_our_kinds_are_served(kube: Kube) -> None:
    for rt in OWN:
        assert isinstance(await kube.list(rt), list)

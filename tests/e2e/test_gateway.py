"""People and the gateway on the whole stack: who sees what, whose name a write carries, what a refusal says."""

import asyncio
import json
from collections.abc import Callable

import httpx
import pytest

from bursar_client import ApiError, BursarClient
from bursar_client.connection import tls
from bursar_local.demo.kube import Kubectl
from bursar_local.endpoints import Endpoints
from bursar_testing import manifests as make

AsUser = Callable[[str], BursarClient]


async def names(client: BursarClient, plural: str) -> set[str]:
    return {item["name"] for item in await client.listing(plural)}


async def test_members_see_their_own_projects_only(site: str, as_user: AsUser) -> None:
    async with as_user("alice") as alice, as_user("bob") as bob, as_user("erin") as erin:
        assert "optics" in await names(alice, "projects")
        assert "plasma" not in await names(alice, "projects")
        assert "plasma" in await names(bob, "projects")
        assert {"optics", "plasma"} <= await names(erin, "projects")
        assert await names(alice, "pools") == set()
        assert {"toy-all", "toy-dept"} <= await names(erin, "pools")
        with pytest.raises(ApiError) as refusal:
            await alice.request("GET", "/api/v1/projects/plasma")
        assert refusal.value.status == 404
        with pytest.raises(ApiError) as refusal:
            await alice.request("GET", "/api/v1/clusters/toy/accounts")
        assert refusal.value.status == 404


async def test_without_a_token_nothing_is_shown(stack: Endpoints) -> None:
    async with httpx.AsyncClient(base_url=stack.gateway, verify=tls(stack.ca)) as client:
        for path in ("me", "clusters", "projects", "pools", "allocations", "usage", "balances"):
            answer = await client.get(f"/api/v1/{path}")
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await client.get("/healthz")).status_code == 200
        assert (await client.get("/readyz")).status_code == 200
        assert "bursar_gateway_requests_total" in (await client.get("/metrics")).text
        document = (await client.get("/openapi.json")).json()
        assert "/api/v1/allocations/{project}/{name}" in document["paths"]


async def test_a_write_carries_the_person_who_made_it(site: str, as_user: AsUser, admin: Kubectl) -> None:
    spec = make.allocation("optics", "by-dana", "toy-dept", 50, "toy")["spec"]
    async with as_user("dana") as dana:
        made = await dana.request(
            "POST",
            "/api/v1/allocations",
            params={"wait": "granted"},
            body={"project": "optics", "name": "by-dana", "spec": spec},
        )
        assert made["status"]["granted"] == [{"name": "cpu", "hours": 50}]
        [stored] = await admin.get("allocations.bursar.dev", "by-dana", "-n", "project-optics")
        assert stored["spec"]["requestedBy"]["user"] == "oidc:dana"
        changed = {**made["spec"], "resources": [{"name": "cpu", "hours": 60}]}
        version = made["resourceVersion"]
        path = "/api/v1/allocations/optics/by-dana"
        await dana.request("PUT", path, body={"spec": changed})
        async with httpx.AsyncClient(verify=tls(dana._connection.ca)) as raw:
            stale = await raw.put(
                f"{dana._connection.gateway}{path}",
                json={"spec": changed},
                headers={"Authorization": f"Bearer {await dana._connection.bearer()}", "If-Match": f'"{version}"'},
            )
        assert stale.status_code == 409
        await granted(admin, "by-dana", 60)
        await dana.request("DELETE", path, params={"dryRun": True})
        [stored] = await admin.get("allocations.bursar.dev", "by-dana", "-n", "project-optics")
        assert "deletionTimestamp" not in stored["metadata"]
        await dana.request("DELETE", path)
        for _ in range(100):
            if not any(a["name"] == "by-dana" for a in await dana.listing("allocations")):
                break
            await asyncio.sleep(0.1)
        assert not any(a["name"] == "by-dana" for a in await dana.listing("allocations"))


async def test_what_charges_rest_on_is_not_changed(site: str, as_user: AsUser) -> None:
    spec = make.allocation("optics", "monthly", "toy-dept", 5, "toy", recurrence={"every": "Month"})["spec"]
    path = "/api/v1/allocations/optics/monthly"
    async with as_user("dana") as dana:
        await dana.request("POST", "/api/v1/allocations", body={"project": "optics", "name": "monthly", "spec": spec})
        for changed, words in (
            ({**spec, "recurrence": {"every": "Year"}}, "make another allocation for other windows"),
            ({**spec, "period": {**spec["period"], "end": "2030-01-01T00:00:00Z"}}, "renew it with a new allocation"),
        ):
            with pytest.raises(ApiError, match=words) as refusal:
                await dana.request("PUT", path, body={"spec": changed})
            assert refusal.value.status == 422
        await dana.request("DELETE", path)


async def granted(admin: Kubectl, name: str, hours: int) -> None:
    for _ in range(100):
        [stored] = await admin.get("allocations.bursar.dev", name, "-n", "project-optics")
        if stored["status"].get("granted") == [{"name": "cpu", "hours": hours}]:
            return
        await asyncio.sleep(0.1)
    raise AssertionError(json.dumps(stored["status"], indent=1))


async def test_a_member_may_not_grant_themselves_hours(site: str, as_user: AsUser) -> None:
    spec = make.allocation("optics", "mine", "toy-dept", 10, "toy")["spec"]
    async with as_user("alice") as alice:
        with pytest.raises(ApiError) as refusal:
            await alice.request("POST", "/api/v1/allocations", body={"project": "optics", "name": "mine", "spec": spec})
        assert refusal.value.status == 403
        with pytest.raises(ApiError) as refusal:
            await alice.apply(make.project("fraud", "alice"))
        assert refusal.value.status == 403


async def test_an_over_large_request_is_refused_with_every_reason(site: str, as_user: AsUser) -> None:
    spec = make.allocation("optics", "huge", "toy-dept", 5000, "toy")["spec"]
    async with as_user("dana") as dana:
        for dry_run in (True, False):
            with pytest.raises(ApiError) as refusal:
                await dana.request(
                    "POST",
                    "/api/v1/allocations",
                    params={"dryRun": dry_run},
                    body={"project": "optics", "name": "huge", "spec": spec},
                )
            assert refusal.value.status == 403
            messages = [violation["message"] for violation in refusal.value.violations]
            assert any("pool toy-dept has" in message and "this asks for 5,000" in message for message in messages), messages
            assert any("pool toy-all has" in message for message in messages), messages


async def test_a_dry_run_writes_nothing(site: str, as_user: AsUser, admin: Kubectl) -> None:
    async with as_user("dana") as dana:
        answer = await dana.apply(make.allocation("optics", "maybe", "toy-dept", 5, "toy"), dry_run=True)
        assert answer["metadata"]["name"] == "maybe"
    found = await admin.get("allocations.bursar.dev", "-n", "project-optics")
    assert "maybe" not in {item["metadata"]["name"] for item in found}


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/allocations?limit=0", None, 422),
        ("GET", "/api/v1/allocations?limit=501", None, 422),
        ("GET", "/api/v1/allocations?continue=zzz", None, 400),
        ("GET", "/api/v1/allocations/optics/none", None, 404),
        ("GET", "/api/v1/nothing", None, 404),
        ("POST", "/api/v1/allocations", {"project": "optics"}, 422),
        ("POST", "/api/v1/allocations", {"project": "none", "name": "x", "spec": {}}, 404),
        ("POST", "/api/v1/apply", {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}, "spec": {}}, 422),
        (
            "POST",
            "/api/v1/apply",
            {"apiVersion": make.API_VERSION, "kind": "Secret", "metadata": {"name": "x"}, "spec": {}},
            400,
        ),
        ("POST", "/api/v1/apply", {"apiVersion": make.API_VERSION, "kind": "Cluster", "metadata": {}, "spec": {}}, 400),
        (
            "POST",
            "/api/v1/apply",
            {"apiVersion": make.API_VERSION, "kind": "Allocation", "metadata": {"name": "x"}, "spec": {}},
            400,
        ),
        ("POST", "/api/v1/apply", {"filler": "x" * 300_000}, 413),
    ],
)
async def test_bad_requests_are_problem_documents(
    site: str, as_user: AsUser, method: str, path: str, body: object, status: int
) -> None:
    async with as_user("erin") as erin:
        with pytest.raises(ApiError) as refusal:
            await erin.request(method, path, body=body)
        assert refusal.value.status == status
        assert str(refusal.value)


async def test_the_api_server_trusts_the_same_token(stack: Endpoints, as_user: AsUser) -> None:
    async with as_user("erin") as erin:
        token = await erin._connection.bearer()
    authority = stack.directory / "controlplane"
    context = tls(next(iter([stack.ca])))
    context.load_verify_locations(cafile=str(next(authority.rglob("ca.crt"), stack.ca)))
    async with httpx.AsyncClient(base_url=stack.apiserver, verify=context) as client:
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = await client.post(
            "/apis/authentication.k8s.io/v1/selfsubjectreviews", json=review, headers={"Authorization": f"Bearer {token}"}
        )
        info = answer.json()["status"]["userInfo"]
    assert info["username"] == "oidc:erin"
    assert info["uid"] == "dev-erin"
    assert "oidc:bursar-admins" in info["groups"]

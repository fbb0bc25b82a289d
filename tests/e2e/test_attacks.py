"""What people and parts must not be able to do, tried on the whole stack with their own credentials."""

import asyncio
import json

import httpx
import pytest
import yaml

from bursar_client import ApiError
from bursar_client.connection import tls
from bursar_crds.names import FINALIZER
from bursar_kube.errors import Forbidden, KubeError
from bursar_kube.resources import ALLOCATIONS, QUOTAPOOLS, SECRETS
from bursar_testing import manifests as make
from bursar_testing.fullstack import Site, fresh

KINDS = ("clusters", "projects", "memberships", "quotapools", "allocations")
GATEWAY = "system:serviceaccount:bursar-system:bursar-gateway"
WEBHOOKS = "system:serviceaccount:bursar-system:bursar-webhooks"
OPERATOR = "system:serviceaccount:bursar-system:bursar-operator"


@pytest.fixture(scope="module")
async def neighbours(people: Site) -> tuple[str, str, str, str]:
    """A cluster, its pool, alice's project and carol's, each with an allocation."""
    cluster, pool, hers, theirs = fresh("att"), fresh("pool"), fresh("hers"), fresh("theirs")
    await people.apply(
        make.cluster(cluster), make.project(hers, "alice"), make.project(theirs, "carol"), make.pool(pool, cluster, 1000)
    )
    for name in (hers, theirs):
        await people.until_project(name)
    await people.apply(*(make.allocation(name, "main", pool, 10, cluster) for name in (hers, theirs)))
    for name in (hers, theirs):
        await people.until_allocation(name, "main", "Granted")
    return cluster, pool, hers, theirs


async def test_a_member_reads_no_other_project(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    cluster, _, hers, theirs = neighbours
    async with people.client("alice") as alice:
        assert (await alice.request("GET", f"/api/v1/allocations/{hers}/main"))["name"] == "main"
        for path in (f"allocations/{theirs}/main", f"projects/{theirs}", f"allocations/{theirs}/none"):
            with pytest.raises(ApiError) as refusal:
                await alice.request("GET", f"/api/v1/{path}")
            assert refusal.value.status == 404
        for filters in ({"project": hers}, {"cluster": cluster}, {}):
            assert theirs not in json.dumps(await alice.balances(**filters))
            assert theirs not in json.dumps(await alice.usage(**filters))
            assert theirs not in json.dumps(await alice.listing("allocations", **filters))
        for question in (alice.balances, alice.usage):
            with pytest.raises(ApiError) as refusal:
                await question(project=theirs)
            assert refusal.value.status == 404
    ran = await people.kubectl("get", "alloc", "main", "-n", f"project-{hers}", user="alice")
    assert ran.code == 0, ran.said
    for arguments in (
        ("get", "alloc", "main", "-n", f"project-{theirs}"),
        ("get", "alloc", "-A"),
        ("get", "pool"),
        ("get", "memb", "-n", f"project-{theirs}"),
        ("get", "secret", "-n", "bursar-system"),
        ("get", "configmap", "-n", "bursar-system"),
    ):
        ran = await people.kubectl(*arguments, user="alice")
        assert ran.code != 0, arguments
        assert "Forbidden" in ran.err


async def test_a_member_writes_no_status_and_no_hours(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    _, pool, hers, _ = neighbours
    patch = json.dumps({"status": {"granted": [{"name": "cpu", "hours": 999}]}})
    more = json.dumps({"spec": {"resources": [{"name": "cpu", "hours": 999}]}})
    mine = ("alloc", "main", "-n", f"project-{hers}", "--type=merge")
    for user in ("alice", "dana", "erin"):
        # Allocators divide hours by spec, admins run the platform: status is the operator's alone.
        for arguments in ((*mine, "--subresource=status", "-p", patch), ("pool", pool, "--type=merge", "--subresource=status")):
            given = arguments if "-p" in arguments else (*arguments, "-p", patch)
            ran = await people.kubectl("patch", *given, user=user)
            assert ran.code != 0, (user, given)
            assert "Forbidden" in ran.err
    ran = await people.kubectl("patch", *mine, "-p", more, user="alice")
    assert "Forbidden" in ran.err
    ran = await people.kubectl("delete", "alloc", "main", "-n", f"project-{hers}", user="alice")
    assert "Forbidden" in ran.err
    seen = await people.allocation(hers, "main")
    assert seen["status"]["granted"] == [{"name": "cpu", "hours": 10}]


async def test_an_admin_takes_keys_away_and_adds_none(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    cluster = neighbours[0]

    async def set_keys(*keys: str) -> tuple[int, str]:
        entries = [{"key": key, "enrolledAt": "2026-01-01T00:00:00Z"} for key in keys]
        patch = json.dumps({"status": {"agent": {"keys": entries}}})
        ran = await people.kubectl(
            "patch", "cluster", cluster, "--type=merge", "--subresource=status", "-p", patch, user="erin"
        )
        return ran.code, ran.err

    code, said = await set_keys("A" * 43)
    assert code != 0
    assert "keys of agents are added by enrolment only" in said
    assert (await set_keys())[0] == 0


async def test_a_status_in_a_manifest_is_no_grant(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    cluster, pool, hers, _ = neighbours
    name = fresh("forged")
    forged = make.allocation(hers, name, pool, 5, cluster)
    forged["status"] = {"granted": [{"name": "cpu", "hours": 900}], "grantRevision": 9}
    await people.apply(forged, user="dana")
    seen = await people.until_allocation(hers, name, "Granted")
    assert seen["status"]["granted"] == [{"name": "cpu", "hours": 5}]


async def test_who_asked_is_stamped_and_can_not_be_forged(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    cluster, pool, hers, _ = neighbours
    name = fresh("asked")
    await people.apply(make.allocation(hers, name, pool, 5, cluster), user="dana")
    stored = await people.allocation(hers, name)
    assert stored["spec"]["requestedBy"] == {"user": "oidc:dana", "uid": "dev-dana"}
    assert stored["metadata"]["finalizers"] == [FINALIZER]
    forged = make.allocation(hers, fresh("forged"), pool, 5, cluster, requestedBy={"user": "oidc:alice", "uid": "dev-alice"})
    said = await people.refused(forged, user="dana")
    assert "requestedBy names oidc:alice, and you are oidc:dana; leave the field out, it is stamped" in said
    later = json.dumps({"spec": {"requestedBy": {"user": "oidc:alice"}}})
    ran = await people.kubectl("patch", "alloc", name, "-n", f"project-{hers}", "--type=merge", "-p", later, user="dana")
    assert ran.code != 0
    assert "spec.requestedBy" in ran.err


async def test_a_finalizer_that_somebody_took_off_does_not_free_hours(
    people: Site, neighbours: tuple[str, str, str, str]
) -> None:
    cluster, pool, hers, _ = neighbours
    name = fresh("stripped")
    await people.apply(make.allocation(hers, name, pool, 7, cluster))
    await people.until_allocation(hers, name, "Granted")
    await people.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": []}}, f"project-{hers}")
    for _ in range(100):
        if (await people.allocation(hers, name))["metadata"].get("finalizers") == [FINALIZER]:
            break
        await asyncio.sleep(0.1)
    assert (await people.allocation(hers, name))["metadata"].get("finalizers") == [FINALIZER]


async def test_parts_have_the_rights_that_they_need_and_no_other(people: Site) -> None:
    denied = [
        (GATEWAY, verb, f"{kind}.bursar.dev{sub}")
        for kind in KINDS
        for verb, sub in (("create", ""), ("update", ""), ("patch", ""), ("delete", ""), ("update", "/status"))
    ]
    denied += [(WEBHOOKS, verb, f"{kind}.bursar.dev") for kind in KINDS for verb in ("create", "patch", "delete")]
    denied += [(who, "get", "secrets") for who in (GATEWAY, OPERATOR)]
    denied += [
        (GATEWAY, "impersonate", "users"),
        (OPERATOR, "impersonate", "users"),
        (OPERATOR, "escalate", "clusterroles"),
        (OPERATOR, "bind", "clusterroles/cluster-admin"),
        (OPERATOR, "bind", "clusterroles/bursar-admin"),
        (OPERATOR, "create", "clusterrolebindings"),
        (OPERATOR, "create", "allocations.bursar.dev"),
        (OPERATOR, "create", "quotapools.bursar.dev"),
        (OPERATOR, "get", "pods"),
    ]
    allowed = [
        (GATEWAY, "list", "allocations.bursar.dev"),
        (OPERATOR, "bind", "clusterroles/bursar-project-owner"),
        (OPERATOR, "update", "allocations.bursar.dev/status"),
    ]
    limit = asyncio.Semaphore(4)

    async def may(who: str, verb: str, what: str) -> bool:
        resource, _, sub = what.partition("/")
        named = (f"{resource}/{sub}",) if sub and sub != "status" else (resource, *(["--subresource=status"] if sub else []))
        async with limit:
            ran = await people.kubectl("auth", "can-i", verb, *named, "--all-namespaces", f"--as={who}")
        assert ran.out.strip() in {"yes", "no"}, ran.said
        return ran.out.strip() == "yes"

    answers = await asyncio.gather(*(may(*case) for case in (*denied, *allowed)))
    wrong = [case for case, answer in zip(denied, answers, strict=False) if answer]
    assert wrong == []
    assert all(answers[len(denied) :])


async def test_the_operator_can_not_hand_out_a_platform_role(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "grab", "namespace": f"project-{neighbours[2]}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": "bursar-operator", "namespace": "bursar-system"}],
    }
    said = await people.refused(binding, f"--as={OPERATOR}", "--validate=false", verb="create")
    assert "is attempting to grant RBAC permissions not currently held" in said


async def test_a_manager_adds_members_to_the_own_project_alone(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    _, _, hers, theirs = neighbours
    await people.apply(make.member(hers, "bob"), user="alice")
    said = await people.refused(make.member(theirs, "bob"), user="alice")
    assert "Forbidden" in said
    owner = make.member(hers, "bob", "Owner")
    said = await people.refused(owner, user="bob")
    assert "Forbidden" in said, "a member makes nobody an owner, least of all the own self"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x.y.z",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJkZXYtZXJpbiIsInByZWZlcnJlZF91c2VybmFtZSI6ImVyaW4ifQ.",
        "é",
        "A" * 9000,
    ],
    ids=["empty", "garbled", "unsigned", "no ascii", "huge"],
)
async def test_a_token_that_is_none_opens_nothing(people: Site, token: str) -> None:
    async with httpx.AsyncClient(base_url=people.endpoints.gateway, verify=tls(people.endpoints.ca)) as client:
        answer = await client.get("/api/v1/allocations", headers={b"Authorization": f"Bearer {token}".strip().encode()})
    assert answer.status_code in {400, 401}
    assert "items" not in answer.text


async def test_a_part_s_own_token_is_nobody_at_the_gateway(people: Site) -> None:
    ran = await people.kubectl("create", "token", "bursar-operator", "-n", "bursar-system")
    async with httpx.AsyncClient(base_url=people.endpoints.gateway, verify=tls(people.endpoints.ca)) as client:
        answer = await client.get("/api/v1/clusters", headers={"Authorization": f"Bearer {ran.out.strip()}"})
    assert answer.status_code == 401


async def test_the_enrolment_secret_is_read_by_no_user(people: Site, neighbours: tuple[str, str, str, str]) -> None:
    token = await people.token(neighbours[0])
    secret = token.split(".")[2]
    async with people.client("dana") as dana:
        bearer = (await dana._headers())["Authorization"].removeprefix("Bearer ")
        dana_kube = people.kube.as_token(bearer)
        with pytest.raises(Forbidden):
            await dana_kube.list(SECRETS, "bursar-system")
        with pytest.raises(KubeError):
            await dana_kube.replace_status(QUOTAPOOLS, await people.pool(neighbours[1]))
    for part in ("operator", "gateway", "webhooks"):
        log = next(one.log for one in people.endpoints.parts if one.name == part).read_text()
        assert secret not in log
        assert bearer not in log


async def test_a_manifest_of_another_kind_does_not_pass_the_gateway(people: Site) -> None:
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "grab"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    }
    ran = await people.bursar("apply", "-f", "-", "--as", "erin", stdin=yaml.safe_dump(binding))
    assert ran.code == 1
    assert "apiVersion" in ran.err

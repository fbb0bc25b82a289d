"""Projects and members through the real API server and a real operator process."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from bursar_crds.conditions import find_condition
from bursar_kube.client import Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import MEMBERSHIPS, NAMESPACES, PROJECTS, ROLEBINDINGS
from bursar_local.files import share
from bursar_testing import manifests
from bursar_testing.operatorprocess import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


def ready(obj: Obj, type_: str = "Ready") -> str | None:
    found = find_condition((obj.get("status") or {}).get("conditions"), type_)
    return None if found is None else f"{found['status']}/{found['reason']}"


async def project_is(stack: Stack, name: str, wanted: str) -> Obj | None:
    found = await stack.kube.get(PROJECTS, name)
    return found if ready(found) == wanted else None


async def can(stack: Stack, user: str, verb: str, resource: str, namespace: str) -> bool:
    answer = await stack.kubectl("auth", "can-i", verb, resource, "-n", namespace, "--as", f"oidc:{user}", check=False)
    return answer.stdout.strip() == "yes"


async def test_a_project_gets_namespace_owner_and_bindings(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("lattice", "alice"))
    found = await eventually(lambda: project_is(stack, "lattice", "True/NamespaceReady"))
    assert found["status"]["account"] == "lattice"
    assert found["status"]["namespace"] == "project-lattice"
    assert found["metadata"]["finalizers"] == ["bursar.dev/release"]
    namespace = await stack.kube.get(NAMESPACES, "project-lattice")
    assert namespace["metadata"]["labels"]["bursar.dev/project"] == "lattice"
    owner = await eventually(lambda: stack.kube.get(MEMBERSHIPS, "alice", "project-lattice"))
    assert owner["spec"] == {"user": "alice", "role": "Owner"}

    async def counted() -> bool:
        return bool((await stack.kube.get(PROJECTS, "lattice"))["status"].get("memberCount") == 1)

    await eventually(counted)


async def test_a_member_can_what_the_role_says_and_an_outsider_cannot(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("optics", "alice"))
    await eventually(lambda: project_is(stack, "optics", "True/NamespaceReady"))
    await stack.apply(manifests.member("optics", "bob"), manifests.member("optics", "mona", "Manager"))
    await eventually(lambda: can(stack, "bob", "list", "allocations.bursar.dev", "project-optics"))
    await eventually(lambda: can(stack, "mona", "create", "memberships.bursar.dev", "project-optics"))
    assert not await can(stack, "bob", "create", "memberships.bursar.dev", "project-optics")
    assert not await can(stack, "eve", "list", "allocations.bursar.dev", "project-optics")
    assert not await can(stack, "bob", "list", "allocations.bursar.dev", "project-lattice")
    for verb in ("create", "update", "delete"):
        assert not await can(stack, "alice", verb, "allocations.bursar.dev", "project-optics")

    await stack.kubectl("delete", "membership", "bob", "-n", "project-optics")

    async def gone() -> bool:
        return not await can(stack, "bob", "list", "allocations.bursar.dev", "project-optics")

    await eventually(gone)


async def test_a_membership_ends_when_its_time_is_over(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("brief", "alice"))
    await eventually(lambda: project_is(stack, "brief", "True/NamespaceReady"))
    until = (datetime.now(UTC) + timedelta(seconds=4)).strftime("%Y-%m-%dT%H:%M:%SZ")
    guest = manifests.member("brief", "gast")
    guest["spec"]["until"] = until
    await stack.apply(guest)
    await eventually(lambda: can(stack, "gast", "list", "allocations.bursar.dev", "project-brief"))

    async def over() -> bool:
        return ready(await stack.kube.get(MEMBERSHIPS, "gast", "project-brief")) == "False/MembershipEnded"

    await eventually(over)
    assert not await can(stack, "gast", "list", "allocations.bursar.dev", "project-brief")


async def test_an_account_belongs_to_the_older_project(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("first", "alice"))
    await eventually(lambda: project_is(stack, "first", "True/NamespaceReady"))
    second = manifests.project("second", "bob")
    second["spec"]["account"] = "first"
    await stack.apply(second)
    refused = await eventually(lambda: project_is(stack, "second", "False/AccountTaken"))
    assert "account" not in refused["status"]
    condition = find_condition(refused["status"]["conditions"], "Ready")
    assert condition is not None
    assert "project first has the account first" in condition["message"]


async def test_a_foreign_namespace_is_refused_and_a_free_one_adopted(stack: Stack, eventually: Eventually) -> None:
    await stack.kubectl("create", "namespace", "ours-already")
    await stack.kubectl("create", "namespace", "theirs")
    await stack.kubectl("label", "namespace", "theirs", "bursar.dev/project=somebody")
    adopting, refused = manifests.project("adopter", "alice"), manifests.project("grabber", "alice")
    adopting["spec"]["namespace"], refused["spec"]["namespace"] = "ours-already", "theirs"
    await stack.apply(adopting, refused)
    await eventually(lambda: project_is(stack, "adopter", "True/NamespaceReady"))
    await eventually(lambda: project_is(stack, "grabber", "False/NamespaceTaken"))
    assert await stack.kube.list(ROLEBINDINGS, "theirs") == []

    await stack.kubectl("delete", "project", "adopter", "--timeout=25s")
    namespace = await stack.kube.get(NAMESPACES, "ours-already")
    assert "bursar.dev/project" not in namespace["metadata"].get("labels", {})
    assert await stack.kube.list(ROLEBINDINGS, "ours-already") == []


async def test_deleting_a_project_takes_its_namespace_with_it(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("brief-life", "alice"))
    await eventually(lambda: project_is(stack, "brief-life", "True/NamespaceReady"))
    await stack.kubectl("delete", "project", "brief-life", "--timeout=25s")

    async def gone() -> bool:
        try:
            return "deletionTimestamp" in (await stack.kube.get(NAMESPACES, "project-brief-life"))["metadata"]
        except NotFound:
            return True

    await eventually(gone)


async def test_a_binding_changed_by_hand_is_restored_when_members_change(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.project("tamper", "alice"))
    await eventually(lambda: can(stack, "alice", "list", "allocations.bursar.dev", "project-tamper"))
    await stack.kubectl("delete", "rolebinding", "bursar-project-owner", "-n", "project-tamper")
    await stack.apply(manifests.member("tamper", "carol", "Viewer"))
    await eventually(lambda: can(stack, "carol", "list", "allocations.bursar.dev", "project-tamper"))
    await eventually(lambda: can(stack, "alice", "create", "memberships.bursar.dev", "project-tamper"))


async def test_the_last_owner_stays(stack: Stack, eventually: Eventually) -> None:
    await stack.kubectl("apply", "-f", str(share("policies") / "keep-the-last-owner.yaml"))
    await stack.apply(manifests.project("crown", "alice"))

    async def counted(owners: str) -> bool:
        namespace = await stack.kube.get(NAMESPACES, "project-crown")
        return bool(namespace["metadata"].get("annotations", {}).get("bursar.dev/owners") == owners)

    async def refused() -> bool:
        answer = await stack.kubectl("delete", "membership", "alice", "-n", "project-crown", "--dry-run=server", check=False)
        return "last owner" in answer.stderr

    await eventually(lambda: counted("1"))
    await eventually(refused)
    await stack.apply(manifests.member("crown", "bob", "Owner"))
    await eventually(lambda: counted("2"))
    await stack.kubectl("delete", "membership", "alice", "-n", "project-crown")
    await eventually(lambda: counted("1"))
    # The whole project may go all the same.
    await stack.kubectl("delete", "project", "crown", "--timeout=25s")
    await stack.kubectl("wait", "--for=delete", "namespace/project-crown", "--timeout=25s")


async def test_a_manager_makes_members_and_no_owner(stack: Stack, eventually: Eventually) -> None:
    await stack.kubectl("apply", "-f", str(share("policies") / "only-owners-make-owners.yaml"))
    await stack.apply(manifests.project("court", "alice"))
    await eventually(lambda: can(stack, "alice", "create", "memberships.bursar.dev", "project-court"))
    await stack.apply(manifests.member("court", "mona", "Manager"))
    await eventually(lambda: can(stack, "mona", "create", "memberships.bursar.dev", "project-court"))

    async def apply_as(user: str, member: Obj, *more: str) -> str:
        words = ("apply", "-f", "-", f"--as=oidc:{user}", *more)
        return (await stack.kubectl(*words, input=json.dumps(member), check=False)).stderr

    async def refused() -> bool:
        # Dry, since the API server takes a moment to heed a new policy: until then mona would become an owner.
        crown = manifests.member("court", "mona", "Owner")
        return "only an owner of the project" in await apply_as("mona", crown, "--dry-run=server")

    await eventually(refused)
    assert await apply_as("mona", manifests.member("court", "bob")) == ""
    assert await apply_as("alice", manifests.member("court", "carol", "Owner")) == ""

    async def removal_refused() -> bool:
        words = ("delete", "membership", "alice", "-n", "project-court", "--as=oidc:mona", "--dry-run=server")
        return "only an owner of the project" in (await stack.kubectl(*words, check=False)).stderr

    await eventually(removal_refused)  # while alice is the last owner, that may be the reason that is given
    # The operator makes the first owner all the same, and a namespace that goes takes its owners with it.
    await stack.apply(manifests.project("next", "alice"))
    await eventually(lambda: stack.kube.get(MEMBERSHIPS, "alice", "project-next"))
    await stack.kubectl("delete", "project", "court", "--timeout=25s")
    await stack.kubectl("wait", "--for=delete", "namespace/project-court", "--timeout=25s")

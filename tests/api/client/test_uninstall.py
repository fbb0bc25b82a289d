"""Deleting and uninstalling on a real API server whose webhook is configured and dead: nothing is ever stuck."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from typer.testing import CliRunner

from bursar_client.__main__ import build
from bursar_client.uninstall import Stuck, Uninstall
from bursar_crds.conditions import find_condition
from bursar_crds.names import FINALIZER
from bursar_kube.client import Kube
from bursar_kube.errors import Forbidden, KubeError, NotFound
from bursar_kube.resources import (
    ALLOCATIONS,
    CLUSTERS,
    CUSTOMRESOURCEDEFINITIONS,
    LEASES,
    MEMBERSHIPS,
    NAMESPACES,
    PROJECTS,
    QUOTAPOOLS,
    WEBHOOKCONFIGS,
    ResourceType,
)
from bursar_ledger.ledger import Ledger
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_local.manifests import webhook_documents
from bursar_local.ports import free_ports
from bursar_testing import manifests
from bursar_testing.bookstack import JANUARY, made, use
from bursar_testing.operatorprocess import OperatorProcess, Stack

pytestmark = pytest.mark.controlplane


async def soon(ask: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again until the answer is neither None nor False."""
    last: object = None
    for _ in range(400):
        try:
            last = await ask()
            if last is not None and last is not False:
                return last
        except KubeError as error:
            last = error
        await asyncio.sleep(0.1)
    raise AssertionError(f"it never came true; last answer: {last!r}")


@pytest.fixture(scope="module")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A control plane of its own: what is installed there goes again and again."""
    found = await ControlPlane.start(tmp_path_factory.mktemp("uninstall") / "controlplane")
    yield found
    await found.stop()


async def installed(plane: ControlPlane) -> None:
    """Definitions, rights and policies; no webhook yet."""
    await apply_definitions(plane.kubectl, share("crds"))
    await plane.kubectl("apply", "-f", str(share("rbac") / "namespace.yaml"))
    await plane.kubectl("apply", "-R", "-f", str(share("rbac")), "-f", str(share("policies")))


@pytest.fixture(scope="module")
async def stack(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    """Everything but a webhook. Tests of this module follow each other: the last but one takes all out."""
    folder = tmp_path_factory.mktemp("installed")
    async with AsyncExitStack() as ending:
        await installed(plane)
        kubeconfig = await service_account_kubeconfig(
            plane.kubectl, folder / "operator.kubeconfig", "bursar-system", "bursar-operator"
        )
        ledger_file = folder / "ledger.db"
        ledger = await Ledger.connect(f"sqlite:///{ledger_file}")
        ending.push_async_callback(ledger.close)
        kube = await Kube.connect(str(plane.kubeconfig))
        ending.push_async_callback(kube.close)
        operator = await OperatorProcess.start(kubeconfig, ledger_file, folder)
        found = Stack(plane.kubectl, kube, ledger, ledger_file, folder, kubeconfig, operator)
        try:
            yield found
        finally:
            await found.operator.kill()


async def site(stack: Stack, name: str) -> None:
    """One of each kind: 100 of 200 hours granted below a department's pool, three of them used; nobody enforces."""
    await made(stack, soon, name, 100)
    await stack.apply(
        manifests.pool(f"{name}-top", name, 1000),
        manifests.pool(f"{name}-low", name, 100, f"{name}-top"),
        manifests.member(name, "bob"),
    )
    await stack.kubectl("patch", "cluster", name, "--type=merge", "-p", '{"spec":{"enforcement":"Observe"}}')
    await use(stack, name, JANUARY, 3, seq=1, watermark=JANUARY + 7200)

    async def known() -> bool:
        found = await stack.kube.get(ALLOCATIONS, "main", f"project-{name}")
        project = await stack.kube.get(PROJECTS, name)
        used = (found.get("status") or {}).get("used") == [{"name": "cpu", "hours": 3}]
        return bool(used and (project.get("status") or {}).get("hasUse"))

    await soon(known)


@asynccontextmanager
async def dead_webhook(stack: Stack) -> AsyncIterator[None]:
    """The configuration stays, the process is gone: whoever creates or changes something is refused."""
    (port,) = free_ports(1)
    for document in webhook_documents(share("webhook"), f"https://127.0.0.1:{port}/validate"):
        await stack.kubectl("apply", "-f", "-", input=json.dumps(document))

    async def refused() -> bool:
        try:
            await stack.kube.create(QUOTAPOOLS, manifests.pool("probe", "nowhere", 1), dry_run=True)
        except KubeError as error:
            return "failed calling webhook" in error.message
        return False

    await soon(refused)
    yield
    with suppress(NotFound):
        await stack.kube.delete(WEBHOOKCONFIGS, "bursar")
    await soon(lambda: _accepted(stack))


async def _accepted(stack: Stack) -> bool:
    try:
        await stack.kube.create(QUOTAPOOLS, manifests.pool("probe", "nowhere", 1), dry_run=True)
    except NotFound:
        return True  # the kind is gone, too
    return True


async def gone(stack: Stack, rt: ResourceType, name: str, namespace: str | None = None) -> bool:
    try:
        await stack.kube.get(rt, name, namespace)
    except NotFound:
        return True
    return False


async def deleted(stack: Stack, rt: ResourceType, name: str, namespace: str | None = None) -> None:
    await soon(lambda: _delete(stack, rt, name, namespace))
    await soon(lambda: gone(stack, rt, name, namespace))


async def _delete(stack: Stack, rt: ResourceType, name: str, namespace: str | None) -> bool:
    await stack.kube.delete(rt, name, namespace)
    return True


async def test_deletes_of_every_kind_go_through_without_the_webhook(stack: Stack) -> None:
    await site(stack, "every")
    async with dead_webhook(stack):
        with pytest.raises(Forbidden, match="alice is the last owner of the project; make somebody else Owner first"):
            await stack.kube.delete(MEMBERSHIPS, "alice", "project-every")
        with pytest.raises(Forbidden, match="pool every is charged with 100 cpu hours; delete the allocations that draw on it"):
            await stack.kube.delete(QUOTAPOOLS, "every")
        with pytest.raises(Forbidden, match=r"annotate it with bursar\.dev/confirm-delete=every and delete it then"):
            await stack.kube.delete(PROJECTS, "every")
        await deleted(stack, MEMBERSHIPS, "bob", "project-every")
        await deleted(stack, ALLOCATIONS, "main", "project-every")

        async def spent() -> bool:
            status = (await stack.kube.get(QUOTAPOOLS, "every"))["status"]
            return bool(status["granted"] == status["spent"] == [{"name": "cpu", "hours": 3}])

        await soon(spent)
        with pytest.raises(Forbidden, match="pool every keeps account of 3 cpu hours that were used; keep it, or annotate it"):
            await stack.kube.delete(QUOTAPOOLS, "every")
        await deleted(stack, QUOTAPOOLS, "every-low")
        await deleted(stack, QUOTAPOOLS, "every-top")


async def reason(stack: Stack, rt: ResourceType, name: str, type_: str, namespace: str | None = None) -> str:
    """Reason of a condition."""
    found = await stack.kube.get(rt, name, namespace)
    return str((find_condition((found.get("status") or {}).get("conditions"), type_) or {}).get("reason", ""))


async def test_a_parent_stays_while_anything_below_it_is_charged_and_may_go_and_come_back_then(stack: Stack) -> None:
    await made(stack, soon, "tree", 10)
    top, low = manifests.pool("tree-top", "tree", 1000), manifests.pool("tree-low", "tree", 100, "tree-top")
    await stack.apply(top, low, manifests.allocation("tree", "below", "tree-low", 50, "tree"))

    async def is_granted(name: str) -> bool:
        return await reason(stack, ALLOCATIONS, name, "Granted", "project-tree") == "Granted"

    await soon(lambda: is_granted("below"))
    with pytest.raises(Forbidden, match="pool tree-top is charged with 50 cpu hours; delete the allocations that draw on it"):
        await stack.kube.delete(QUOTAPOOLS, "tree-top")
    await deleted(stack, ALLOCATIONS, "below", "project-tree")
    await deleted(stack, QUOTAPOOLS, "tree-top")

    async def orphaned(rt: ResourceType, name: str, type_: str, namespace: str | None = None) -> bool:
        return await reason(stack, rt, name, type_, namespace) == "ParentNotFound"

    await soon(lambda: orphaned(QUOTAPOOLS, "tree-low", "Ready"))
    await stack.apply(manifests.allocation("tree", "later", "tree-low", 50, "tree"))
    await soon(lambda: orphaned(ALLOCATIONS, "later", "Granted", "project-tree"))
    await stack.apply(top)
    await soon(lambda: is_granted("later"))


async def test_a_namespace_that_is_deleted_takes_its_allocations_along(stack: Stack) -> None:
    await made(stack, soon, "whole", 50)
    async with dead_webhook(stack):
        await stack.kubectl("delete", "namespace", "project-whole", "--wait=false")

        async def released() -> bool:
            pool = (await stack.kube.get(QUOTAPOOLS, "whole"))["status"]
            return not pool["intents"] and not any(item["hours"] for item in pool["granted"])

        await soon(released)
        await soon(lambda: gone(stack, ALLOCATIONS, "main", "project-whole"))
        await deleted(stack, PROJECTS, "whole")
        await deleted(stack, QUOTAPOOLS, "whole")
        await deleted(stack, CLUSTERS, "whole")


async def bursar(stack: Stack, *words: str) -> tuple[int, str, str]:
    """The command with the administrator's kubeconfig: exit code and what it prints."""
    arguments = [*words, "--kubeconfig", str(stack.kubectl.kubeconfig)]
    result = await asyncio.to_thread(CliRunner().invoke, build(words[:1]), arguments)
    return result.exit_code, result.stdout, result.stderr


async def adopted(stack: Stack, name: str) -> None:
    """A project in a namespace that was there before it."""
    await stack.kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{name}-own"}})
    project = manifests.project(name, "alice")
    project["spec"]["namespace"] = f"{name}-own"
    await stack.apply(project)

    async def has_it() -> bool:
        return await reason(stack, PROJECTS, name, "Ready") == "NamespaceReady"

    await soon(has_it)


async def test_the_command_prints_first_and_changes_nothing_unless_told(stack: Stack) -> None:
    await adopted(stack, "guest")
    for words in ((), ("--yes", "--dry-run")):
        code, out, err = await bursar(stack, "uninstall", *words)
        assert (code, err) == (0, "")
        assert "1. 2 allocations\n2. 4 quotapools\n3. 3 projects\n" in out
        assert "   with them these namespaces and all that is in them: project-every, project-tree\n" in out
        assert "namespaces that projects only adopted, with what is in them" in out
        assert "with the account of hours that were used, in pools every" in out
        assert "with projects that the books hold use of: every" in out
        assert "ValidatingAdmissionPolicy keep-charged-pools.bursar.dev" in out
        assert "the operator: one leads" in out
        assert "kept: the ledger's database" in out
        assert out.endswith("nothing was changed; give --yes to do it\n")
    assert len(await stack.kube.list(ALLOCATIONS)) == 2
    assert len(await stack.kube.list(QUOTAPOOLS)) == 4


async def test_what_hangs_is_named_the_next_attempt_goes_on_and_a_third_finds_nothing(stack: Stack) -> None:
    await made(stack, soon, "hangs", 100)
    await stack.apply(manifests.pool("hangs-top", "hangs", 1000), manifests.pool("hangs-low", "hangs", 100, "hangs-top"))
    foreign = {"metadata": {"finalizers": ["example.org/foreign"]}}
    await stack.kube.merge_patch(QUOTAPOOLS, "hangs-low", foreign)
    async with dead_webhook(stack):
        code, out, err = await bursar(stack, "uninstall", "--yes", "--patience-seconds", "2")
        assert code == 1
        assert "bursar: 1 quotapools hang:\n  QuotaPool hangs-low: " in err
        assert err.endswith("mend that and run `bursar uninstall` again: it goes on from here\n")
        assert "allocations: gone\nquotapools: " in out
        assert out.endswith("\nquotapools: 1 left\n")
        assert await stack.kube.list(ALLOCATIONS) == []
        assert await stack.kube.get(QUOTAPOOLS, "hangs-top")
        assert await stack.kube.get(PROJECTS, "hangs")

        await stack.kube.merge_patch(QUOTAPOOLS, "hangs-low", {"metadata": {"finalizers": None}})
        code, out, err = await bursar(stack, "uninstall", "--yes")
        assert (code, err) == (0, "")
        order = ("projects: gone", "clusters: gone", "ValidatingAdmissionPolicy ", "customresourcedefinitions: gone")
        places = [out.rindex(words) for words in order]
        assert places == sorted(places)
        assert out.endswith("Bursar is gone from this cluster\n")
        assert await bursar(stack, "uninstall", "--yes") == (0, "nothing of Bursar is there\n", "")
    assert await stack.kube.get(NAMESPACES, "bursar-system")
    assert "deletionTimestamp" not in (await stack.kube.get(NAMESPACES, "guest-own"))["metadata"]
    kept = [item for item in await stack.kube.list(NAMESPACES) if "deletionTimestamp" not in item["metadata"]]
    assert not {item["metadata"]["name"] for item in kept} & {"project-every", "project-tree", "project-hangs"}
    assert await stack.ledger.totals("every")


async def again(plane: ControlPlane, stack: Stack) -> None:
    """Installed anew on the same ledger, with an operator that has rights again."""
    await stack.operator.kill()
    await installed(plane)
    stack.kubeconfig = await service_account_kubeconfig(
        plane.kubectl, stack.folder / "again.kubeconfig", "bursar-system", "bursar-operator"
    )
    await stack.restart()


async def test_a_definition_that_is_deleted_first_takes_its_objects_along(plane: ControlPlane, stack: Stack) -> None:
    await again(plane, stack)
    await made(stack, soon, "torn", 50)
    async with dead_webhook(stack):
        await stack.kubectl("delete", "crd", "allocations.bursar.dev", "--wait=false")
        await soon(lambda: gone(stack, CUSTOMRESOURCEDEFINITIONS, "allocations.bursar.dev"))


async def test_without_an_operator_it_says_so_and_abandons_only_when_told(plane: ControlPlane, stack: Stack) -> None:
    await again(plane, stack)
    await made(stack, soon, "alone", 100)
    with pytest.raises(Stuck, match="an operator leads, and releases what is deleted: leave --abandon out"):
        await Uninstall(stack.kube, print, abandon=True).run()
    assert await stack.operator.stop() == 0
    held = {"holderIdentity": "killed", "leaseDurationSeconds": 1, "renewTime": "2099-01-01T00:00:00.000000Z"}
    await stack.kube.merge_patch(LEASES, "bursar-operator", {"spec": held}, "bursar-system")
    async with dead_webhook(stack):
        with pytest.raises(Stuck, match="none leads; start it, or give --abandon"):
            await Uninstall(stack.kube, print).run()
        found = await stack.kube.get(ALLOCATIONS, "main", "project-alone")
        assert found["metadata"]["finalizers"] == [FINALIZER]
        assert "deletionTimestamp" not in found["metadata"]
        await Uninstall(stack.kube, print, patience_seconds=60, abandon=True).run()
        assert (await Uninstall(stack.kube, print).look()).is_empty

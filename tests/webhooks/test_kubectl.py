"""As people meet it: kubectl apply, server-side apply, --dry-run=server and diff."""

import json
from typing import Any

import pytest
import yaml

from bursar_kube.client import Kube, Obj
from bursar_kube.resources import ALLOCATIONS
from bursar_local.controlplane import ControlPlane
from bursar_testing.manifests import resource
from bursar_testing.webhooks import NAMESPACE, YEAR, Webhook, fitting_allocation, fresh, hours

FLAGS = {"apply": (), "server-side apply": ("--server-side",), "dry run": ("--dry-run=server",)}
TOO_MUCH = (
    'admission webhook "validate.bursar.dev" denied the request: pool alpha-2026 has 12,000 of 900,000 gpu hours left; '
    "this asks for 16,000. Ask for 12,000, wait until 2027-01-01, or ask for a larger pool."
)


async def kubectl(plane: ControlPlane, *arguments: str, obj: Obj | None = None) -> tuple[int, str, str]:
    text = None if obj is None else yaml.safe_dump(obj)
    done = await plane.kubectl(*arguments, *(() if obj is None else ("-f", "-")), input=text, check=False)
    return done.return_code, done.stdout, done.stderr


@pytest.mark.parametrize("how", FLAGS)
async def test_too_much_is_refused_with_the_whole_reason(plane: ControlPlane, webhook: Webhook, how: str) -> None:
    code, _, errors = await kubectl(plane, "apply", *FLAGS[how], obj=fitting_allocation(resources=hours(gpu=16_000)))
    assert code == 1
    assert TOO_MUCH in errors
    assert "Forbidden" in errors


async def test_diff_says_the_same_and_stores_nothing(plane: ControlPlane, webhook: Webhook, kube: Kube) -> None:
    too_much = fitting_allocation(resources=hours(gpu=16_000))
    code, _, errors = await kubectl(plane, "diff", obj=too_much)
    assert code > 1
    assert TOO_MUCH in errors
    code, shown, _ = await kubectl(plane, "diff", obj=fitting_allocation())
    assert code == 1, "a difference is not an error"
    assert "+    - hours: 1000" in shown or "+  - hours: 1000" in shown


@pytest.mark.parametrize("how", ["apply", "server-side apply"])
async def test_applied_twice_and_changed(plane: ControlPlane, webhook: Webhook, kube: Kube, how: str) -> None:
    obj = fitting_allocation()
    name = obj["metadata"]["name"]
    for amount in (1000, 1000, 2000):
        obj["spec"]["resources"] = hours(cpu=amount)
        code, _, errors = await kubectl(plane, "apply", *FLAGS[how], obj=obj)
        assert (code, errors) == (0, "")
    held = await kube.get(ALLOCATIONS, name, NAMESPACE)
    assert held["spec"]["resources"] == hours(cpu=2000)
    assert held["spec"]["requestedBy"] == {"user": "bursar-admin"}
    assert held["metadata"]["finalizers"] == ["bursar.dev/release"]
    await kube.delete(ALLOCATIONS, name, NAMESPACE)
    await kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, NAMESPACE)


async def test_a_pool_that_gets_full_is_a_warning(plane: ControlPlane, webhook: Webhook) -> None:
    code, _, errors = await kubectl(
        plane, "apply", "--dry-run=server", obj=fitting_allocation(resources=hours(cpu=400_000, gpu=12_000))
    )
    assert code == 0
    assert "Warning: pool alpha-2026 will be 100 % granted: 900,000 of 900,000 gpu hours" in errors
    assert "Warning: pool alpha-lattice will be 100 % granted: 500,000 of 500,000 cpu hours" in errors


async def test_a_limit_below_what_is_granted_is_a_warning(plane: ControlPlane, webhook: Webhook) -> None:
    patch = json.dumps({"spec": {"resources": hours(cpu=1_000_000, gpu=800_000)}})
    arguments = ("patch", "quotapool", "alpha-2026", "--type=merge", "--dry-run=server", "-p", patch)
    code, _, errors = await kubectl(plane, *arguments)
    assert code == 0
    assert "pool alpha-2026 has 888,000 gpu hours granted and will hold 800,000" in errors


async def test_a_pool_larger_than_the_machine_is_a_warning(plane: ControlPlane, webhook: Webhook) -> None:
    spec = {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(gpu=2_000_000)}
    code, _, errors = await kubectl(plane, "apply", "--dry-run=server", obj=resource("QuotaPool", fresh("p"), spec))
    assert code == 0
    assert "Warning: cluster alpha can give 1,121,280 gpu hours in this period" in errors


async def test_one_file_with_all_that_depends_on_each_other(plane: ControlPlane, webhook: Webhook, kube: Kube) -> None:
    """Each is made a moment before the next one needs it; the webhook's copy may lag."""
    word = fresh("x")[2:]
    documents: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"project-p{word}"}},
        resource("Cluster", f"c{word}", {"scheduler": {"type": "slurm"}, "resources": [{"name": "cpu", "capacity": 8}]}),
        resource("Project", f"p{word}", {"owner": "alice"}),
        resource("QuotaPool", f"root{word}", {"clusterRef": {"name": f"c{word}"}, "period": YEAR, "resources": hours(cpu=900)}),
        resource(
            "QuotaPool",
            f"leaf{word}",
            {
                "clusterRef": {"name": f"c{word}"},
                "parentRef": {"name": f"root{word}"},
                "period": YEAR,
                "resources": hours(cpu=900),
            },
        ),
        resource("Membership", "alice", {"user": "alice", "role": "Owner"}, f"project-p{word}"),
        fitting_allocation("all", f"project-p{word}", clusterRef={"name": f"c{word}"}, poolRef=None, resources=hours(cpu=500)),
    ]
    done = await plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents), check=False)
    assert (done.return_code, done.stderr) == (0, "")
    await kube.delete(ALLOCATIONS, "all", f"project-p{word}")
    await kube.merge_patch(ALLOCATIONS, "all", {"metadata": {"finalizers": None}}, f"project-p{word}")

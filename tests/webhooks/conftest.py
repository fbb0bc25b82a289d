"""Fixtures: a control plane guarded as in production; of its own, since its webhook would judge every other test's objects too.

Two clusters (`alpha` open, `beta` for `climate` only), two projects, a pool tree on alpha: `alpha-2026`, below it
`alpha-lattice` for lattice-qcd; and the webhook as a process, with its own rights and a certificate from its Secret.
"""

from collections.abc import AsyncIterator

import pytest

from bursar_kube.client import Kube, Obj
from bursar_kube.resources import NAMESPACES, WEBHOOKCONFIGS, by_kind
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_testing.manifests import resource
from bursar_testing.webhooks import NAMESPACE, SYSTEM, YEAR, Webhook, grant, hours, launch, put_certificate, ready, register

INSTALLED = [{"name": "cpu", "capacity": 4096}, {"name": "gpu", "capacity": 128}]
SEED = (
    resource("Cluster", "alpha", {"scheduler": {"type": "slurm"}, "resources": INSTALLED}),
    resource(
        "Cluster",
        "beta",
        {
            "scheduler": {"type": "slurm"},
            "resources": INSTALLED,
            "access": {"mode": "AllowList", "projects": ["climate"]},
        },
    ),
    resource("Project", "lattice-qcd", {"owner": "alice"}),
    resource("Project", "climate", {"owner": "bob"}),
    resource(
        "QuotaPool",
        "alpha-2026",
        {"clusterRef": {"name": "alpha"}, "period": YEAR, "resources": hours(cpu=1_000_000, gpu=900_000)},
    ),
    resource(
        "QuotaPool",
        "alpha-lattice",
        {
            "clusterRef": {"name": "alpha"},
            "parentRef": {"name": "alpha-2026"},
            "period": YEAR,
            "resources": hours(cpu=500_000, gpu=100_000),
            "projects": ["lattice-qcd"],
        },
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """These need the API server too, though by a fixture of their own."""
    for item in items:
        if "plane" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.controlplane)


@pytest.fixture(scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A control plane with definitions, roles and policies."""
    started = await ControlPlane.start(tmp_path_factory.mktemp("guarded"))
    try:
        await apply_definitions(started.kubectl, share("crds"))
        await started.kubectl("create", "namespace", SYSTEM)
        files = (share("rbac") / "webhooks.yaml", share("policies"))
        await started.kubectl("apply", "--server-side", *(f"--filename={path}" for path in files))
        yield started
    finally:
        await started.stop()


@pytest.fixture(scope="session")
async def kube(plane: ControlPlane) -> AsyncIterator[Kube]:
    """The administrator's client."""
    client = await Kube.connect(str(plane.kubeconfig))
    yield client
    await client.close()


@pytest.fixture(scope="session")
async def seeded(kube: Kube) -> None:
    """The objects that everything is judged against: 12,000 gpu hours are left in the root pool, 80,000 in the leaf."""
    for namespace in (NAMESPACE, "project-climate", "nobodys"):
        await kube.create(NAMESPACES, {"metadata": {"name": namespace}})
    for obj in SEED:
        await create(kube, obj)
    await grant(kube, "alpha-2026", {"cpu": 100_000, "gpu": 888_000})
    await grant(kube, "alpha-lattice", {"cpu": 100_000, "gpu": 20_000})


@pytest.fixture(scope="session")
async def webhook(
    plane: ControlPlane, kube: Kube, seeded: None, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Webhook]:
    """The webhook as in production, registered with the API server, ready."""
    running = await launch(plane, tmp_path_factory.mktemp("webhook"))
    try:
        await put_certificate(kube, running.issued)
        await ready(running)
        await register(kube, running)
        yield running
    finally:
        await kube.delete(WEBHOOKCONFIGS, "bursar")
        await running.process.stop()


@pytest.fixture(scope="session")
async def operator(plane: ControlPlane, kube: Kube) -> Kube:
    """A client that is the operator by name, with more rights."""
    await plane.kubectl("create", "serviceaccount", "bursar-operator", "-n", SYSTEM)
    who = ("--clusterrole=cluster-admin", f"--serviceaccount={SYSTEM}:bursar-operator")
    await plane.kubectl("create", "clusterrolebinding", "operator-in-test", *who)
    token = await plane.kubectl("create", "token", "bursar-operator", "-n", SYSTEM)
    return kube.as_token(token.stdout.strip())


async def create(kube: Kube, obj: Obj, *, dry_run: bool = False) -> Obj:
    """Create one of our kinds."""
    rt = by_kind(obj["kind"])
    assert rt is not None
    return await kube.create(rt, obj, dry_run=dry_run)

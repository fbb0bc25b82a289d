"""Everything that a race needs, started in order and ended in the opposite one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import ALLOCATIONS, WEBHOOKCONFIGS
from bursar_ledger.ledger import Ledger
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_local.manifests import apply_manifests
from bursar_testing.faultproxy import FaultProxy
from bursar_testing.racing import field
from bursar_testing.racing.agent import FakeAgent
from bursar_testing.racing.operators import Operators
from bursar_testing.racing.recording import Recording
from bursar_testing.racing.webhooks import Webhooks

SYSTEM = "bursar-system"


@dataclass
class Stage:
    """What runs. `kube` goes past the proxy, `clients` through it."""

    kube: Kube
    clients: Kube
    proxy: FaultProxy
    operators: Operators
    webhooks: Webhooks
    agent: FakeAgent
    ledger: Ledger
    recording: Recording


@asynccontextmanager
async def opened(folder: Path, seed: int) -> AsyncIterator[Stage]:
    """A control plane of its own, two operators, two webhooks, one agent, the recorder; pools and projects in place."""
    async with AsyncExitStack() as ending:
        plane = await ControlPlane.start(folder / "controlplane")
        ending.push_async_callback(plane.stop)
        ledger_file = folder / "ledger.db"
        ledger = await Ledger.connect(f"sqlite:///{ledger_file}")
        ending.push_async_callback(ledger.close)
        recording = await Recording.start(plane, ledger_file, folder)
        ending.push_async_callback(recording.kill)
        await apply_definitions(plane.kubectl, share("crds"))
        proxy = await FaultProxy.start(plane.kubeconfig)
        ending.push_async_callback(proxy.stop)
        proxy.active, proxy.faults.seed = False, seed
        kube = await Kube.connect(str(plane.kubeconfig))
        ending.push_async_callback(kube.close)
        clients = await Kube.connect(str(proxy.kubeconfig(folder / "clients.kubeconfig", plane.kubeconfig, "clients")))
        ending.push_async_callback(clients.close)
        webhooks, operators = await _parts(plane, proxy, ledger_file, folder)
        agent = FakeAgent(ledger, field.ENFORCED, seed)
        await agent.hello()
        ending.push_async_callback(operators.stop)
        await operators.start()
        ending.push_async_callback(webhooks.stop)
        await webhooks.start()
        for name, work in (("operators", operators.watch()), ("webhooks", webhooks.watch()), ("agent", agent.run())):
            ending.push_async_callback(_cancelled, asyncio.create_task(work, name=name))
        await webhooks.served()
        await _admitted(kube)
        await field.lay_out(kube)
        yield Stage(kube, clients, proxy, operators, webhooks, agent, ledger, recording)


async def _parts(plane: ControlPlane, proxy: FaultProxy, ledger: Path, folder: Path) -> tuple[Webhooks, Operators]:
    """Two of each, each through the proxy under a name of its own, with its own ServiceAccount's rights."""
    webhooks = Webhooks({name: folder / f"{name}.kubeconfig" for name in ("webhook-1", "webhook-2")}, folder)
    await webhooks.balancer.start()
    await apply_manifests(plane.kubectl, f"https://127.0.0.1:{webhooks.balancer.port}", development_groups=False)
    operators = {name: folder / f"{name}.kubeconfig" for name in ("operator-1", "operator-2")}
    for account, names in (("bursar-webhooks", webhooks.names), ("bursar-operator", list(operators))):
        direct = await service_account_kubeconfig(plane.kubectl, folder / f"{account}.kubeconfig", SYSTEM, account)
        for name in names:
            proxy.kubeconfig(folder / f"{name}.kubeconfig", direct, name)
    return webhooks, Operators(operators, ledger, folder)


async def _admitted(kube: Kube) -> None:
    """Wait until webhook and policies are at work: they are learnt of with a delay."""
    pool = next(field.leaves())
    probe = field.allocation(0, "probe", pool, {"cpu": 1}, named=True)
    probe["metadata"]["namespace"] = "default"
    async with asyncio.timeout(60):
        while not await _is_refused(kube, probe):  # noqa: ASYNC110 - the API server tells nobody
            await asyncio.sleep(0.1)
        while not await _has_bundle(kube):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)


async def _is_refused(kube: Kube, probe: dict[str, object]) -> bool:
    try:
        await kube.create(ALLOCATIONS, probe, dry_run=True)
    except KubeError as error:
        return bool(error.causes)
    return False


async def _has_bundle(kube: Kube) -> bool:
    configuration = await kube.get(WEBHOOKCONFIGS, "bursar")
    return all(hook["clientConfig"].get("caBundle") for hook in configuration["webhooks"])


async def _cancelled(task: "asyncio.Task[None]") -> None:
    """End it; what it failed with is raised."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task

"""The stage of a benchmark: a control plane with one cluster, projects and a pool; storms, waits, and what they cost."""

import asyncio
import os
import re
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.informer import Informer
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, NAMESPACES, PROJECTS, QUOTAPOOLS
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing import manifests
from bursar_testing.bench import Row
from bursar_testing.operatorprocess import OperatorProcess

Obj = dict[str, Any]
WIDTH = 32
PROJECTS_COUNT = 10
POOL_HOURS = 1_000_000
BOUND_SECONDS = 900.0
HELD = ("allocations", "quotapools")


@dataclass
class Stage:
    """A control plane for one benchmark, with one cluster, projects and a pool that holds everything."""

    plane: ControlPlane
    kube: Kube
    folder: Path
    kubeconfig: Path

    @classmethod
    @asynccontextmanager
    async def open(cls) -> "AsyncIterator[Stage]":
        """Start everything but the operator."""
        with tempfile.TemporaryDirectory(prefix="bursar-bench-") as name:
            folder = Path(name)
            plane = await ControlPlane.start(folder / "controlplane")
            try:
                await apply_definitions(plane.kubectl, share("crds"))
                for part in ("namespace", "operator", "roles"):
                    await plane.kubectl("apply", "-f", str(share("rbac") / f"{part}.yaml"))
                await plane.kubectl("apply", "-f", str(share("policies") / "stamp-allocation.yaml"))
                kubeconfig = await service_account_kubeconfig(
                    plane.kubectl, folder / "operator.kubeconfig", "bursar-system", "bursar-operator"
                )
                kube = await Kube.connect(str(plane.kubeconfig))
                stage = cls(plane, kube, folder, kubeconfig)
                try:
                    await until(stage.stamps)
                    yield stage
                finally:
                    await kube.close()
            finally:
                await plane.stop()

    async def operator(self) -> OperatorProcess:
        """A new operator process that serves."""
        return await OperatorProcess.start(self.kubeconfig, self.folder / "ledger.db", self.folder)

    async def furnish(self) -> None:
        """Cluster, projects and one pool; returns when the operator has made the namespaces."""
        await self.kube.create(CLUSTERS, manifests.cluster("bench", capacity=100_000))
        await self.kube.create(QUOTAPOOLS, manifests.pool("bench", "bench", POOL_HOURS))
        for number in range(PROJECTS_COUNT):
            await self.kube.create(PROJECTS, manifests.project(f"p{number}", "alice"))
        await until(self._settled)

    async def _settled(self) -> bool:
        found = await self.kube.list(PROJECTS)
        return all((obj.get("status") or {}).get("account") for obj in found)

    def allocation(self, number: int) -> Obj:
        """One of the many."""
        return manifests.allocation(f"p{number % PROJECTS_COUNT}", f"a{number}", "bench", 1, "bench")

    async def stamps(self) -> bool:
        """Whether the policy that stamps the finalizer works already: it learns of new kinds with a delay."""
        probe = self.allocation(0)
        probe["metadata"]["namespace"] = "default"
        try:
            return bool((await self.kube.create(ALLOCATIONS, probe, dry_run=True))["metadata"].get("finalizers"))
        except KubeError:
            return False

    def pids(self) -> dict[str, int]:
        """Processes that work for every object: those of the control plane, and this one, which is the client."""
        return {process.name: process.pid for process in self.plane.processes} | {"client": os.getpid()}

    async def writes(self, *resources: str) -> int:
        """Writes that the API server has answered with success, creates left out; of allocations and pools unless said."""
        return writes_in((await self.plane.kubectl("get", "--raw", "/metrics")).stdout, resources or HELD)


def writes_in(metrics: str, resources: Sequence[str]) -> int:
    """Writes of these resources that an API server counts as answered with success, creates left out."""
    found = re.findall(r"^apiserver_request_total\{([^}]*)\} (\S+)$", metrics, re.MULTILINE)
    return sum(int(float(value)) for labels, value in found if _is_write(labels, resources))


def _is_write(labels: str, resources: Sequence[str]) -> bool:
    found = dict(re.findall(r'(\w+)="([^"]*)"', labels))
    return (
        found.get("resource") in resources
        and found.get("verb") in ("PUT", "PATCH", "APPLY")
        and found.get("code", "").startswith("2")
    )


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask until it holds."""
    async with asyncio.timeout(BOUND_SECONDS):
        while not await holds():  # noqa: ASYNC110 - the answer is another process's
            await asyncio.sleep(0.05)


async def each(items: Iterable[Any], work: Callable[[Any], Awaitable[object]], width: int = WIDTH) -> None:
    """Do the work for every item, so many at a time."""
    waiting = iter(items)

    async def worker() -> None:
        for item in waiting:
            await work(item)

    await asyncio.gather(*(worker() for _ in range(width)))


def is_granted(obj: Obj) -> bool:
    """Whether an allocation holds hours."""
    return any(item["hours"] for item in (obj.get("status") or {}).get("granted", ()))


async def storm_seconds(stage: Stage, manifests_: Sequence[Obj]) -> float:
    """From the first create to the last grant, seen by a watch."""
    watch: Informer[bool] = Informer(stage.kube, ALLOCATIONS, transform=is_granted)
    done, left = asyncio.Event(), len(manifests_)

    def count(event: str, old: bool | None, new: bool | None) -> None:
        nonlocal left
        if new and not old:
            left -= 1
            if left == 0:
                done.set()

    async with watch:
        watch.subscribe(count)
        began = time.perf_counter()
        await each(manifests_, lambda obj: stage.kube.create(ALLOCATIONS, obj))
        await asyncio.wait_for(done.wait(), BOUND_SECONDS)
        return time.perf_counter() - began


async def plain_namespace(stage: Stage, name: str, number: int) -> list[Obj]:
    """Allocations in a namespace of no project."""
    await stage.kube.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    made = [stage.allocation(item) for item in range(number)]
    for obj in made:
        obj["metadata"]["namespace"] = name
    return made


async def clear(stage: Stage, namespace: str) -> None:
    """Remove the allocations of a baseline."""

    async def remove(obj: Obj) -> None:
        name = obj["metadata"]["name"]
        try:
            await stage.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": None}}, namespace)
            await stage.kube.delete(ALLOCATIONS, name, namespace)
        except KubeError:
            return

    await each(await stage.kube.list(ALLOCATIONS, namespace), remove)


def row(name: str, value: float, unit: str, baseline: float | None, bar: str | None, met: bool | None, note: str = "") -> Row:
    """One figure beside its baseline."""
    ratio = value / baseline if baseline else None
    found: Row = {"name": name, "value": value, "unit": unit, "baseline": baseline, "ratio": ratio, "bar": bar, "met": met}
    return {**found, "note": note} if note else found

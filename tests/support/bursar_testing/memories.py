"""The operator's memory without an API server: informers that a test tells what they hold, looks and turns that it counts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from typing import Any, cast

from bursar_kube.client import Kube
from bursar_kube.informer import Informer
from bursar_operator.informers import Informers
from bursar_testing import manifests

Obj = dict[str, Any]
START, END = "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"


class Told:
    """Informers, and what they are told."""

    def __init__(self) -> None:
        self.informers = Informers.build(cast(Kube, None))
        self._versions = count(1)

    def cluster(self, name: str, **spec: Any) -> None:
        """A cluster."""
        self._tell(self.informers.clusters, manifests.cluster(name, **spec))

    def project(self, name: str) -> None:
        """A project that is settled."""
        obj = manifests.project(name, "alice")
        self._tell(self.informers.projects, obj | {"status": {"account": name, "namespace": f"project-{name}"}})

    def allocation(self, project: str, name: str, cluster: str, *, hours: int = 1, revision: int = 1, **spec: Any) -> Obj:
        """An allocation with as many hours granted; its uid is made of its project and name."""
        obj = manifests.allocation(project, name, "year", hours, cluster, **{"period": {"start": START, "end": END}, **spec})
        amounts = [{"name": "cpu", "hours": hours}]
        obj["status"] = {"grantRevision": revision, "granted": amounts, "charged": amounts, "pool": "year"}
        return self._tell(self.informers.allocations, obj)

    def gone(self, obj: Obj) -> None:
        """An allocation is gone."""
        self.informers.allocations._apply([("DELETED", obj)])

    def _tell(self, informer: Informer[Obj], obj: Obj) -> Obj:
        metadata = obj["metadata"]
        uid = f"{metadata.get('namespace', '')}/{metadata['name']}"
        version = next(self._versions)
        obj["metadata"] = {**metadata, "uid": uid, "generation": version, "resourceVersion": str(version)}
        informer._apply([("MODIFIED", obj)])
        return obj


@contextmanager
def looks(informer: Informer[Obj]) -> Iterator[list[str]]:
    """The names of what is unpacked by its name while the block runs."""
    found: list[str] = []
    get = informer.get

    def counted(namespace: str | None, name: str) -> Obj | None:
        found.append(name)
        return get(namespace, name)

    with_names = cast(Any, informer)
    with_names.get = counted
    try:
        yield found
    finally:
        del with_names.get


@asynccontextmanager
async def turns() -> AsyncIterator[list[None]]:
    """One item for each turn that others get while the block runs."""
    found: list[None] = []

    async def take() -> None:
        while True:
            await asyncio.sleep(0)
            found.append(None)

    task = asyncio.create_task(take())
    await asyncio.sleep(0)
    try:
        yield found
    finally:
        task.cancel()

"""Clusters: readiness from what the agent says; deletion waits until nothing refers to the cluster."""

from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from bursar_crds.conditions import READY, set_condition
from bursar_kube.client import Kube
from bursar_kube.errors import Conflict, NotFound
from bursar_kube.queue import WorkQueue
from bursar_kube.resources import CLUSTERS
from bursar_operator.books import Books
from bursar_operator.desired import DesiredState
from bursar_operator.domain import clusters, overdue
from bursar_operator.domain.clusters import AccountsView, AgentView, Patience
from bursar_operator.informers import BY_CLUSTER, Informers
from bursar_operator.statuses import write_status

Obj = dict[str, Any]
AGAIN_SECONDS: Final = 0.1
WORKERS: Final = 2
LOOK_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0


class Clusters:
    """Keyed by name. Kopf, the change feed and publications say which cluster to look at."""

    def __init__(
        self,
        kube: Kube,
        informers: Informers,
        books: Books,
        desired: DesiredState,
        patience: Patience,
        now: Callable[[], datetime],
        deadline_seconds: int,
    ) -> None:
        self._kube = kube
        self._informers = informers
        self._books = books
        self._desired = desired
        self._patience = patience
        self._now = now
        self._deadline_seconds = deadline_seconds
        self.queue: WorkQueue[str] = WorkQueue("clusters")

    def touch(self, name: str) -> None:
        """Look at the cluster again, in a moment: what moves comes in bursts."""
        self.queue.add_after(name, PAUSE_SECONDS)

    async def run(self) -> None:
        """Work on what was touched."""
        await self.queue.run(WORKERS, self._look)

    async def _look(self, name: str) -> float | None:
        try:
            return await self._reconcile(name)
        except Conflict:
            return AGAIN_SECONDS  # Kopf or an administrator wrote in between: decide again from what is there now

    async def _reconcile(self, name: str) -> float | None:
        try:
            cluster = await self._kube.get(CLUSTERS, name)
        except NotFound:
            self.queue.forget(name)
            return None
        agent, desired = self._agent(name), self._desired.generation(name)
        status = clusters.status(
            cluster, agent, self._accounts(name), desired, self._patience, self._now(), self._desired.billing_version(name)
        )
        if "deletionTimestamp" not in cluster["metadata"]:
            await write_status(self._kube, CLUSTERS, cluster, status)
        return LOOK_SECONDS

    def _agent(self, name: str) -> AgentView | None:
        found = self._books.agent(name)
        if found is None:
            return None
        return AgentView(
            version=found.hello.agent_version,
            scheduler_version=f"{found.hello.scheduler} {found.hello.scheduler_version}",
            capabilities=found.hello.capabilities,
            misses=found.misses,
            last_seen=found.last_seen,
            generation=found.generation,
            scheduler_time=found.scheduler_time or None,
            watermark=found.watermark,
            brake=found.brake,
        )

    def _accounts(self, name: str) -> AccountsView:
        states = self._books.states(name)
        failing = {account: state.error for account, state in sorted(states.items()) if state.state == "Failed"}
        pending = sum(state.state == "Pending" for state in states.values())
        return AccountsView(sorted(account for account, state in states.items() if state.drift), failing, pending)

    async def release(self, cluster: Obj) -> str | None:
        """What still refers to the cluster; None when the finalizer may go."""
        name = cluster["metadata"]["name"]
        counts = {
            "allocations": len(self._informers.allocations.keys_by_index(BY_CLUSTER, name)),
            "pools": len(self._informers.pools.by_index(BY_CLUSTER, name)),
        }
        left = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
        if not left:
            return None
        message = f"{left} refer to this cluster; delete them first"
        stored = await self._kube.get(CLUSTERS, name)
        before, generation = stored.get("status") or {}, stored["metadata"].get("generation")
        said = overdue.plain(stored, message, self._now(), self._deadline_seconds)
        conditions = set_condition(before.get("conditions"), READY, False, *said, self._now(), generation)
        await write_status(self._kube, CLUSTERS, stored, before | {"conditions": conditions})
        return message

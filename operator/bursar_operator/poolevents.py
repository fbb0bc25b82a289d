"""What happens to pools behind the operator's back, told as Events: a status edited by hand, a total counted anew."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import structlog

from bursar_crds.names import API_VERSION
from bursar_crds.reasons import Reason
from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import EVENTS
from bursar_operator.domain import hours
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj

NAMESPACE: Final = "default"  # where Events of kinds of the whole cluster go
_LOG = structlog.get_logger("bursar.pools")


class PoolEvents:
    """Tells in the background: no decision waits for an Event, and one that can't be made is in the log all the same."""

    def __init__(self, kube: Kube, clock: Callable[[], float]) -> None:
        self._kube = kube
        self._clock = clock
        self._telling: set[asyncio.Task[None]] = set()

    def edited(self, obj: Obj, book: Book) -> None:
        """Somebody else wrote the status of a pool that this leader had claimed."""
        note = (
            f"the status was edited by somebody else; it is put back to {hours.in_words(book.granted or {})} granted, "
            f"{hours.in_words(book.spent)} spent and {len(book.intents)} open operations. Only the operator writes it."
        )
        self._tell(obj, Reason.POOL_EDITED, "PutBack", note)

    def recounted(self, obj: Obj, before: Hours, after: Hours) -> None:
        """A recount found another total than the pool had."""
        note = f"a recount of the allocations put the total from {hours.in_words(before)} to {hours.in_words(after)}."
        self._tell(obj, Reason.POOL_RECOUNTED, "Recount", note)

    def _tell(self, obj: Obj, reason: Reason, action: str, note: str) -> None:
        name = obj["metadata"]["name"]
        _LOG.warning("a pool was put right", pool=name, reason=str(reason), note=note)
        task = asyncio.get_running_loop().create_task(self._create(self._event(obj, reason, action, note)))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _create(self, event: Obj) -> None:
        try:
            await self._kube.create(EVENTS, event)
        except KubeError as error:
            _LOG.warning("an Event could not be made", pool=event["regarding"]["name"], error=str(error))

    def _event(self, obj: Obj, reason: Reason, action: str, note: str) -> Obj:
        metadata = obj["metadata"]
        now = datetime.fromtimestamp(self._clock(), UTC)
        return {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"name": f"{metadata['name']}.{uuid.uuid4().hex[:16]}", "namespace": NAMESPACE},
            "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "regarding": {"apiVersion": API_VERSION, "kind": "QuotaPool", "name": metadata["name"], "uid": metadata["uid"]},
            "action": action,
            "reason": str(reason),
            "note": note[:1000],
            "type": "Warning",
            "reportingController": "bursar.dev/operator",
            "reportingInstance": "bursar-operator",
        }

"""What happens to pools behind the operator's back, told as Events: a status edited by hand, a total counted anew."""

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import structlog

from bursar_crds.reasons import Reason
from bursar_kube.client import Kube
from bursar_kube.errors import KubeError
from bursar_kube.resources import EVENTS
from bursar_operator.domain import events, hours
from bursar_operator.domain.hours import Hours
from bursar_operator.domain.rows import Book, Obj

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
        name = f"{obj['metadata']['name']}.{uuid.uuid4().hex[:16]}"
        return events.event(
            obj, "QuotaPool", name, reason, action, note, datetime.fromtimestamp(self._clock(), UTC), is_loud=True
        )

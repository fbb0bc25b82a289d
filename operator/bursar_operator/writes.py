"""Writes whose result has to be known: repeated as they are until the API server has answered."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any, Final

import structlog

from bursar_kube.errors import KubeError, TooManyRequests

Obj = dict[str, Any]
Write = Callable[[], Awaitable[Obj]]

FIRST_BACKOFF: Final = 0.05
LAST_BACKOFF: Final = 5.0
_LOG = structlog.get_logger("bursar.writes")


async def certain(write: Write, unsure: Callable[[], None] = lambda: None) -> Obj:
    """The stored object. A compare-and-swap whose answer got lost is sent again, unchanged, until there is an answer.

    `unsure` is called when the first answer is lost: from then on nothing of the object may be used. A Conflict after that
    may come from the write itself, so the caller reads the object again. Any other error is the API server's decision.
    """
    pause = FIRST_BACKOFF
    while True:
        try:
            return await write()
        except KubeError as error:
            if not error.unknown_result and not isinstance(error, TooManyRequests):
                raise
            if error.unknown_result:
                unsure()
            _LOG.warning("a write is repeated", error=str(error))
            await asyncio.sleep(max(error.retry_after or 0.0, pause * random.uniform(0.7, 1.3)))  # noqa: S311 - jitter
            pause = min(LAST_BACKOFF, pause * 2)

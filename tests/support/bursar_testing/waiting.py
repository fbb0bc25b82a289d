"""Waiting for what must become true, within a bound that only a failure reaches."""

import asyncio
from collections.abc import Callable

BOUND_SECONDS = 30.0


async def eventually(holds: Callable[[], object], what: str = "") -> None:
    """Return once `holds()` is true; AssertionError naming `what` when it never is."""
    try:
        async with asyncio.timeout(BOUND_SECONDS):
            while not holds():  # noqa: ASYNC110 - whatever it is, not only events
                await asyncio.sleep(0.01)
    except TimeoutError as error:
        raise AssertionError(f"it never came true: {what or holds}") from error

"""The end of the process: Kopf's watches may be closed in the middle, everything else that nobody caught is reported."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from kopf._cogs.clients import watching

from bursar_operator.app import at_the_end


async def ours() -> AsyncIterator[int]:
    """Some generator that is not Kopf's."""
    yield 1


def context(generator: object) -> dict[str, Any]:
    return {
        "message": "an error occurred during closing of asynchronous generator",
        "exception": RuntimeError("generator didn't stop after athrow()"),
        "asyncgen": generator,
    }


async def test_a_watch_of_kopf_that_is_closed_in_the_middle_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    watch: Any = watching.infinite_watch
    at_the_end(asyncio.get_running_loop(), context(watch(settings=None, resource=None, namespace=None)))
    assert caplog.text == ""


async def test_anything_else_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    at_the_end(asyncio.get_running_loop(), context(ours()))
    assert "didn't stop after athrow" in caplog.text
    caplog.clear()
    at_the_end(asyncio.get_running_loop(), {"message": "a task was lost", "exception": RuntimeError("lost")})
    assert "lost" in caplog.text

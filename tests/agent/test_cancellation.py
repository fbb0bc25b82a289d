"""An agent that is told to end does end, whatever it was about to hear."""

import asyncio

from bursar_agent.loop import _set_within


async def test_a_cancellation_that_meets_the_event_is_not_swallowed() -> None:
    event = asyncio.Event()
    ended = asyncio.Event()

    async def work() -> None:
        try:
            while True:
                await _set_within(event, 60)
                event.clear()
        finally:
            ended.set()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    event.set()
    await asyncio.sleep(0)  # the waiter inside has its answer, the task has not run yet
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=5)
    assert done == {task}
    assert task.cancelled()
    assert ended.is_set()

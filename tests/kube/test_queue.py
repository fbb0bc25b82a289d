"""The work queue: order, no doubles, one at a time per key, slower while it fails."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise

from bursar_kube.errors import TooManyRequests
from bursar_kube.queue import Outcome, WorkQueue
from bursar_testing.waiting import eventually


@asynccontextmanager
async def running(
    queue: WorkQueue[str], reconcile: Callable[[str], Awaitable[float | None]], workers: int = 4
) -> AsyncIterator[None]:
    task = asyncio.create_task(queue.run(workers, reconcile))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_a_waiting_key_waits_once_and_in_order() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)

    queue: WorkQueue[str] = WorkQueue()
    for key in ("b", "a", "b", "c", "a"):
        queue.add(key)
    assert (queue.depth, queue.in_flight) == (3, 0)
    assert queue.oldest_age >= 0
    async with running(queue, reconcile, workers=1):
        await queue.idle()
    assert seen == ["b", "a", "c"]
    assert (queue.depth, queue.oldest_age) == (0, 0.0)


async def test_one_key_is_never_in_flight_twice_and_a_change_meanwhile_is_not_lost() -> None:
    in_flight: Counter[str] = Counter()
    most: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    go = asyncio.Event()

    async def reconcile(key: str) -> None:
        in_flight[key] += 1
        most[key] = max(most[key], in_flight[key])
        calls[key] += 1
        await go.wait()
        in_flight[key] -= 1

    queue: WorkQueue[str] = WorkQueue()
    async with running(queue, reconcile):
        queue.add("a")
        queue.add("b")
        await eventually(lambda: queue.in_flight == 2)
        for _ in range(5):
            queue.add("a")
        assert queue.depth == 1
        go.set()
        await queue.idle()
    assert most == Counter(a=1, b=1)
    assert calls == Counter(a=2, b=1)


async def test_other_keys_go_on_while_one_hangs() -> None:
    done: list[str] = []
    hang = asyncio.Event()

    async def reconcile(key: str) -> None:
        if key == "slow":
            await hang.wait()
        done.append(key)

    queue: WorkQueue[str] = WorkQueue()
    async with running(queue, reconcile, workers=2):
        queue.add("slow")
        for number in range(20):
            queue.add(f"k{number}")
        await eventually(lambda: len(done) == 20)
        assert "slow" not in done
        hang.set()
        await queue.idle()
    assert done[-1] == "slow"


async def test_a_failing_key_comes_back_and_later_each_time() -> None:
    times: list[float] = []
    outcomes: list[Outcome] = []

    async def reconcile(key: str) -> None:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise RuntimeError("on purpose")

    queue: WorkQueue[str] = WorkQueue(hook=lambda _key, _seconds, outcome: outcomes.append(outcome))
    async with running(queue, reconcile):
        queue.add("a")
        await eventually(lambda: len(outcomes) == 4)
    waits = [after - before for before, after in pairwise(times)]
    assert outcomes == ["failed", "failed", "failed", "done"]
    assert waits == sorted(waits), "each wait is longer than the one before"
    assert queue.delayed == 0


async def test_a_busy_api_server_is_obeyed() -> None:
    planned: list[int] = []

    async def reconcile(key: str) -> None:
        raise TooManyRequests("busy", status=429, retry_after=3600)

    queue: WorkQueue[str] = WorkQueue(hook=lambda *_: planned.append(queue.delayed))
    async with running(queue, reconcile):
        queue.add("a")
        await eventually(lambda: planned == [1])
        assert queue.depth == 0
        queue.forget("a")
        assert queue.delayed == 0


async def test_a_number_asks_to_be_called_again() -> None:
    calls: list[str] = []

    async def reconcile(key: str) -> float | None:
        calls.append(key)
        return 0.01 if len(calls) < 3 else None

    queue: WorkQueue[str] = WorkQueue()
    async with running(queue, reconcile):
        queue.add("a")
        await eventually(lambda: len(calls) == 3)
        await queue.idle()
        assert queue.delayed == 0


async def test_of_several_later_times_the_earliest_counts() -> None:
    calls: list[str] = []

    async def reconcile(key: str) -> None:
        calls.append(key)

    queue: WorkQueue[str] = WorkQueue()
    async with running(queue, reconcile):
        queue.add_after("a", 3600)
        queue.add_after("a", 0.01)
        queue.add_after("a", 1800)
        assert queue.delayed == 1
        await eventually(lambda: calls == ["a"])
        assert queue.delayed == 0


async def test_stopping_leaves_no_timer_behind() -> None:
    async def reconcile(key: str) -> float:
        return 3600.0

    queue: WorkQueue[str] = WorkQueue()
    async with running(queue, reconcile):
        queue.add("a")
        await eventually(lambda: queue.delayed == 1)
    assert queue.delayed == 0

"""Copies of allocations: what this process writes is no news to it, whichever comes first, the answer or the event."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bursar_kube.client import Kube, PagesGone
from bursar_kube.errors import Conflict
from bursar_operator import copies
from bursar_operator.copies import Copies, Key
from bursar_operator.informers import Informers
from bursar_testing.memories import turns

Obj = dict[str, Any]
KEY = ("n", "a")


def stored(version: int) -> Obj:
    return {"metadata": {"uid": "u", "namespace": "n", "name": "a", "resourceVersion": str(version)}}


class Followed:
    """As far as copies ask it, an informer of one object."""

    def __init__(self) -> None:
        self.held: Obj | None = None

    def get(self, namespace: str, name: str) -> Obj | None:
        return self.held

    def version(self, namespace: str, name: str) -> str | None:
        return None if self.held is None else str(self.held["metadata"]["resourceVersion"])


class Desk:
    """Copies, and what they say that has changed."""

    def __init__(self) -> None:
        self.allocations = Followed()
        self.changed: list[Key] = []
        self.departed: list[Obj] = []
        self.copies = Copies(cast(Kube, None), cast(Informers, self), self.changed.append, self.departed.append)
        self.copies._loading = False

    def hears(self, version: int) -> None:
        """An event of the informer."""
        old, self.allocations.held = self.allocations.held, stored(version)
        self.copies._on_event("MODIFIED" if old else "ADDED", old, self.allocations.held)

    def misses(self) -> None:
        """The informer lists anew after its watch was cut, and the object is not there."""
        old, self.allocations.held = self.allocations.held, None
        self.copies._on_event("DELETED", old, None)

    async def writes(self, answer: "asyncio.Future[Obj]", *heard: int) -> None:
        """A write that is answered after these events."""
        task = asyncio.create_task(self.copies.written(KEY, answer))
        await asyncio.sleep(0)
        for version in heard:
            self.hears(version)
        if not answer.done():
            answer.set_result(stored(5))
        await task


@pytest.mark.parametrize(("heard", "news"), [((), 0), ((5,), 0), ((5, 6), 1), ((4, 5), 1)])
async def test_what_is_heard_during_a_write_is_news_unless_it_is_that_write(heard: tuple[int, ...], news: int) -> None:
    desk = Desk()
    await desk.writes(asyncio.get_running_loop().create_future(), *heard)
    assert desk.changed == [KEY] * news
    assert desk.copies.get(KEY) == stored(max(5, *heard, 0))


async def test_an_event_after_the_answer_is_no_news_and_a_later_one_is() -> None:
    desk = Desk()
    await desk.writes(asyncio.get_running_loop().create_future())
    desk.hears(5)
    assert desk.changed == []
    desk.hears(6)
    assert desk.changed == [KEY]


async def test_what_is_heard_during_a_write_that_fails_is_news() -> None:
    desk, answer = Desk(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(desk.copies.written(KEY, answer))
    await asyncio.sleep(0)
    desk.hears(5)
    assert desk.changed == []
    answer.set_exception(Conflict("somebody else was first"))
    with pytest.raises(Conflict):
        await task
    assert desk.changed == [KEY]


@pytest.mark.parametrize("is_read_again", [False, True])
async def test_what_departs_is_what_was_written_last_also_where_the_informer_missed_it(is_read_again: bool) -> None:
    """Else hours that were given back already would be taken for hours that somebody tore away."""
    desk = Desk()
    desk.hears(4)
    await desk.writes(asyncio.get_running_loop().create_future())
    if is_read_again:  # the answer to the last write was lost, and then the object was not there
        desk.copies.forget(KEY)
        assert desk.copies.get(KEY) is None, "the informer's older copy is nothing to go by"
        assert desk.copies.row("u") is None
    desk.misses()
    assert desk.departed == [stored(5)]
    assert desk.copies.get(KEY) is None


async def test_what_is_made_anew_under_the_name_counts_again() -> None:
    desk = Desk()
    desk.hears(4)
    desk.copies.forget(KEY)
    assert desk.copies.get(KEY) is None
    desk.hears(6)
    assert desk.copies.get(KEY) == stored(6)


async def test_a_list_that_took_too_long_is_read_again_after_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "AGAIN_SECONDS", 0.001)
    desk, reads = Desk(), 0

    async def pages(_: object) -> AsyncIterator[list[Obj]]:
        nonlocal reads
        reads += 1
        if reads < 4:
            raise PagesGone
        yield []

    desk.copies._kube = cast(Kube, SimpleNamespace(pages=pages))
    async with turns() as found:
        assert (await desk.copies.quorum(lambda row: True)).uids == set()
        assert len(found) >= reads - 1 == 3

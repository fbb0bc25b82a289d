"""Who may not write any more writes nothing: not what it begins, and not what it had begun."""

import asyncio

import pytest

from bursar_domain.enrolment import EnrolRequest
from bursar_ledger import Ledger

REQUEST = EnrolRequest(cluster="guarded", public_key="key", mac="mac")


class Stopped(Exception):
    """As a leader whose time is over."""


class Guard:
    """Lets so many looks pass."""

    def __init__(self, looks: int) -> None:
        self.left = looks

    def __call__(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise Stopped


@pytest.mark.parametrize("looks", [0, 1], ids=["before", "between the write and its commit"])
async def test_nothing_is_stored(url: str, looks: int) -> None:
    ledger, other = await Ledger.connect(url), await Ledger.connect(url)
    guard = Guard(looks)
    ledger.guard(guard)
    with pytest.raises(Stopped):
        await ledger.request_enrolment(REQUEST, 1)
    assert guard.left == -1
    assert await ledger.pending_enrolments() == [], "it still reads"
    await other.request_enrolment(REQUEST, 1)  # the write lock is free, and others are not bound
    assert len(await other.pending_enrolments()) == 1
    await ledger.close()
    await other.close()


async def test_a_ledger_that_is_being_written_can_be_opened(url: str) -> None:
    ledger = await Ledger.connect(url)
    async with ledger._database.write():
        async with asyncio.timeout(10):  # less than a writer waits for its turn
            second = await Ledger.connect(url)
    assert await second.pending_enrolments() == []
    await second.close()
    await ledger.close()

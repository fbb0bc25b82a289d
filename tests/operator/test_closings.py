"""Windows that close, over a real ledger: each is booked, and what is not due costs no second look."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bursar_crds.instants import parse_instant
from bursar_domain.closing import REOPEN_SECONDS
from bursar_domain.entries import EntryKind
from bursar_domain.units import HOUR
from bursar_ledger import Ledger
from bursar_operator.books import Books
from bursar_operator.closings import AT_ONCE
from bursar_operator.domain.clusters import Patience
from bursar_testing.memories import END, Told, looks, turns
from bursar_testing.wires import hello, new_ledger, usage

COUNT = AT_ONCE + AT_ONCE // 2
CLOSED = int(parse_instant(END).timestamp()) + REOPEN_SECONDS


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with new_ledger(tmp_path) as ledger:
        yield ledger


class Desk:
    """Books with granted allocations of two accounts on one cluster."""

    def __init__(self, ledger: Ledger) -> None:
        self.told = Told()
        self.books = Books(ledger, self.told.informers, Patience(60, 60), lambda: datetime(2026, 1, 1, tzinfo=UTC))
        self.told.cluster("alpha")
        self.ledger = ledger
        for number, project in enumerate(("p", "q")):
            self.told.project(project)
            for name in range(number, COUNT, 2):
                self.told.allocation(project, f"a{name}", "alpha")

    async def reaches(self, watermark: int) -> list[tuple[str, str]]:
        """The accounts of which windows are closed when the agent's use is complete until then."""
        await self.ledger.put_usage("alpha", usage(f"until {watermark}", watermark=watermark), watermark)
        await self.books.refresh_agents()
        return await self.books.close_windows("alpha")


@pytest.fixture
async def desk(ledger: Ledger) -> Desk:
    found = Desk(ledger)
    await ledger.record_hello("alpha", hello(), 0)
    await found.books.post("alpha", ["p", "q"])
    return found


async def test_only_what_changed_is_looked_at_again(desk: Desk) -> None:
    with looks(desk.told.informers.allocations) as found:
        assert await desk.reaches(CLOSED - 2 * HOUR) == []
        assert len(found) == COUNT
        assert await desk.reaches(CLOSED - HOUR) == []
        assert len(found) == COUNT
        desk.told.allocation("p", "a4", "alpha")
        assert await desk.reaches(CLOSED - 1) == []
        assert found[COUNT:] == ["a4"]


async def test_others_get_turns_while_a_cluster_is_walked(desk: Desk) -> None:
    assert await desk.reaches(CLOSED - 1) == []
    async with turns() as found:
        assert await desk.books.close_windows("alpha") == []
        assert len(found) >= COUNT // AT_ONCE


async def test_each_window_is_closed_once_with_its_account(desk: Desk) -> None:
    assert await desk.reaches(CLOSED - 1) == []
    assert await desk.reaches(CLOSED) == [("alpha", "p"), ("alpha", "q")]
    expired = [item.entry for item in await desk.ledger.entries("alpha") if item.entry.kind is EntryKind.EXPIRY]
    assert len({item.uid for item in expired}) == len(expired) == COUNT
    assert {item.account for item in expired if item.uid.startswith("project-p/")} == {"p"}
    assert await desk.reaches(CLOSED + HOUR) == []


async def test_the_next_window_is_waited_for(desk: Desk) -> None:
    desk.told.allocation("p", "a0", "alpha", recurrence={"every": "Month"})
    february = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) + REOPEN_SECONDS
    assert await desk.reaches(february) == [("alpha", "p")]
    assert await desk.reaches(february + HOUR) == []
    assert await desk.reaches(february + 28 * 24 * HOUR) == [("alpha", "p")]


async def test_what_is_gone_is_forgotten(desk: Desk) -> None:
    last = desk.told.allocation("p", "a0", "alpha")
    assert await desk.reaches(CLOSED - 1) == []
    desk.told.gone(last)
    assert await desk.reaches(CLOSED) == [("alpha", "p"), ("alpha", "q")]
    assert len(desk.books._closings._seen) == COUNT - 1

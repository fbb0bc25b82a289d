"""Desired state over a real ledger: what is published, in which rounds, and what is kept of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from bursar_domain.entries import Entry
from bursar_domain.keys import Signer
from bursar_domain.units import HOUR
from bursar_domain.wire import AccountEntry, AllocationEntry, ClusterSettings
from bursar_kube.errors import NotLeading
from bursar_ledger import Ledger
from bursar_ledger.entries import Booked
from bursar_ledger.publication import Publication
from bursar_operator import desired
from bursar_operator.books import Books
from bursar_operator.desired import DesiredState
from bursar_operator.domain.clusters import Patience
from bursar_operator.metrics import Metrics
from bursar_testing.memories import Told
from bursar_testing.wires import new_ledger

ACCOUNTS = ("p", "q", "r", "s")


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with new_ledger(tmp_path) as ledger:
        yield ledger


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DEBOUNCE_SECONDS", "LONGEST_REST_SECONDS", "PIECE_PAUSE_SECONDS", "RETRY_SECONDS"):
        monkeypatch.setattr(desired, name, 0.01)


class Desk:
    """A term of the operator, as far as desired state goes, beside a cluster with some accounts."""

    def __init__(self, ledger: Ledger, told: Told | None = None) -> None:
        self.told = told or Told()
        now = lambda: datetime(2026, 1, 1, tzinfo=UTC)  # noqa: E731
        self.books = Books(ledger, self.told.informers, Patience(60, 60), now)
        self.desired = DesiredState(
            ledger,
            self.told.informers,
            self.books,
            Signer.generate(),
            Metrics(),
            epoch=1,
            valid_days=30,
            now=now,
            announced=lambda cluster: None,
            joined=lambda account: None,
        )
        self.told.informers.allocations._synced.set()

    async def __aenter__(self) -> "Desk":
        await self.desired.load()
        await self.books.load()
        self.desired.follow()
        self._task = asyncio.create_task(self.desired.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait({self._task})


def told() -> Told:
    """A cluster with an allocation for each account."""
    found = Told()
    found.cluster("alpha")
    for name in ACCOUNTS:
        found.project(name)
        found.allocation(name, "a", "alpha")
    return found


async def test_what_is_compared_at_the_start_is_not_kept_waiting_by_what_changes(ledger: Ledger) -> None:
    seen = told()
    async with Desk(ledger, seen) as first:
        for account in ACCOUNTS:
            await first.desired.publish_now("alpha", account)
    async with Desk(ledger, seen) as second:
        assert len(second.desired._unhurried) == len(ACCOUNTS)
        for _ in ACCOUNTS:
            await second.desired.publish_now("alpha", "p")
        assert second.desired._unhurried == {}


async def test_what_was_stored_is_taken_in_though_the_answer_was_lost(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Desk(ledger, told()) as desk:
        for account in ACCOUNTS:
            await desk.desired.publish_now("alpha", account)
        uid = desk.told.allocation("p", "a", "alpha", grace={"overusePercent": 7})["metadata"]["uid"]
        publish, answers = ledger.publish, []

        async def lost(*args: Any, **kwargs: Any) -> Publication:
            answers.append(await publish(*args, **kwargs))
            if len(answers) == 1:
                raise ConnectionError("the answer is lost")
            return answers[-1]

        monkeypatch.setattr(ledger, "publish", lost)
        await desk.desired.publish_now("alpha", "p")
        assert [answer.changed for answer in answers] == [1, 0]
        entry = desk.books._published.entry(uid)
        assert entry is not None
        assert entry.overuse_percent == 7


async def test_of_what_is_never_published_nothing_is_kept(ledger: Ledger) -> None:
    async with Desk(ledger, told()) as desk:
        desk.told.allocation("p", "waits", "alpha", revision=0)
        await desk.desired.publish_now("alpha", "p")
        assert desk.desired._builder.fresh == set()


@pytest.mark.parametrize("error", [NotLeading("the Lease was not renewed in time"), RuntimeError("a defect")])
async def test_a_refusal_for_a_late_leader_is_said_without_a_traceback(ledger: Ledger, error: Exception) -> None:
    refusals = [error]

    def late_once() -> None:
        if refusals:
            raise refusals.pop()

    async with Desk(ledger, told()) as desk:
        ledger.guard(late_once)
        with capture_logs() as logs:
            assert await desk.desired.publish_now("alpha", "p") == 1, "it is tried again"
    said = [line for line in logs if "could not be published" in line["event"]]
    assert [(line["error"], line["exc_info"]) for line in said] == [(str(error), isinstance(error, RuntimeError))]


@pytest.mark.parametrize("hours", [3, 30])
async def test_a_revision_is_not_signed_before_its_hours_are_posted(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    async with Desk(ledger, told()) as desk:
        for account in ACCOUNTS:
            await desk.desired.publish_now("alpha", account)
        append = ledger.append

        async def moved_meanwhile(entries: Sequence[Entry], now: int) -> list[Booked]:
            booked = await append(entries, now)
            if len(entries) == 1 and entries[0].name == "new":
                desk.told.allocation("p", "a", "alpha", hours=hours, revision=2)
            return booked

        monkeypatch.setattr(ledger, "append", moved_meanwhile)
        desk.told.allocation("p", "new", "alpha")
        published: list[AllocationEntry] = []
        publish = ledger.publish

        async def seen(settings: ClusterSettings, entries: Sequence[AccountEntry], **kwargs: Any) -> Publication:
            published.extend(item for entry in entries for item in entry.allocations)
            return await publish(settings, entries, **kwargs)

        monkeypatch.setattr(ledger, "publish", seen)
        await desk.desired.publish_now("alpha", "p")
        assert [item.granted for item in published if item.name == "a"][-1:] == [{"cpu": hours}]
        for item in published:
            assert item.windows[0].steps[-1].granted == {"cpu": item.granted["cpu"] * HOUR}

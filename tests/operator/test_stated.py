"""Statements made by hand: from when on they are judged, and how long the use that they state counts."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from bursar_crds.names import RELEASE_STATEMENT
from bursar_domain.keys import Signer
from bursar_kube.client import Kube, Obj
from bursar_ledger.ledger import Ledger
from bursar_operator.books import Books
from bursar_operator.domain.balances import Stated
from bursar_operator.domain.clusters import Patience
from bursar_operator.informers import Informers
from bursar_operator.metrics import Metrics
from bursar_operator.release import Releases
from bursar_testing import manifests
from bursar_testing.wires import allocation, entry, hello, new_ledger, settings, usage

HOUR = 3600
ISSUED = 100 * HOUR
SAID = Stated("alpha", {"cpu": 2}, datetime.fromtimestamp(ISSUED, UTC))


@pytest.mark.parametrize(
    ("complete_until", "hours"),
    [(None, {"cpu": 2}), (ISSUED - 1, {"cpu": 2}), (ISSUED, {}), (ISSUED + HOUR, {})],
)
def test_it_counts_as_long_as_the_books_do_not_reach_up_to_it(complete_until: int | None, hours: dict[str, int]) -> None:
    until = None if complete_until is None else datetime.fromtimestamp(complete_until, UTC)
    assert SAID.beyond(until) == hours


class OneAllocation(Kube):
    """A server that has one allocation, and keeps what is told of it."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.allocation: Obj = {}
        self.told: list[str] = []

    async def raw(self, method: str, path: str, body: Obj | None = None, **settings: Any) -> Obj:
        """The allocation, or an Event that is taken."""
        if body is not None:
            self.told.append(body["note"])
        return body or self.allocation


def now() -> datetime:
    return datetime.fromtimestamp(ISSUED, UTC)


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Ledger, OneAllocation, Books]]:
    """A ledger that published an allocation, and the operator's books of it."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    async with new_ledger(folder) as ledger:
        sign = Signer.generate().sign
        accounts = [entry("a", allocation("u"))]
        await ledger.publish(settings(), accounts, epoch=1, acknowledged=0, now=0, valid_seconds=86_400, sign=sign)
        await ledger.record_hello("alpha", hello(), ISSUED)
        kube = await OneAllocation.connect(str(folder / "kubeconfig"))
        assert isinstance(kube, OneAllocation)
        books = Books(ledger, Informers.build(kube), Patience(60, 60), now)
        await books.load()
        try:
            yield ledger, kube, books
        finally:
            await kube.close()


async def test_the_books_drop_it_once_the_mended_agent_reported_up_to_there(tmp_path: Path) -> None:
    async with site(tmp_path) as (ledger, _, books):
        books.stated["u"] = SAID
        assert books.used_hours("u") == {"cpu": 2}
        for report, watermark, hours in (("r1", ISSUED - 1, {"cpu": 2}), ("r2", ISSUED, {})):
            await ledger.put_usage("alpha", usage(report, watermark=watermark), ISSUED)
            await books.refresh_agents()
            assert books.used_hours("u") == hours


def deleted(granted: int, revision: int) -> Obj:
    """The allocation, being deleted, with something on it that is no statement."""
    allocation = manifests.allocation("p", "main", "year", 100, "alpha")
    allocation["metadata"] |= {"uid": "u", "deletionTimestamp": now().isoformat(), "annotations": {RELEASE_STATEMENT: "{}"}}
    return allocation | {"status": {"granted": [{"name": "cpu", "hours": granted}], "grantRevision": revision}}


async def test_a_statement_waits_until_the_grant_is_taken_back(tmp_path: Path) -> None:
    async with site(tmp_path) as (ledger, kube, books):
        touched: list[tuple[str, str]] = []
        releases = Releases(
            kube, ledger, Informers.build(kube), books, Metrics(), Patience(60, 60),
            deadline_seconds=60, statement_seconds=60, now=now, touch=lambda *key: touched.append(key),
        )  # fmt: skip
        kube.allocation = deleted(granted=100, revision=1)
        assert await releases._judge(("project-p", "main")) is None
        assert (kube.told, touched) == ([], [])
        kube.allocation = deleted(granted=0, revision=2)
        assert await releases._judge(("project-p", "main")) is None
        (note,) = kube.told
        assert "does not count (Unreadable)" in note
        assert touched == [("project-p", "main")]

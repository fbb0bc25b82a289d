"""Use that was stated by hand counts until an agent has reported it, and never beside what it reported."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from bursar_domain.keys import Signer
from bursar_kube.client import Kube
from bursar_ledger.ledger import Ledger
from bursar_operator.books import Books
from bursar_operator.domain.balances import Stated
from bursar_operator.domain.clusters import Patience
from bursar_operator.informers import Informers
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


@asynccontextmanager
async def books_of(ledger: Ledger, folder: Path) -> AsyncIterator[Books]:
    """The operator's, of which nothing asks the API server."""
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (folder / "kubeconfig").write_text(json.dumps(config))
    kube = await Kube.connect(str(folder / "kubeconfig"))
    try:
        yield Books(ledger, Informers.build(kube), Patience(60, 60), lambda: datetime.fromtimestamp(ISSUED, UTC))
    finally:
        await kube.close()


async def test_the_books_drop_it_once_the_mended_agent_reported_up_to_there(tmp_path: Path) -> None:
    async with new_ledger(tmp_path) as ledger:
        sign = Signer.generate().sign
        accounts = [entry("a", allocation("u"))]
        await ledger.publish(settings(), accounts, epoch=1, acknowledged=0, now=0, valid_seconds=86_400, sign=sign)
        await ledger.record_hello("alpha", hello(), ISSUED)
        async with books_of(ledger, tmp_path) as books:
            await books.load()
            books.stated["u"] = SAID
            assert books.used_hours("u") == {"cpu": 2}
            for report, watermark, hours in (("r1", ISSUED - 1, {"cpu": 2}), ("r2", ISSUED, {})):
                await ledger.put_usage("alpha", usage(report, watermark=watermark), ISSUED)
                await books.refresh_agents()
                assert books.used_hours("u") == hours

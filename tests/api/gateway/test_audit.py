"""The chain of entries, checked through the gateway: for auditors and administrators, and it names the row."""

import pytest

from bursar_domain.entries import Entry, EntryKind
from bursar_testing.gatewaystack import GatewayStack


@pytest.mark.parametrize(("user", "status"), [("frank", 200), ("erin", 200), ("dana", 403), ("alice", 403)])
async def test_who_may(running: GatewayStack, user: str, status: int) -> None:
    answer = await running.get("audit/entries/verify", user)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert "ask somebody with the role bursar-auditor" in answer.json()["detail"]


async def test_a_whole_chain(running: GatewayStack, fresh: str) -> None:
    entry = Entry(f"k-{fresh}", EntryKind.ADJUSTMENT, f"c-{fresh}", f"p-{fresh}", 0, "dana", "why", "uid", amounts={"cpu": 5})
    [booked] = await running.ledger.append([entry], 0)
    found = (await running.get("audit/entries/verify", "frank")).json()
    assert found["problems"] == []
    assert found["rows"] >= booked.number
    assert len(found["hash"]) == 64

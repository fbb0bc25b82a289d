"""Sessions: of two agents with one key the younger is fenced; a broken connection gives the cluster up."""

import asyncio
import time

import httpx

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.wire import AccountState
from bursar_testing.agentcalls import AgentCaller
from bursar_testing.agentgateway import Gateway
from bursar_testing.wires import hello, publish_accounts, slot, status, usage


def twin(agent: AgentCaller, session: str) -> AgentCaller:
    """A second agent with the same key."""
    return AgentCaller(agent.client, agent.cluster, session=session, signer=agent.signer)


async def test_the_younger_of_two_is_fenced(gateway: Gateway) -> None:
    old = await gateway.greeted("old")
    young = twin(old, "young")
    reply = await young.call("POST", "hello", hello("young").canonical())
    assert (reply.status_code, reply.json()["accepted"]) == (200, False)
    assert "session old with the same key" in reply.json()["reason"]
    for method, path, body in (
        ("GET", "desired", b""),
        ("PUT", "status", status(session="young").canonical()),
        ("PUT", "usage", usage("1", session="young").canonical()),
    ):
        fenced = await young.call(method, path, body)
        assert (fenced.status_code, fenced.json()["title"]) == (409, "Fenced")
    assert (await old.call("PUT", "status", status(session="old").canonical())).status_code == 200


async def test_a_call_before_hello_is_told_so(gateway: Gateway) -> None:
    reply = await gateway.agent().call("GET", "desired")
    assert (reply.status_code, reply.json()["title"]) == (409, "HelloFirst")


async def test_a_poll_that_breaks_off_lets_the_next_session_in(gateway: Gateway) -> None:
    """A killed agent's socket closes; the one that is started after it need not wait until it counts as silent."""
    old = await gateway.greeted("old")
    path = f"/agent/v1/clusters/{old.cluster}/desired?after=0&wait=50"
    async with httpx.AsyncClient(base_url=str(gateway.client.base_url)) as client:
        headers = {"Authorization": f"Bearer {old.token('GET', path, b'')}"}
        poll = asyncio.create_task(client.get(path, headers=headers, timeout=60))
        await asyncio.sleep(0.3)
        poll.cancel()
    young = twin(old, "young")
    for _ in range(50):
        reply = await young.call("POST", "hello", hello("young").canonical())
        if reply.json()["accepted"]:
            break
        await asyncio.sleep(0.1)
    assert reply.json()["accepted"] is True
    fenced = await old.call("GET", "desired")
    assert (fenced.status_code, fenced.json()["title"]) == (409, "Fenced")


async def test_any_call_is_a_sign_of_life(gateway: Gateway) -> None:
    """Written a few seconds later at most, for all agents together."""
    agent = await gateway.greeted()
    await gateway.ledger.release(agent.cluster, "s1", 1)
    assert (await agent.call("GET", "desired")).status_code == 304
    for _ in range(100):
        if (await gateway.ledger.agents())[agent.cluster].last_seen > 1:
            break
        await asyncio.sleep(0.1)
    assert abs((await gateway.ledger.agents())[agent.cluster].last_seen - time.time()) < 60


async def test_a_status_report_is_idempotent(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    first = status("1", accounts=[AccountState(account="a", state="Pending")]).canonical()
    second = status("2", accounts=[AccountState(account="a", state="Enforced")]).canonical()
    receipts = [(await agent.call("PUT", "status", body)).json()["accepted"] for body in (first, second, first)]
    assert receipts == [1, 1, 1]
    assert (await gateway.ledger.account_states(agent.cluster))["a"].state == "Enforced"


async def test_a_usage_report_is_idempotent(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    await publish_accounts(gateway.ledger, agent.cluster, "a")
    report = usage("1", slot("a", 0, (0, 1), {RowKey("alice", "cpu"): Amounts((5, 0, 0, 0))}), watermark=900).canonical()
    receipts = [(await agent.call("PUT", "usage", report)).json() for _ in range(3)]
    assert [(r["accepted"], r["dropped"]) for r in receipts] == [(1, 0)] * 3
    assert await gateway.ledger.totals(agent.cluster) == {"a": {"cpu": 5}}
    assert await gateway.ledger.watermark(agent.cluster) == 900

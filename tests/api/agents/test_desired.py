"""Desired state on the wire: long poll, 304, ETag, and a root that was signed anew."""

import asyncio

import httpx

from bursar_domain.keys import Signer, fingerprint, verify
from bursar_domain.wire import AccountEntry, Delta, digest_of_all
from bursar_testing.agentcalls import AgentCaller
from bursar_testing.agentgateway import Gateway, running_gateway
from bursar_testing.wires import allocation, entry, settings


async def publish(gateway: Gateway, agent: AgentCaller, signer: Signer, *entries: AccountEntry, acknowledged: int = 0) -> int:
    """Publish for the agent's cluster."""
    done = await gateway.ledger.publish(
        settings(agent.cluster), entries, epoch=1, acknowledged=acknowledged, now=0, valid_seconds=9, sign=signer.sign
    )
    return done.generation


async def ask(agent: AgentCaller, after: int = 0, wait: int = 0, etag: str = "") -> httpx.Response:
    """One poll."""
    headers = {"If-None-Match": etag} if etag else {}
    return await agent.call("GET", f"desired?after={after}&wait={wait}", headers=headers)


async def test_everything_at_first_then_what_changed(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, entry("a", allocation(agent.cluster)), entry("b"))
    first = Delta.model_validate_json((await ask(agent)).content)
    root = verify(first.root, fingerprint(signer.public_key))
    assert first.full
    assert root.digest == digest_of_all(first.settings, [(e.account, e.digest()) for e in first.entries])
    await publish(gateway, agent, signer, entry("b", members=["bob"]))
    second = Delta.model_validate_json((await ask(agent, 1)).content)
    assert (second.full, [e.account for e in second.entries], second.root.root.generation) == (False, ["b"], 2)


async def test_nothing_new_is_304_with_the_tag(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    assert (await ask(agent)).status_code == 304
    await publish(gateway, agent, signer, entry("a"))
    first = await ask(agent)
    again = await ask(agent, 1)
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert "Bursar-Clock" in again.headers


async def test_a_poll_that_waits_is_woken(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, entry("a"))
    await ask(agent)
    polls = [asyncio.create_task(ask(agent, 1, wait=50)) for _ in range(5)]
    await asyncio.sleep(0.3)
    assert not any(poll.done() for poll in polls)
    await publish(gateway, agent, signer, entry("b"))
    for reply in await asyncio.gather(*polls):
        assert [e["account"] for e in reply.json()["entries"]] == ["b"]


async def test_the_first_publication_wakes_who_waits_for_it(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    poll = asyncio.create_task(ask(agent, 0, wait=50))
    await asyncio.sleep(0.2)
    await publish(gateway, agent, signer, entry("a"))
    assert (await poll).json()["full"] is True


async def test_another_clusters_publication_wakes_nobody_else(gateway: Gateway, signer: Signer) -> None:
    agent, other = await gateway.greeted(), await gateway.greeted()
    await publish(gateway, agent, signer, entry("a"))
    await ask(agent)
    poll = asyncio.create_task(ask(agent, 1, wait=1))
    await publish(gateway, other, signer, entry("a"))
    assert (await poll).status_code == 304


async def test_a_root_signed_anew_is_news_without_entries(gateway: Gateway, signer: Signer) -> None:
    """A released brake and a renewed validity reach the agent although no generation moved."""
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, entry("a"))
    await ask(agent)
    poll = asyncio.create_task(ask(agent, 1, wait=50))
    await asyncio.sleep(0.2)
    assert await publish(gateway, agent, signer, acknowledged=1) == 1
    delta = Delta.model_validate_json((await poll).content)
    assert (delta.full, delta.entries, delta.root.root.acknowledged) == (False, (), 1)
    assert (await ask(agent, 1)).status_code == 304


async def test_the_tag_tells_which_root_the_agent_has(gateway: Gateway, signer: Signer) -> None:
    """A lost answer is made good: what counts is the tag the agent sends, not what was sent to it."""
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, entry("a"))
    tag = (await ask(agent)).headers["ETag"]
    await publish(gateway, agent, signer, acknowledged=1)
    for _ in range(2):
        lost = await ask(agent, 1, etag=tag)
        assert (lost.status_code, lost.json()["entries"]) == (200, [])
    assert (await ask(agent, 1, etag=lost.headers["ETag"])).status_code == 304


async def test_a_long_answer_is_packed(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, *(entry(f"a{number}") for number in range(100)))
    reply = await ask(agent)
    assert reply.headers["Content-Encoding"] == "gzip"
    assert len(reply.json()["entries"]) == 100
    plain = await agent.call("GET", "desired?after=0&wait=0", headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.json()["entries"] == reply.json()["entries"]


async def test_a_generation_to_come_gets_everything(gateway: Gateway, signer: Signer) -> None:
    agent = await gateway.greeted()
    await publish(gateway, agent, signer, entry("a"))
    assert (await ask(agent, 99, wait=50)).json()["full"] is True


async def test_a_server_that_stops_sends_those_who_wait_away(signer: Signer) -> None:
    """Else each stop would last until the longest poll is over, or cut it off."""
    async with running_gateway() as own:
        agent = await own.greeted()
        await publish(own, agent, signer, entry("a"))
        await ask(agent)
        poll = asyncio.create_task(ask(agent, 1, wait=50))
        await asyncio.sleep(0.2)
        own.drain()
        assert (await poll).status_code == 304
        assert (await ask(agent, 1, wait=50)).status_code == 304


async def test_questions_out_of_range_are_refused(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    for query in ("after=-1", "after=x", "wait=900"):
        assert (await agent.call("GET", f"desired?{query}")).status_code == 422

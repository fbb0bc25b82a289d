"""Bodies: gzip or plain, one cap before and after unpacking, and every wrong field named."""

import gzip
import os
import time
import zlib
from collections.abc import AsyncIterator

import pytest

from bursar_api.agents.bodies import MAX_BODY_BYTES
from bursar_domain.buckets import Amounts, RowKey
from bursar_testing.agentcalls import AgentCaller
from bursar_testing.agentgateway import Gateway
from bursar_testing.wires import hello, publish_accounts, slot, status, usage

PACKED = {"Content-Encoding": "gzip"}
REPORT = usage("1", *(slot("a", 3600 * hour, (0, 1), {RowKey("alice", "cpu"): Amounts((1, 2, 3, 4))}) for hour in range(100)))


async def test_a_packed_report_counts(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    await publish_accounts(gateway.ledger, agent.cluster, "a")
    reply = await agent.call("PUT", "usage", gzip.compress(REPORT.canonical()), headers=PACKED)
    assert (reply.status_code, reply.json()["accepted"]) == (200, 100)
    assert await gateway.ledger.totals(agent.cluster) == {"a": {"cpu": 1000}}


async def test_the_hash_may_be_of_the_unpacked_body(gateway: Gateway) -> None:
    agent, packed = await gateway.greeted(), gzip.compress(REPORT.canonical())
    token = agent.token("PUT", f"/agent/v1/clusters/{agent.cluster}/usage", REPORT.canonical())
    assert (await agent.call("PUT", "usage", packed, headers=PACKED, token=token)).status_code == 200


async def refused(agent: AgentCaller, body: bytes, code: int, reason: str, coding: str = "identity") -> None:
    """The body is refused with this status and reason, and the clock."""
    reply = await agent.call("PUT", "usage", body, headers={"Content-Encoding": coding})
    assert (reply.status_code, reply.headers["content-type"]) == (code, "application/problem+json")
    assert reason in reply.json()["detail"]
    assert abs(reply.json()["clock"] - time.time()) < 60


async def test_a_body_over_the_cap(gateway: Gateway) -> None:
    await refused(await gateway.greeted(), b" " * (MAX_BODY_BYTES + 1), 413, "send it in pages")


async def test_a_body_at_the_cap_is_read(gateway: Gateway) -> None:
    report = REPORT.canonical()
    reply = await (await gateway.greeted()).call("PUT", "usage", report + b" " * (MAX_BODY_BYTES - len(report)))
    assert reply.status_code == 200


async def test_a_body_without_a_length_stops_at_the_cap(gateway: Gateway) -> None:
    """Sent in chunks, the server must count for itself."""
    agent = await gateway.greeted()
    path = f"/agent/v1/clusters/{agent.cluster}/usage"
    body = os.urandom(MAX_BODY_BYTES + 1)

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]

    headers = {"Authorization": f"Bearer {agent.token('PUT', path, body)}"}
    assert (await agent.client.put(path, content=pieces(), headers=headers)).status_code == 413


async def test_a_bomb_is_not_unpacked(gateway: Gateway) -> None:
    """64 MiB of zeros in 64 KiB: refused after the first MiB."""
    bomb = gzip.compress(bytes(64 * MAX_BODY_BYTES), compresslevel=9)
    assert len(bomb) < 100_000
    await refused(await gateway.greeted(), bomb, 413, "unpacked", "gzip")


async def test_a_bomb_behind_a_bomb_is_not_unpacked(gateway: Gateway) -> None:
    await refused(await gateway.greeted(), gzip.compress(b"{}") * 2, 400, "one whole gzip member", "gzip")


CODED = [
    ("not gzip", b"{}", "gzip", 400),
    ("cut off", gzip.compress(REPORT.canonical())[:-5], "gzip", 400),
    ("zlib", zlib.compress(b"{}"), "gzip", 400),
    ("deflate", zlib.compress(b"{}"), "deflate", 415),
    ("twice", gzip.compress(gzip.compress(b"{}")), "gzip, gzip", 415),
]


@pytest.mark.parametrize(("body", "coding", "code"), [row[1:] for row in CODED], ids=[row[0] for row in CODED])
async def test_a_coding_that_does_not_hold(gateway: Gateway, body: bytes, coding: str, code: int) -> None:
    await refused(await gateway.greeted(), body, code, "gzip", coding)


WRONG = [
    ("no JSON", b"{", "json_invalid"),
    ("empty", b"", "json_invalid"),
    ("a list", b"[]", "model_type"),
    ("deep", b"[" * 100_000, "json_invalid"),
    ("not UTF-8", b'{"reportId":"\xff"}', "json_invalid"),
    ("unknown field", REPORT.canonical()[:-1] + b',"x":1}', "extra_forbidden"),
    ("NaN", REPORT.canonical().replace(b'"hour":0', b'"hour":NaN'), "finite_number"),
    ("huge", REPORT.canonical().replace(b'"hour":0', b'"hour":' + b"9" * 5000), "json_invalid"),
]


@pytest.mark.parametrize(("body", "reason"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
async def test_a_body_that_is_no_report(gateway: Gateway, body: bytes, reason: str) -> None:
    reply = await (await gateway.greeted()).call("PUT", "usage", body)
    assert reply.status_code == 422, reply.text
    assert reason in [violation["reason"] for violation in reply.json()["violations"]], reply.text


async def test_what_cannot_be_true_is_refused_slot_by_slot(gateway: Gateway) -> None:
    """The rest counts; each refusal comes back with its reason, and is counted."""
    agent = await gateway.greeted()
    await publish_accounts(gateway.ledger, agent.cluster, "a", capacity=1)
    rows = {RowKey("alice", "cpu"): Amounts((900, 0, 0, 0))}
    negative = {RowKey("alice", "cpu"): Amounts((-(2**70), 0, 0, 0))}
    absurd = {RowKey("alice", "cpu"): Amounts((901, 0, 0, 0))}
    told = len(gateway.refused)
    report = usage(
        "1",
        slot("a", 3600, (0, 1), rows),
        slot("a", 17, (0, 1), rows),
        slot("a", 2**70, (0, 1), rows),
        slot("stranger", 3600, (0, 1), rows),
        slot("a", 7200, (0, 1), negative),
        slot("a", 10800, (0, 1), absurd),
    )
    reply = await agent.call("PUT", "usage", report.model_dump_json(by_alias=True).encode())
    reasons = [item["reason"] for item in reply.json()["refused"]]
    assert (reply.status_code, reply.json()["accepted"]) == (200, 1)
    assert reasons == ["BadHour", "BadHour", "UnknownAccount", "Negative", "Absurd"]
    assert gateway.refused[told:] == reasons
    again = await agent.call("PUT", "usage", report.model_dump_json(by_alias=True).encode())
    assert again.json()["refused"] == reply.json()["refused"]
    assert await gateway.ledger.totals(agent.cluster) == {"a": {"cpu": 900}}


async def test_a_body_speaks_for_the_session_that_signed_it(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    for method, path, body in (
        ("POST", "hello", hello("another").canonical()),
        ("PUT", "status", status(session="another").canonical()),
        ("PUT", "usage", usage("1", session="another").canonical()),
    ):
        reply = await agent.call(method, path, body)
        assert (reply.status_code, "session" in reply.json()["detail"]) == (400, True)

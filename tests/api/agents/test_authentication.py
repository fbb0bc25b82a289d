"""Who may call: forged, stolen, old, bent and repeated requests are refused, each with its reason and the clock."""

import base64
import json
import time
from hashlib import sha256

import pytest

from bursar_domain.keys import Signer
from bursar_testing.agentcalls import AgentCaller, Claim
from bursar_testing.agentgateway import Gateway
from bursar_testing.wires import hello

HELLO = hello().canonical()
NOW = int(time.time())


async def test_a_signed_call_is_let_in(gateway: Gateway) -> None:
    reply = await gateway.agent().call("POST", "hello", HELLO)
    assert (reply.status_code, reply.json()["accepted"]) == (200, True)
    assert abs(int(reply.headers["Bursar-Clock"]) - time.time()) < 60


async def test_the_old_name_of_the_algorithm_is_taken_too(gateway: Gateway) -> None:
    """Libraries still say EdDSA; the signature is the same."""
    agent = gateway.agent()
    modern = agent.token("POST", f"/agent/v1/clusters/{agent.cluster}/hello", HELLO)
    header = base64.urlsafe_b64encode(b'{"alg":"EdDSA"}').rstrip(b"=")
    payload = modern.split(".")[1].encode()
    signature = agent.signer.private.sign(header + b"." + payload)
    token = b".".join([header, payload, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()
    assert (await agent.call("POST", "hello", HELLO, token=token)).status_code == 200


def unsigned(header: dict[str, str], agent: AgentCaller) -> str:
    """A token with a header of the attacker's choice, and no signature."""
    payload = agent.token("POST", f"/agent/v1/clusters/{agent.cluster}/hello", HELLO).split(".")[1]
    return f"{base64.urlsafe_b64encode(json.dumps(header).encode()).rstrip(b'=').decode()}.{payload}."


async def refused(agent: AgentCaller, reason: str, token: str | None = None, bent: dict[str, Claim] | None = None) -> None:
    """The call is refused as unauthenticated, for this reason, with a problem document that holds the clock."""
    reply = await agent.call("POST", "hello", HELLO, token=token, bent=bent or {})
    problem = reply.json()
    assert reply.status_code == 401, problem
    assert reason in problem["detail"]
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["www-authenticate"] == "Bearer"
    assert abs(problem["clock"] - time.time()) < 60


BENT: list[tuple[str, dict[str, Claim], str]] = [
    ("another cluster", {"iss": "other"}, "the token is for cluster 'other'"),
    ("another audience", {"aud": "bursar"}, "audience"),
    ("another method", {"req": "PUT /agent/v1/clusters/x/hello"}, "another request"),
    ("another body", {"bsh": sha256(b"{}").hexdigest()}, "another body"),
    ("too old", {"iat": NOW - 200, "exp": NOW - 140}, "too old"),
    ("from the future", {"iat": NOW + 10**6, "exp": NOW + 10**6 + 60}, "not valid yet"),
    ("valid for too long", {"exp": NOW + 4000}, "at most 60 s"),
    ("expires before it begins", {"iat": NOW, "exp": NOW - 1}, "at most 60 s"),
    ("no identifier", {"jti": None}, "'jti' is missing"),
    ("no session", {"sid": None}, "'sid' is missing"),
    ("no hash", {"bsh": None}, "'bsh' is missing"),
    ("no request", {"req": None}, "'req' is missing"),
    ("no expiry", {"exp": None}, "'exp' is missing"),
    ("a session that is no word", {"sid": "a b"}, "'sid' is missing or no text"),
    ("times as text", {"iat": "now"}, "'iat' is missing or no whole number"),
]


@pytest.mark.parametrize(("bent", "reason"), [row[1:] for row in BENT], ids=[row[0] for row in BENT])
async def test_a_bent_claim(gateway: Gateway, bent: dict[str, Claim], reason: str) -> None:
    await refused(gateway.agent(), reason, bent=bent)


async def test_a_forged_signature(gateway: Gateway) -> None:
    victim = gateway.agent()
    await refused(AgentCaller(gateway.client, victim.cluster, signer=Signer.generate()), "no key of cluster")


async def test_the_key_of_another_cluster(gateway: Gateway) -> None:
    thief, victim = gateway.agent(), gateway.agent()
    await refused(AgentCaller(gateway.client, victim.cluster, signer=thief.signer), "no key of cluster")


async def test_a_token_of_another_cluster_on_this_path(gateway: Gateway) -> None:
    """Signed right, by a key that both clusters have: still bound to one of them."""
    one = gateway.agent()
    other = AgentCaller(gateway.client, "other", signer=one.signer)
    gateway.keys["other"] = [one.key]
    await refused(one, "the token is for cluster 'other'", token=other.token("POST", "/", HELLO))


async def test_a_token_counts_once(gateway: Gateway) -> None:
    agent = gateway.agent()
    token = agent.token("POST", f"/agent/v1/clusters/{agent.cluster}/hello", HELLO)
    assert (await agent.call("POST", "hello", HELLO, token=token)).status_code == 200
    await refused(agent, "used before", token=token)


async def test_a_token_with_the_wrong_body_does_not_use_up_the_right_one(gateway: Gateway) -> None:
    """Who copies a token off the wire can't burn it with a body of his own."""
    agent = gateway.agent()
    token = agent.token("POST", f"/agent/v1/clusters/{agent.cluster}/hello", HELLO)
    assert (await agent.call("POST", "hello", b"{}", token=token)).status_code == 401
    assert (await agent.call("POST", "hello", HELLO, token=token)).status_code == 200


async def test_the_query_is_signed_too(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    token = agent.token("GET", f"/agent/v1/clusters/{agent.cluster}/desired?after=1", b"")
    reply = await agent.call("GET", "desired?after=2", token=token)
    assert (reply.status_code, "another request" in reply.text) == (401, True)


@pytest.mark.parametrize("header", [{"alg": "none"}, {"alg": "HS256"}, {"alg": "Ed25519", "crit": "b64"}, {}])
async def test_a_header_of_the_attackers_choice(gateway: Gateway, header: dict[str, str]) -> None:
    agent = gateway.agent()
    await refused(agent, "no key of cluster", token=unsigned(header, agent))


async def test_the_public_key_is_no_shared_secret(gateway: Gateway) -> None:
    agent = gateway.agent()
    token = agent.token("POST", f"/agent/v1/clusters/{agent.cluster}/hello", HELLO, algorithm="HS256")
    await refused(agent, "no key of cluster", token=token)


@pytest.mark.parametrize("token", ["x", "a.b.c", "....", "x" * 5000, "e30.e30."])
async def test_garbage(gateway: Gateway, token: str) -> None:
    await refused(gateway.agent(), "token", token=token)


async def test_no_token_at_all(gateway: Gateway) -> None:
    reply = await gateway.client.post(f"/agent/v1/clusters/{gateway.agent().cluster}/hello", content=HELLO)
    assert (reply.status_code, "not signed" in reply.json()["detail"]) == (401, True)


async def test_a_key_that_was_taken_away_stops_at_once(gateway: Gateway) -> None:
    agent = await gateway.greeted()
    gateway.keys[agent.cluster].clear()
    await refused(agent, "no key of cluster")


async def test_a_second_key_works_beside_the_first(gateway: Gateway) -> None:
    first = gateway.agent()
    second = gateway.agent(first.cluster)
    for agent in (first, second):
        assert (await agent.call("POST", "hello", HELLO)).status_code == 200


async def test_a_key_that_is_none_does_not_stand_in_the_way(gateway: Gateway) -> None:
    agent = gateway.agent()
    gateway.keys[agent.cluster][:0] = ["", "short", "!" * 43]
    assert (await agent.call("POST", "hello", HELLO)).status_code == 200


@pytest.mark.parametrize("cluster", ["Alpha", "a,b", "a%2Fb", "a" * 100, "x'--"])
async def test_a_cluster_that_no_scheduler_could_have(gateway: Gateway, cluster: str) -> None:
    agent = AgentCaller(gateway.client, cluster)
    assert (await agent.call("POST", "hello", HELLO)).status_code in {401, 404}

"""Enrolment: carried to the operator, checked for form, and not to be flooded."""

from uuid import uuid4

import pytest

from bursar_domain.enrolment import EnrolReply, EnrolRequest
from bursar_domain.keys import Signer, enrolment_mac
from bursar_testing.agentgateway import Gateway


def request(cluster: str = "", **bent: str) -> EnrolRequest:
    """A request as `bursar-agent enrol` makes it."""
    name = cluster or f"c{uuid4().hex[:12]}"
    key = Signer.generate().public_key
    made = EnrolRequest(cluster=name, public_key=key, mac=enrolment_mac("secret", name, key))
    return made.model_copy(update=bent)


async def enrol(gateway: Gateway, asked: EnrolRequest) -> EnrolReply:
    """Ask; it must be taken."""
    reply = await gateway.client.post("/agent/v1/enrol", content=asked.canonical())
    assert reply.status_code == 202, reply.text
    return EnrolReply.model_validate_json(reply.content)


@pytest.mark.parametrize(("accepted", "state"), [(True, "Accepted"), (False, "Refused")])
async def test_the_operators_decision_comes_back(gateway: Gateway, accepted: bool, state: str) -> None:
    asked = request()
    reply = await enrol(gateway, asked)
    assert reply.state == "Pending"
    waiting = {item.id: item.request for item in await gateway.ledger.pending_enrolments()}
    assert waiting[reply.request] == asked
    assert (await gateway.client.get(f"/agent/v1/enrol/{reply.request}")).json()["state"] == "Pending"
    await gateway.ledger.decide_enrolment(reply.request, accepted, "checked")
    after = EnrolReply.model_validate_json((await gateway.client.get(f"/agent/v1/enrol/{reply.request}")).content)
    assert (after.state, after.message) == (state, "checked")


async def test_asking_again_is_the_same_request(gateway: Gateway) -> None:
    asked = request()
    assert (await enrol(gateway, asked)).request == (await enrol(gateway, asked)).request


BENT = [
    {"cluster": "Not A Cluster"},
    {"cluster": "a" * 41},
    {"public_key": "short"},
    {"public_key": "!" * 43},
    {"mac": "ABC"},
    {"mac": "g" * 64},
]


@pytest.mark.parametrize("bent", BENT, ids=[str(sorted(row.items())[0])[:30] for row in BENT])
async def test_what_no_agent_sends_is_refused(gateway: Gateway, bent: dict[str, str]) -> None:
    before = len(await gateway.ledger.pending_enrolments())
    reply = await gateway.client.post("/agent/v1/enrol", content=request(**bent).canonical())
    assert (reply.status_code, reply.headers["content-type"]) == (422, "application/problem+json")
    assert len(await gateway.ledger.pending_enrolments()) == before


async def test_a_long_request_is_refused(gateway: Gateway) -> None:
    assert (await gateway.client.post("/agent/v1/enrol", content=b" " * 5000)).status_code == 413


async def test_one_cluster_can_not_flood_the_operator(gateway: Gateway) -> None:
    """Ten at once, then one every six seconds; another cluster is not held up."""
    cluster = f"c{uuid4().hex[:12]}"
    for _ in range(10):
        await enrol(gateway, request(cluster))
    reply = await gateway.client.post("/agent/v1/enrol", content=request(cluster).canonical())
    assert (reply.status_code, 1 <= int(reply.headers["Retry-After"]) <= 7) == (429, True)
    await enrol(gateway, request())


@pytest.mark.parametrize("identity", ["unknown", "x" * 32, "a%00b", "../enrol"])
async def test_an_enrolment_that_is_not_there(gateway: Gateway, identity: str) -> None:
    assert (await gateway.client.get(f"/agent/v1/enrol/{identity}")).status_code in {404, 405}

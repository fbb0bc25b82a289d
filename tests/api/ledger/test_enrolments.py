"""Enrolments: written down by the gateway, decided by the operator, once."""

import pytest

from bursar_domain.enrolment import EnrolRequest
from bursar_ledger import Ledger, LedgerError, TooManyPending


def request(cluster: str, key: str = "k", mac: str = "m") -> EnrolRequest:
    """A request as it comes over the wire."""
    return EnrolRequest(cluster=cluster, public_key=key, mac=mac)


async def test_a_request_waits_for_the_operator(ledger: Ledger, cluster: str) -> None:
    identity = await ledger.request_enrolment(request(cluster), 5)
    found = [item for item in await ledger.pending_enrolments() if item.request.cluster == cluster]
    assert [(item.id, item.request, item.requested_at, item.state) for item in found] == [
        (identity, request(cluster), 5, "Pending")
    ]
    assert await ledger.enrolment("unknown") is None


@pytest.mark.parametrize(("accepted", "state"), [(True, "Accepted"), (False, "Refused")])
async def test_a_decision_stands(ledger: Ledger, cluster: str, accepted: bool, state: str) -> None:
    identity = await ledger.request_enrolment(request(cluster), 5)
    await ledger.decide_enrolment(identity, accepted, "because")
    await ledger.decide_enrolment(identity, not accepted, "no, the other way")
    found = await ledger.enrolment(identity)
    assert found is not None
    assert (found.state, found.message) == (state, "because")
    assert identity not in [item.id for item in await ledger.pending_enrolments()]


async def test_the_same_request_is_one_until_it_is_refused(ledger: Ledger, cluster: str) -> None:
    first = await ledger.request_enrolment(request(cluster), 5)
    assert await ledger.request_enrolment(request(cluster), 6) == first
    await ledger.decide_enrolment(first, False, "the token has expired")
    assert await ledger.request_enrolment(request(cluster), 7) != first


async def test_another_key_with_a_used_token_is_a_request_of_its_own(ledger: Ledger, cluster: str) -> None:
    """So that the operator sees the second use, and can report it."""
    first = await ledger.request_enrolment(request(cluster), 5)
    await ledger.decide_enrolment(first, True, "")
    assert await ledger.request_enrolment(request(cluster, key="thief"), 6) != first


async def test_deciding_what_is_not_there_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(LedgerError, match="not in the ledger"):
        await ledger.decide_enrolment("unknown", True, "")


async def test_undecided_requests_are_few_and_pass(own: Ledger) -> None:
    for number in range(16):
        await own.request_enrolment(request("c", key=f"{number}"), 5)
    with pytest.raises(TooManyPending, match="16 undecided"):
        await own.request_enrolment(request("c", key="one more"), 6)
    await own.request_enrolment(request("d"), 6)
    await own.request_enrolment(request("c", key="one more"), 5 + 3601)
    assert len(await own.pending_enrolments()) == 2

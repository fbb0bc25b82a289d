"""`/entries` on a real API server and a real ledger: who may adjust, what is booked, what is refused and how to mend it."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from bursar_domain.terms import simple
from bursar_domain.units import HOUR
from bursar_testing import manifests as make
from bursar_testing.books import account, at, published, report, used
from bursar_testing.gatewaystack import GatewayStack
from bursar_testing.wires import settings

Obj = dict[str, Any]
START, END, NOW = at("2026-01-01"), at("2027-01-01"), at("2026-03-02T10:20")


@pytest.fixture
async def names(running: GatewayStack, fresh: str) -> tuple[str, str]:
    """A cluster, and a project of alice: main and side with 100 hours each, 40 used of main; over has ended, new is waiting."""
    cluster, project = f"e-{fresh}", f"e-{fresh}"
    await running.apply(make.cluster(cluster))
    await running.project(project, "alice")
    uids = {name: await running.allocation(project, name, cluster) for name in ("main", "side", "over", "new")}
    ends = {"main": END, "side": END + 24 * HOUR, "over": at("2026-02-01")}
    entries = [
        published(
            simple(uids[name], START, end, {"cpu": 100 * HOUR} | ({"gpu": HOUR} if name == "main" else {})), project, name
        )
        for name, end in ends.items()
    ]
    await running.publish(settings(cluster), [account(project, *entries)])
    await report(running.ledger, cluster, [used(project, at("2026-03-01"), {"alice": 40})], NOW)
    return cluster, project


async def make_one(
    running: GatewayStack, owner: str, user: str = "dana", headers: Obj | None = None, **body: Any
) -> httpx.Response:
    """POST an entry with what every entry has."""
    whole = {"kind": "Adjustment", "project": owner, "allocation": "main", "resource": "cpu", "hours": 5, "reason": "outage"}
    token = running.issuer.token(user, int(time.time()))
    shown = {"Authorization": f"Bearer {token}", **(headers or {})}
    query = {"dryRun": "true"} if body.pop("dry", False) else {}
    return await running.client.post("/api/v1/entries", json=whole | body, headers=shown, params=query)


async def test_an_adjustment_is_booked_with_its_author(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await make_one(running, names[1], hours=-7, headers={"X-Request-Id": "r-1" + names[1]})
    assert answer.status_code == 201, answer.text
    [made] = answer.json()["items"]
    assert (made["kind"], made["author"], made["reason"], made["request"]) == ("Adjustment", "dana", "outage", "r-1" + names[1])
    assert (made["at"], made["amounts"]) == ("2026-03-02T10:15:00Z", [{"name": "cpu", "hours": -7, "seconds": -7 * HOUR}])
    [listed] = await running.items("entries", "alice", project=names[1], kind="Adjustment", allocation="main")
    assert listed == made


async def test_a_refund_names_its_job(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await make_one(running, names[1], kind="Refund", job="4711_3.0")
    assert answer.status_code == 201, answer.text
    assert answer.json()["items"][0]["reference"] == "4711_3.0"


async def test_a_dry_run_books_nothing(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await make_one(running, names[1], dry=True)
    assert (answer.status_code, answer.json()["items"][0]["number"]) == (201, None)
    assert await running.items("entries", project=names[1]) == []


async def test_a_repeated_call_books_once(running: GatewayStack, names: tuple[str, str]) -> None:
    key = {"Idempotency-Key": f"k-{names[1]}"}
    first, second = [await make_one(running, names[1], headers=key) for _ in range(2)]
    assert first.json()["items"] == second.json()["items"]
    other = await make_one(running, names[1], headers=key, hours=6)
    assert other.status_code == 409, other.text
    assert "take a new key" in other.json()["detail"]
    assert len(await running.items("entries", project=names[1])) == 1


async def test_a_transfer_is_two_entries_and_moves_what_is_left_only(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await make_one(running, names[1], kind="Transfer", to="side", hours=50)
    assert answer.status_code == 201, answer.text
    given, taken = answer.json()["items"]
    assert (given["allocation"], given["amounts"][0]["hours"], given["reference"]) == ("main", -50, taken["uid"])
    assert (taken["allocation"], taken["amounts"][0]["hours"], taken["reference"]) == ("side", 50, given["uid"])
    again = await make_one(running, names[1], kind="Transfer", to="side", hours=11)
    assert again.status_code == 409, again.text
    assert "has 10 cpu hours left in its window; move at most 10" in again.json()["detail"]


async def test_transfers_at_once_never_move_more_than_there_is(running: GatewayStack, names: tuple[str, str]) -> None:
    calls = (make_one(running, names[1], kind="Transfer", to="side", hours=25) for _ in range(5))
    answers = await asyncio.gather(*calls)
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409, 409]


@pytest.mark.parametrize(
    ("change", "status", "words"),
    [
        ({"hours": 0}, 422, "0 hours change nothing"),
        ({"hours": 1.5}, 422, "hours"),
        ({"hours": 10**9 + 1}, 422, "hours"),
        ({"kind": "Refund", "job": "1", "hours": -1}, 422, "make an Adjustment"),
        ({"kind": "Refund"}, 422, "a Refund needs `job`"),
        ({"kind": "Refund", "job": "rm -rf"}, 422, "job"),
        ({"kind": "Transfer"}, 422, "a Transfer needs `to`"),
        ({"kind": "Transfer", "to": "main"}, 422, "can't give hours to itself"),
        ({"kind": "Transfer", "to": "side", "resource": "gpu"}, 422, "allocation side has no gpu; it has cpu"),
        ({"kind": "Transfer", "to": "side", "hours": 61}, 409, "move at most 60"),
        ({"kind": "Transfer", "to": "new"}, 409, "not granted yet"),
        ({"kind": "Grant"}, 422, "kind"),
        ({"to": "side"}, 422, "leave it out, or make a Transfer"),
        ({"reason": ""}, 422, "reason"),
        ({"reason": "a\nb"}, 422, "reason"),
        ({"reason": "  "}, 422, "reason"),
        ({"reason": "x" * 501}, 422, "reason"),
        ({"resource": "fpga"}, 422, "allocation main has no fpga; it has cpu, gpu"),
        ({"allocation": "none"}, 404, "has no allocation none; `bursar get allocations"),
        ({"allocation": "over"}, 409, "is over"),
        ({"allocation": "new"}, 409, "is not granted yet"),
        ({"project": "no-such"}, 404, "there is no project no-such"),
        ({"more": 1}, 422, "more"),
    ],
)
async def test_refused_with_the_remedy(
    running: GatewayStack, names: tuple[str, str], change: Obj, status: int, words: str
) -> None:
    answer = await make_one(running, names[1], **change)
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]
    assert await running.items("entries", project=names[1]) == []


async def test_who_may(running: GatewayStack, names: tuple[str, str]) -> None:
    for user, status in (("alice", 403), ("frank", 403), ("bob", 404), ("erin", 201)):
        answer = await make_one(running, names[1], user)
        assert answer.status_code == status, (user, answer.text)
    assert (await running.get("entries", "bob", project=names[1])).status_code == 404
    assert not [row for row in await running.items("entries", "bob") if row["project"] == names[1]]


async def test_pages_by_number(running: GatewayStack, names: tuple[str, str]) -> None:
    for _ in range(3):
        await make_one(running, names[1])
    first = (await running.get("entries", "alice", project=names[1], limit=2)).json()
    rest = (await running.get("entries", "alice", project=names[1], limit=2, **{"continue": first["continue"]})).json()
    numbers = [row["number"] for row in first["items"] + rest["items"]]
    assert (len(numbers), numbers, "continue" in rest) == (3, sorted(set(numbers)), False)
    assert (await running.get("entries", "alice", **{"continue": "x"})).status_code == 400
    sheet = (await running.get("entries", "alice", project=names[1], format="csv")).text.splitlines()
    assert (len(sheet), sheet[0].split(",")[:3]) == (4, ["number", "kind", "project"])

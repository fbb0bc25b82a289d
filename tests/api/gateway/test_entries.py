"""`/entries` on a real API server and a real ledger: who may adjust, what is booked, what is refused and how to mend it."""

import asyncio
import time
from typing import Any

import httpx
import pytest

from bursar_api.byhand import NewEntry, Side, suits
from bursar_api.errors import Invalid
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.terms import simple
from bursar_domain.units import HOUR, MOST_SECONDS, UNSCALED
from bursar_domain.wire import AccountState
from bursar_ledger.accounts import AccountReading
from bursar_ledger.entries import Booked
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


async def test_a_refund_names_its_job_and_is_made_once(running: GatewayStack, names: tuple[str, str]) -> None:
    """Whatever the key, the hours and the allocation; another resource and another task of the array are another matter."""
    first = await make_one(running, names[1], kind="Refund", job="4711_3", headers={"Idempotency-Key": f"k-{names[1]}"})
    assert first.status_code == 201, first.text
    [made] = first.json()["items"]
    assert made["reference"] == "4711_3"
    changes: tuple[Obj, ...] = ({}, {"hours": 1}, {"allocation": "side"}, {"dry": True})
    for change in changes:
        again = await make_one(running, names[1], kind="Refund", job="4711_3", **change)
        assert again.status_code == 409, again.text
        assert f"got cpu hours back with entry {made['number']} of 2026-03-02T10:15:00Z" in again.json()["detail"]
        assert "make an Adjustment" in again.json()["detail"]
    repeated = await make_one(running, names[1], kind="Refund", job="4711_3", headers={"Idempotency-Key": f"k-{names[1]}"})
    assert repeated.json()["items"] == [made]
    for job, resource in (("4711_4", "cpu"), ("4711_3", "gpu")):
        assert (await make_one(running, names[1], kind="Refund", job=job, resource=resource)).status_code == 201


async def test_a_job_is_refunded_to_one_project_alone(running: GatewayStack, names: tuple[str, str]) -> None:
    """Job ids are the cluster's; whose job it was is said in the other project's books alone."""
    cluster, project = names
    other = f"{project}-2"
    await running.project(other, "alice")
    uid = await running.allocation(other, "main", cluster)
    terms = simple(uid, START, END, {"cpu": 100 * HOUR})
    await running.publish(settings(cluster), [account(other, published(terms, other, "main"))])
    await report(running.ledger, cluster, [], NOW + HOUR)
    assert (await make_one(running, other, kind="Refund", job="88")).status_code == 201
    refused = await make_one(running, project, kind="Refund", job="88")
    assert refused.status_code == 409, refused.text
    assert "job 88 got cpu hours back with entry" in refused.text
    assert other not in refused.text


async def test_refunds_of_one_job_at_once_are_booked_once(running: GatewayStack, names: tuple[str, str]) -> None:
    answers = await asyncio.gather(*(make_one(running, names[1], kind="Refund", job="5") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409, 409]


async def test_no_more_is_taken_than_the_window_has(running: GatewayStack, names: tuple[str, str]) -> None:
    """Used hours may be taken too, for they may have been given by mistake: 40 of the 100 are used, and all can go."""
    assert (await make_one(running, names[1], hours=20)).status_code == 201
    refused = await make_one(running, names[1], hours=-121)
    assert refused.status_code == 409, refused.text
    assert "has 120 cpu hours, used ones counted; take at most 120" in refused.json()["detail"]
    assert (await make_one(running, names[1], hours=-120)).status_code == 201
    assert "there is nothing to take" in (await make_one(running, names[1], hours=-1)).json()["detail"]


async def test_what_is_taken_at_once_is_never_more_than_there_is(running: GatewayStack, names: tuple[str, str]) -> None:
    answers = await asyncio.gather(*(make_one(running, names[1], hours=-40) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 201, 409, 409]


async def test_what_the_books_can_hold(running: GatewayStack, names: tuple[str, str]) -> None:
    """2^58 unit-seconds by hand in a window, and sums stay far inside 64 bits."""
    for _ in range(3):
        assert (await make_one(running, names[1], allocation="side", hours=10**9)).status_code == 201
    full = [
        Booked(
            Entry("k", EntryKind.ADJUSTMENT, "c", "p", START, "x", "y", "u", amounts={"cpu": MOST_SECONDS - HOUR}), 1, 0, "", ""
        )
    ]
    terms = simple("u", START, END, {"cpu": HOUR})
    reading = AccountReading({}, (terms,), (), {}, None, None, None)
    side = Side("u", "project-p", "main", "c")
    body = NewEntry(kind=EntryKind.ADJUSTMENT, project="p", allocation="main", resource="cpu", hours=1, reason="r")
    suits(body, [side], reading, NOW, full, UNSCALED)
    with pytest.raises(Invalid, match="the window of main can take 1 cpu hours more"):
        suits(body.model_copy(update={"hours": 2}), [side], reading, NOW, full, UNSCALED)


async def test_a_transfer_leaves_what_running_jobs_may_still_use(running: GatewayStack, names: tuple[str, str]) -> None:
    cluster, project = names
    state = AccountState(account=project, state="Enforced", committed={"cpu": 50 * HOUR - 1})
    await report(running.ledger, cluster, [], NOW + HOUR, accounts=[state], full=True)
    refused = await make_one(running, project, kind="Transfer", to="side", hours=11)
    assert refused.status_code == 409, refused.text
    words = "has 60 cpu hours left in its window, of which running jobs of the account may still use 50; move at most 10"
    assert words in refused.json()["detail"]
    assert (await make_one(running, project, kind="Transfer", to="side", hours=10)).status_code == 201
    later = await make_one(running, project, kind="Transfer", allocation="side", to="main", hours=100)
    assert later.status_code == 201, "jobs are charged to main first, which has enough for them: " + later.text


async def test_keys_are_each_persons_own(running: GatewayStack, names: tuple[str, str]) -> None:
    """Nobody can take a key away from somebody else, nor a request's number."""
    for headers in ({"Idempotency-Key": f"k-{names[1]}"}, {"X-Request-Id": f"r-{names[1]}"}):
        for user, hours in (("dana", 1), ("erin", 2)):
            assert (await make_one(running, names[1], user, headers=headers, hours=hours)).status_code == 201
        replayed = await make_one(running, names[1], headers=headers, hours=3)
        assert replayed.status_code == 409, replayed.text
    assert len(await running.items("entries", project=names[1])) == 4


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
        ({"kind": "Refund", "job": "4711.0"}, 422, "job"),
        ({"kind": "Refund", "job": "04711"}, 422, "job"),
        ({"kind": "Refund", "job": "4711_03"}, 422, "job"),
        ({"kind": "Refund", "job": "4711\n"}, 422, "job"),
        ({"hours": "5"}, 422, "hours"),
        ({"hours": True}, 422, "hours"),
        ({"hours": -(10**9) - 1}, 422, "hours"),
        ({"hours": 10**400}, 422, "hours"),
        ({"hours": -101}, 409, "take at most 100"),
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
        ({"reason": "a\rb"}, 422, "reason"),
        ({"reason": "a\u2028b"}, 422, "reason"),
        ({"reason": "a\x00b"}, 422, "reason"),
        ({"reason": "a\x1b[2Jb"}, 422, "reason"),
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


async def test_a_reason_is_no_formula_in_a_sheet(running: GatewayStack, names: tuple[str, str]) -> None:
    assert (await make_one(running, names[1], reason='=HYPERLINK("http://x","y")')).status_code == 201
    answer = await running.get("entries", "alice", project=names[1], format="csv")
    assert """'=HYPERLINK(""http://x"",""y"")""" in answer.text


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

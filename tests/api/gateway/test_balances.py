"""`GET /balances` on a real API server and a real ledger: who sees which row, what is refused, what one project costs."""

from typing import Any

import pytest

from bursar_domain.terms import Step, Terms, Window, simple
from bursar_domain.units import HOUR
from bursar_domain.wire import AccountState
from bursar_testing import manifests as make
from bursar_testing.books import account, at, published, report, used
from bursar_testing.gatewaystack import GatewayStack
from bursar_testing.wires import settings

Obj = dict[str, Any]
DECIDED = {
    "type": "Granted",
    "status": "True",
    "reason": "Granted",
    "message": "",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
}
GRANTED = {"conditions": [DECIDED]}
START, NOW = at("2026-01-01"), at("2026-03-02")


@pytest.fixture
async def site(running: GatewayStack, fresh: str) -> str:
    """A cluster and two projects with an allocation each on it: alice's with use, carol's; the suffix of all names."""
    cluster, hers, theirs = f"c-{fresh}", f"hers-{fresh}", f"theirs-{fresh}"
    await running.apply(make.cluster(cluster))
    await running.project(hers, "alice")
    await running.project(theirs, "carol")
    uid = await running.allocation(hers, "main", cluster, GRANTED | {"enforcement": "Notify"})
    other = await running.allocation(theirs, "main", cluster, GRANTED)
    half = START + 30 * 24 * HOUR
    windows = (
        Window(START, half, (Step(START, {"cpu": 100 * HOUR}),)),
        Window(half, at("2026-07-01"), (Step(half, {"cpu": 100 * HOUR}, {"cpu": 20 * HOUR}),)),
    )
    hers_terms = Terms(uid, frozenset({"cpu"}), windows, at("2026-07-01"))
    entries = [
        account(hers, published(hers_terms, hers, "main")),
        account(theirs, published(simple(other, START, at("2027-01-01"), {"cpu": 50 * HOUR}), theirs, "main")),
    ]
    await running.publish(settings(cluster), entries)
    slots = [used(hers, START, {"alice": 60}), used(hers, half, {"alice": 20, "bob": 10}), used(theirs, START, {"carol": 5})]
    state = AccountState(account=hers, state="Enforced", committed={"cpu": 3 * HOUR})
    await report(running.ledger, cluster, slots, NOW, accounts=(state,))
    return fresh


async def test_the_window_that_runs(running: GatewayStack, site: str) -> None:
    [row] = await running.items("balances", "alice", project=f"hers-{site}")
    assert {key: row[key] for key in ("project", "account", "allocation", "cluster", "phase", "enforcement", "asOf")} == {
        "project": f"hers-{site}",
        "account": f"hers-{site}",
        "allocation": "main",
        "cluster": f"c-{site}",
        "phase": "Running",
        "enforcement": "Notify",
        "asOf": "2026-03-02T00:00:00Z",
    }
    assert row["window"] == {"start": "2026-01-31T00:00:00Z", "end": "2026-07-01T00:00:00Z", "number": 2, "of": 2}
    [figures] = row["resources"]
    parts = ("granted", "carried", "used", "committed", "available", "left")
    assert [figures[f"{name}Hours"] for name in parts] == [100, 20, 30, 3, 90, 90]
    assert (row["usedPercent"], row["coveragePercent"]) == (25, 100)


async def test_who_sees_what(running: GatewayStack, site: str) -> None:
    hers, theirs = f"hers-{site}", f"theirs-{site}"

    async def seen(user: str, path: str = "balances", **filters: str) -> set[str]:
        return {row["project"] for row in await running.items(path, user, limit="500", **filters)} & {hers, theirs}

    assert await seen("alice") == {hers}
    assert await seen("carol") == {theirs}
    assert await seen("bob") == set()
    assert await seen("erin") == {hers, theirs}
    assert await seen("erin", cluster=f"c-{site}") == {hers, theirs}
    assert await seen("erin", "me/balance") == set()
    assert await seen("alice", "me/balance") == {hers}
    assert await running.items("balances", cluster=f"c-{site}", allocation="none") == []


async def test_pages(running: GatewayStack, site: str) -> None:
    first = (await running.get("balances", cluster=f"c-{site}", limit=1)).json()
    second = (await running.get("balances", cluster=f"c-{site}", limit=1, **{"continue": first["continue"]})).json()
    assert [row["project"] for row in first["items"] + second["items"]] == [f"hers-{site}", f"theirs-{site}"]
    assert "continue" not in second


async def test_not_granted_yet(running: GatewayStack, site: str) -> None:
    message = "pool p has 5 of 10 cpu hours left; this asks for 100. Ask for 5."
    condition = DECIDED | {"status": "False", "reason": "QuotaExceeded", "message": message}
    await running.allocation(f"hers-{site}", "more", f"c-{site}", {"conditions": [condition]})
    [row] = await running.items("balances", "alice", project=f"hers-{site}", allocation="more")
    assert (row["phase"], row["waitingFor"]) == ("Waiting", message)
    assert row["resources"][0]["grantedHours"] == row["resources"][0]["leftHours"] == 0


async def test_a_cluster_without_an_agent(running: GatewayStack, fresh: str) -> None:
    """Nothing was reported: the grant is shown, and no time up to which it is known."""
    await running.apply(make.cluster(f"c-{fresh}"))
    await running.project(f"p-{fresh}", "alice")
    uid = await running.allocation(f"p-{fresh}", "main", f"c-{fresh}", GRANTED)
    terms = simple(uid, START, at("2036-01-01"), {"cpu": 120 * HOUR, "memory": 10 * 1024 * HOUR})
    await running.publish(settings(f"c-{fresh}"), [account(f"p-{fresh}", published(terms, f"p-{fresh}", "main"))])
    [row] = await running.items("balances", "alice", project=f"p-{fresh}")
    assert [(f["name"], f["grantedHours"], f["leftHours"]) for f in row["resources"]] == [("cpu", 120, 120), ("memory", 10, 10)]
    assert (row["asOf"], row["coveragePercent"], row["phase"]) == (None, 0, "Running")


@pytest.mark.parametrize(
    ("path", "user", "words"),
    [
        ("balances?project=no-such", "erin", "there is no project no-such that you may see; `bursar get projects`"),
        ("balances?project=theirs-{site}", "alice", "there is no project theirs-{site} that you may see"),
        ("balances?cluster=no-such", "alice", "there is no cluster no-such that you may see; `bursar get clusters`"),
        ("usage?project=theirs-{site}", "alice", "there is no project theirs-{site} that you may see"),
        ("usage?cluster=no-such", "erin", "there is no cluster no-such that you may see"),
    ],
)
async def test_what_nobody_may_see_is_not_there(running: GatewayStack, site: str, path: str, user: str, words: str) -> None:
    answer = await running.get(path.format(site=site), user)
    assert answer.status_code == 404, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words.format(site=site) in answer.json()["detail"]

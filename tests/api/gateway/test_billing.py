"""Service units at the gateway: balance, use, statement and entries of a cluster whose billing has a scale."""

import time
from typing import Any

import httpx
import pytest

from bursar_domain.billing import billing_of
from bursar_domain.terms import simple
from bursar_domain.units import HOUR
from bursar_domain.wire import TrackedResource
from bursar_kube.resources import CLUSTERS
from bursar_testing import manifests as make
from bursar_testing.books import account, at, published, report, used
from bursar_testing.gatewaystack import GatewayStack
from bursar_testing.waiting import eventually
from bursar_testing.wires import settings

Obj = dict[str, Any]
START, END, NOW = at("2026-01-01"), at("2027-01-01"), at("2026-03-02T10:20")
SCALE = 1000
BILLING = {"version": 3, "scale": SCALE, "weights": [{"name": "cpu", "weight": 1500}]}
RESOURCES = [{"name": "billing", "capacity": 100}, {"name": "cpu", "capacity": 64}]


@pytest.fixture
async def names(running: GatewayStack, fresh: str) -> tuple[str, str]:
    """A cluster with service units, and a project of alice: two grants of 50, of which she used 14.1 and bob 0.1."""
    cluster, project = f"b-{fresh}", f"b-{fresh}"
    document = make.cluster(cluster, billing=BILLING, resources=RESOURCES)
    await running.apply(document)
    await running.project(project, "alice")
    resources = [{"name": "billing", "hours": 50}]
    uids = {name: await running.allocation(project, name, cluster, resources=resources) for name in ("main", "side")}
    grants = [simple(uids["main"], START, END, {"billing": 50 * SCALE * HOUR})]
    grants.append(simple(uids["side"], START, END + 24 * HOUR, {"billing": 50 * SCALE * HOUR}))
    entries = [published(terms, project, name) for terms, name in zip(grants, uids, strict=True)]
    counted = TrackedResource(name="billing", trackable="billing", capacity=100 * SCALE)
    plain = settings(cluster)
    changes = {"resources": (counted, *plain.resources), "billing": billing_of(document)}
    await running.publish(plain.model_copy(update=changes), [account(project, *entries)])
    slots = [used(project, at("2026-03-01"), {"alice": 14_100, "bob": 100}, "billing")]
    await report(running.ledger, cluster, slots, NOW)
    return cluster, project


def hours(row: Obj) -> Obj:
    """The hours that are not 0."""
    return {name.removesuffix("Hours"): amount for name, amount in row.items() if name.endswith("Hours") and amount}


async def book(running: GatewayStack, project: str, **body: Any) -> httpx.Response:
    """POST an entry as the allocator."""
    whole = {"kind": "Adjustment", "project": project, "allocation": "main", "resource": "billing", "reason": "r", **body}
    headers = {"Authorization": f"Bearer {running.issuer.token('dana', int(time.time()))}"}
    return await running.client.post("/api/v1/entries", json=whole, headers=headers)


async def test_the_balance_is_in_service_units(running: GatewayStack, names: tuple[str, str]) -> None:
    found = {row["allocation"]: row for row in await running.items("balances", "alice", project=names[1])}
    [figures] = found["main"]["resources"]
    assert hours(figures) == {"granted": 50, "room": 50, "used": 15, "available": 35, "left": 35, "burnPerDay": 2}
    assert (figures["usedSeconds"], figures["usedPercent"]) == (14_200 * HOUR, 28)


async def test_use_says_how_many_unit_seconds_make_an_hour(running: GatewayStack, names: tuple[str, str]) -> None:
    rows = {row["user"]: row for row in await running.items("usage", "alice", project=names[1], by="user")}
    assert {user: (row["hours"], row["charged"]) for user, row in rows.items()} == {
        "alice": (15, 14_100 * HOUR),
        "bob": (1, 100 * HOUR),
    }
    assert {row["secondsPerHour"] for row in rows.values()} == {SCALE * HOUR}


@pytest.mark.parametrize("by", ["user", "allocation"])
async def test_the_statement_is_in_service_units_and_says_of_which_version(
    running: GatewayStack, names: tuple[str, str], by: str
) -> None:
    [part] = await running.items("statements", "alice", project=names[1], month="2026-03", by=by)
    assert part["billing"] == {"version": 3, "scale": SCALE}
    [row] = part["totals"]
    assert hours(row) == {"opening": 100, "booked": 15, "allocated": 15, "charged": 15, "closing": 85}
    assert row["closingSeconds"] == (100_000 - 14_200) * HOUR
    assert sum(line["bookedSeconds" if by == "allocation" else "chargedSeconds"] for line in part["lines"]) == 14_200 * HOUR


async def test_entries_are_made_and_read_in_service_units(running: GatewayStack, names: tuple[str, str]) -> None:
    made = await book(running, names[1], hours=-3)
    assert made.status_code == 201, made.text
    [listed] = await running.items("entries", "alice", project=names[1], kind="Adjustment")
    assert listed["amounts"] == [{"name": "billing", "hours": -3, "seconds": -3 * SCALE * HOUR}]
    moved = await book(running, names[1], kind="Transfer", to="side", hours=32)
    assert moved.status_code == 201, moved.text
    refused = await book(running, names[1], kind="Transfer", to="side", hours=1)
    assert refused.status_code == 409
    assert "there is nothing to move" in refused.json()["detail"]


@pytest.mark.parametrize("person", ["alice", "erin"])
async def test_figures_of_a_cluster_that_was_torn_away_keep_their_unit(
    running: GatewayStack, names: tuple[str, str], person: str
) -> None:
    """Its object is gone by force; what was published of it last says what an hour of billing is."""
    cluster, project = names
    made = await book(running, project, hours=-3)
    assert made.status_code == 201, made.text

    async def figures() -> list[Obj]:
        questions: list[Obj] = [{"path": "statements", "month": "2026-03"}, {"path": "entries", "kind": "Adjustment"}]
        questions += [{"path": "balances"}, {"path": "usage", "by": "user"}]
        asked = [question | more for question in questions for more in ({}, {"cluster": cluster})]
        return [row for one in asked for row in await running.items(one.pop("path"), person, project=project, **one)]

    before = await figures()
    assert SCALE * HOUR in {row.get("secondsPerHour") for row in before}
    await running.kube.delete(CLUSTERS, cluster)
    await eventually(lambda: running.gateway.caches.clusters.get(None, cluster) is None, "the cluster's copy is gone")
    assert await figures() == before
    again = await book(running, project, hours=-2)
    assert again.status_code == 201, again.text
    assert [item["amounts"][0]["seconds"] for item in again.json()["items"]] == [-2 * SCALE * HOUR]


async def test_more_than_the_books_can_hold_is_refused(running: GatewayStack, fresh: str) -> None:
    cluster, project = f"m-{fresh}", f"m-{fresh}"
    most = BILLING | {"scale": 1_000_000}
    await running.apply(make.cluster(cluster, billing=most, resources=RESOURCES))
    await running.project(project, "alice")
    await running.allocation(project, "main", cluster, resources=[{"name": "billing", "hours": 50}])
    refused = await book(running, project, hours=10**9)
    assert refused.status_code == 422, refused.text
    assert "an entry holds at most 80,063,993 billing hours" in refused.text

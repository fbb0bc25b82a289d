"""`GET /usage` on a real API server and a real ledger: groupings, times, CSV, and questions that make no sense."""

import csv
import io
from typing import Any

import pytest

from bursar_api.sheets import cell
from bursar_domain.terms import simple
from bursar_domain.units import HOUR, QUARTER
from bursar_testing import manifests as make
from bursar_testing.books import account, at, published, report, used
from bursar_testing.gatewaystack import GatewayStack
from bursar_testing.wires import settings

Obj = dict[str, Any]
SEPTEMBER, OCTOBER, NOW = at("2026-09-30T23:00"), at("2026-10-01"), at("2026-10-05")


@pytest.fixture
async def names(running: GatewayStack, fresh: str) -> tuple[str, str]:
    """A cluster, and a project of alice that used hours of two allocations on two sides of a month."""
    cluster, project = f"u-{fresh}", f"u-{fresh}"
    await running.apply(make.cluster(cluster))
    await running.project(project, "alice", "bob")
    uids = [await running.allocation(project, name, cluster) for name in ("first", "second")]
    terms = [
        simple(uids[0], at("2026-09-01"), OCTOBER + QUARTER, {"cpu": 100 * HOUR}),
        simple(uids[1], at("2026-09-01"), at("2027-01-01"), {"cpu": 100 * HOUR}),
    ]
    entries = [published(one, project, name) for one, name in zip(terms, ("first", "second"), strict=True)]
    await running.publish(settings(cluster), [account(project, *entries)])
    slots = [
        used(project, SEPTEMBER, {"alice": 4, "=bob": 8}),
        used(project, OCTOBER, {"alice": 12}),
        used(project, OCTOBER + 24 * HOUR, {"alice": 1, "=bob": 2}),
    ]
    await report(running.ledger, cluster, slots, NOW)
    return cluster, project


async def rows(running: GatewayStack, project: str, key: str, **parameters: str) -> dict[str, int]:
    """What the rows are grouped by -> hours charged."""
    found = await running.items("usage", "alice", project=project, by=key, **parameters)
    assert all(row["hours"] == -(-row["charged"] // HOUR) for row in found)
    return {row[key]: row["charged"] // HOUR for row in found}


@pytest.mark.parametrize(
    ("by", "parameters", "expect"),
    [
        ("user", {}, {"alice": 17, "=bob": 10}),
        ("month", {}, {"2026-09": 12, "2026-10": 15}),
        ("day", {}, {"2026-09-30": 12, "2026-10-01": 12, "2026-10-02": 3}),
        ("resource", {}, {"cpu": 27}),
        ("user", {"month": "2026-10"}, {"alice": 13, "=bob": 2}),
        ("user", {"start": "2026-10-01T00:15:00Z", "end": "2026-10-01T00:45:00Z"}, {"alice": 6}),
        ("user", {"start": "2026-10-02"}, {"alice": 1, "=bob": 2}),
        ("user", {"end": "2026-10-01"}, {"alice": 4, "=bob": 8}),
        ("user", {"start": "2026-10-01T02:00:00+02:00", "end": "2026-10-02"}, {"alice": 12}),
        ("month", {"user": "alice"}, {"2026-09": 4, "2026-10": 13}),
        ("user", {"user": "nobody"}, {}),
        ("user", {"month": "1999-01"}, {}),
        ("allocation", {}, {"first": 15, "second": 12}),
        ("allocation", {"month": "2026-10"}, {"first": 3, "second": 12}),
        ("allocation", {"month": "2026-09"}, {"first": 12}),
    ],
)
async def test_groups(
    running: GatewayStack, names: tuple[str, str], by: str, parameters: dict[str, str], expect: dict[str, int]
) -> None:
    assert await rows(running, names[1], by, **parameters) == expect


async def test_json_says_what_was_asked_and_how_far_it_is_known(running: GatewayStack, names: tuple[str, str]) -> None:
    found = (await running.get("usage", "alice", project=names[1], month="2026-02")).json()
    hers = {row["cluster"] for row in await running.items("balances", "alice", limit=500)}
    assert (found["items"], found["start"], found["end"]) == ([], "2026-02-01T00:00:00Z", "2026-03-01T00:00:00Z")
    assert found["asOf"][names[0]] == "2026-10-05T00:00:00Z"
    assert set(found["asOf"]) <= hers


async def test_csv(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await running.get("usage", "alice", project=names[1], format="csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    found = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["project"], row["user"], row["hours"], row["charged"], row["refunded"]) for row in found] == [
        (names[1], "'=bob", "10", str(10 * HOUR), "0"),
        (names[1], "alice", "17", str(17 * HOUR), "0"),
    ]
    by_allocation = await running.get("usage", "alice", project=names[1], format="csv", by="allocation")
    assert by_allocation.text.splitlines()[0] == "cluster,project,account,resource,allocation,hours,charged,allocated,refunded"


async def test_all_projects_at_once_are_those_that_one_may_see(running: GatewayStack, names: tuple[str, str]) -> None:
    assert {row["project"] for row in await running.items("usage", "bob", cluster=names[0])} == {names[1]}
    assert {row["project"] for row in await running.items("usage", cluster=names[0])} == {names[1]}
    answer = await running.get("usage", "carol", cluster=names[0])
    assert answer.status_code == 404, answer.text


@pytest.mark.parametrize(
    ("query", "field", "words"),
    [
        ("month=2026-13", "month", "`2026-13` is no month; write it as 2026-10"),
        ("month=october", "month", "`october` is no month"),
        ("month=", "month", "is no month"),
        ("month=2026-10&start=2026-10-01", "month", "give the month alone"),
        ("start=yesterday", "start", "`yesterday` is no time; write it as 2026-10-01"),
        ("start=2026-02-30", "start", "is no time"),
        ("end=2026-10-01T00:07:00Z", "end", "does not lie on a quarter hour"),
        ("start=2026-10-02&end=2026-10-01", "end", "the end does not come after the start; swap them"),
        ("start=2026-10-01&end=2026-10-01", "end", "the end does not come after the start"),
        ("start=2020-01-01&end=2026-10-01", "start", "more than five years; ask for shorter times"),
        ("start=2026-10-01T00:00:00", "start", "is no time"),
        ("by=allocation&user=alice", "by", "leave `user` out"),
    ],
)
async def test_a_question_that_makes_no_sense_is_refused_with_the_remedy(
    running: GatewayStack, query: str, field: str, words: str
) -> None:
    answer = await running.get(f"usage?{query}")
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert answer.json()["violations"][0]["field"] == field


@pytest.mark.parametrize("query", ["by=shoe-size", "format=xml", f"month={'9' * 65}", f"project={'x' * 254}"])
async def test_a_parameter_of_another_kind_is_refused(running: GatewayStack, query: str) -> None:
    answer = await running.get(f"usage?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["violations"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("-5", "'-5"),
        (-5, -5),
        ("alice", "alice"),
        (None, ""),
        ("@x", "'@x"),
        (0, 0),
        ("\uff1dx", "'\uff1dx"),
    ],
)
def test_no_cell_is_a_formula(value: object, shown: object) -> None:
    assert cell(value) == shown

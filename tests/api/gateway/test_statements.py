"""`GET /statements` on a real API server and a real ledger: figures, lines that add up, CSV, who may see it."""

import csv
import io
import time
from typing import Any

import pytest

from bursar_domain.terms import Step, Terms, Window
from bursar_domain.units import HOUR
from bursar_testing import manifests as make
from bursar_testing.books import account, at, published, report, used
from bursar_testing.gatewaystack import GatewayStack
from bursar_testing.wires import settings

Obj = dict[str, Any]
START, MARCH, END, NOW = at("2026-02-01"), at("2026-03-01"), at("2026-04-01"), at("2026-03-20")


@pytest.fixture
async def names(running: GatewayStack, fresh: str) -> tuple[str, str]:
    """A cluster, and a project of alice: two windows of 100 hours, 30 used in February, 20 in March, 8 of them before the 10th.

    A refund of 5 hours is booked and published in March.
    """
    cluster, project = f"s-{fresh}", f"s-{fresh}"
    await running.apply(make.cluster(cluster))
    await running.project(project, "alice")
    uid = await running.allocation(project, "main", cluster)
    windows = (
        Window(START, MARCH, (Step(START, {"cpu": 100 * HOUR}),)),
        Window(
            MARCH,
            END,
            (
                Step(MARCH, {"cpu": 100 * HOUR}, {"cpu": 10 * HOUR}),
                Step(NOW, {"cpu": 100 * HOUR}, {"cpu": 10 * HOUR}, {"cpu": 5 * HOUR}),
            ),
        ),
    )
    terms = Terms(uid, frozenset({"cpu"}), windows, END)
    await running.publish(settings(cluster), [account(project, published(terms, project, "main"))])
    slots = [
        used(project, START, {"alice": 20, "bob": 10}),
        used(project, at("2026-03-05"), {"alice": 8}),
        used(project, at("2026-03-15"), {"bob": 12}),
    ]
    await report(running.ledger, cluster, slots, NOW + HOUR)
    body = {
        "kind": "Refund",
        "project": project,
        "allocation": "main",
        "resource": "cpu",
        "hours": 5,
        "reason": "r",
        "job": "1",
    }
    headers = {"Authorization": f"Bearer {running.issuer.token('dana', int(time.time()))}"}
    answer = await running.client.post("/api/v1/entries", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return cluster, project


async def total(running: GatewayStack, project: str, **parameters: str) -> Obj:
    """The one resource's figures in hours."""
    [part] = await running.items("statements", "alice", project=project, **parameters)
    [row] = part["totals"]
    return {name.removesuffix("Hours"): amount for name, amount in row.items() if name.endswith("Hours") and amount}


async def test_a_month(running: GatewayStack, names: tuple[str, str]) -> None:
    february = await total(running, names[1], month="2026-02")
    assert february == {"granted": 100, "booked": 30, "allocated": 30, "charged": 30, "closing": 70}
    march = await total(running, names[1], month="2026-03")
    assert march == {
        "opening": 70,
        "granted": 100,
        "carried": 10,
        "refunded": 5,
        "booked": 20,
        "allocated": 20,
        "charged": 20,
        "expired": 70,
        "closing": 95,
    }


async def test_the_whole_time_and_a_part(running: GatewayStack, names: tuple[str, str]) -> None:
    whole = await total(running, names[1])
    assert (whole["granted"], whole["charged"], whole["closing"], whole.get("opening", 0)) == (200, 50, 95, 0)
    part = await total(running, names[1], start="2026-03-02", end="2026-03-10")
    assert (part["opening"], part["charged"], part["closing"]) == (110, 8, 102)


@pytest.mark.parametrize(
    ("by", "expect"),
    [("user", {"alice": 28, "bob": 22}), ("month", {"2026-02": 30, "2026-03": 20}), ("allocation", {"main": 50})],
)
async def test_lines_add_up_to_the_total(
    running: GatewayStack, names: tuple[str, str], by: str, expect: dict[str, int]
) -> None:
    [part] = await running.items("statements", "alice", project=names[1], by=by)
    figure = "booked" if by == "allocation" else "charged"
    assert {row[by]: row[f"{figure}Hours"] for row in part["lines"]} == expect
    assert sum(row[f"{figure}Seconds"] for row in part["lines"]) == part["totals"][0][f"{figure}Seconds"]


async def test_csv(running: GatewayStack, names: tuple[str, str]) -> None:
    answer = await running.get("statements", "alice", project=names[1], format="csv", by="user")
    first, *rest = csv.DictReader(io.StringIO(answer.text))
    assert (first["user"], first["closingSeconds"], first["chargedSeconds"]) == ("", str(95 * HOUR), str(50 * HOUR))
    assert {row["user"]: row["chargedSeconds"] for row in rest} == {"alice": str(28 * HOUR), "bob": str(22 * HOUR)}


async def test_a_late_correction_leaves_a_printed_statement_as_it_was(running: GatewayStack, names: tuple[str, str]) -> None:
    """Bob's ten hours of February were thirteen, Carol's four were not known: found out in March, when February is closed."""
    cluster, project = names
    [before] = await running.items("statements", "alice", project=project, month="2026-02")
    assert before["final"]
    march = await total(running, project, month="2026-03")
    late = used(project, START, {"alice": 20, "bob": 13, "carol": 4}, version=(1, 2))
    await report(running.ledger, cluster, [late], NOW + 2 * HOUR)
    [after] = await running.items("statements", "alice", project=project, month="2026-02")
    assert after == before | {"asOf": after["asOf"]}
    [found] = await running.items("statements", "alice", project=project, month="2026-03")
    assert not found["final"]
    assert await total(running, project, month="2026-03") == march | {"corrections": 7, "booked": 27, "closing": 88}
    assert {row["user"]: row["correctionsHours"] for row in found["lines"]} == {"alice": 0, "bob": 3, "carol": 4}


@pytest.mark.parametrize("by", ["user", "month", "allocation"])
async def test_months_with_corrections_add_up_to_all_of_it(running: GatewayStack, names: tuple[str, str], by: str) -> None:
    cluster, project = names
    await report(running.ledger, cluster, [used(project, START, {"bob": 3, "carol": 4}, version=(1, 2))], NOW + 2 * HOUR)
    months = [await total(running, project, month=month, by=by) for month in ("2026-02", "2026-03")]
    whole = await total(running, project, by=by)
    assert (whole["charged"], whole["corrections"]) == (50, -23)
    for figure in ("allocated", "charged", "corrections", "kept", "booked", "unfunded"):
        assert sum(month.get(figure, 0) for month in months) == whole.get(figure, 0), figure
    stored = await running.ledger.totals(cluster)
    assert stored[project]["cpu"] == 27 * HOUR


async def test_what_a_correction_takes_off_stays_with_an_allocation_that_is_over(
    running: GatewayStack, names: tuple[str, str]
) -> None:
    cluster, project = names
    await report(running.ledger, cluster, [], END + 2 * HOUR)
    await report(running.ledger, cluster, [used(project, START, {"alice": 10, "bob": 10}, version=(1, 2))], END + 3 * HOUR)
    april = await total(running, project, month="2026-04")
    assert april == {"opening": 95, "expired": 95, "corrections": -10, "kept": 10}


@pytest.mark.parametrize(("user", "status"), [("bob", 404), ("erin", 200), ("frank", 200)])
async def test_who_sees_it(running: GatewayStack, names: tuple[str, str], user: str, status: int) -> None:
    assert (await running.get("statements", user, project=names[1])).status_code == status


@pytest.mark.parametrize("more", [{}, {"by": "month"}, {"by": "allocation", "format": "csv"}, {"month": "2026-02"}])
async def test_a_project_of_ones_own_opens_no_other_one(
    running: GatewayStack, names: tuple[str, str], more: dict[str, str]
) -> None:
    """Carol leads a project of her own on the same cluster: nobody else's is there for her, whatever she asks for."""
    cluster, project = names
    own = f"{project}-own"
    await running.project(own, "carol")
    await running.allocation(own, "main", cluster)
    answer = await running.get("statements", "carol", project=project, **more)
    missing = await running.get("statements", "carol", project="no-such-project", **more)
    assert (answer.status_code, missing.status_code) == (404, 404)
    assert answer.text.replace(project, "X") == missing.text.replace("no-such-project", "X")
    assert (await running.get("statements", "carol", project=own, **more)).status_code == 200
    assert project not in {row["project"] for row in await running.items("entries", "carol")}
    assert (await running.get("entries", "carol", project=project)).status_code == 404
    assert (await running.get("usage", "carol", project=project)).status_code == 404


async def test_no_cell_of_a_sheet_is_a_formula(running: GatewayStack, names: tuple[str, str]) -> None:
    """Whatever people are called at the scheduler."""
    cluster, project = names
    hostile = {"=1+1": 1, "+cmd|'/c calc'!A1": 1, "-2+3": 1, "@SUM(1)": 1, "\t=1": 1, 'a",=1': 1, "a\r\n=1": 1}
    await report(running.ledger, cluster, [used(project, at("2026-03-16"), hostile)], NOW + 2 * HOUR)
    answer = await running.get("statements", "alice", project=project, format="csv", month="2026-03")
    found = {row["user"] for row in csv.DictReader(io.StringIO(answer.text, newline=""))}
    assert found >= {"'=1+1", "'+cmd|'/c calc'!A1", "'-2+3", "'@SUM(1)", "'\t=1", 'a",=1', "a\r\n=1"}


@pytest.mark.parametrize(
    ("query", "status"), [("", 422), ("project=x&by=day", 422), ("project=x", 404), ("project=x&month=13", 400)]
)
async def test_refused(running: GatewayStack, query: str, status: int) -> None:
    answer = await running.get(f"statements?{query}")
    assert answer.status_code == status, answer.text

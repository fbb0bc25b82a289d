"""Hours moved by hand on the whole stack: entries, balance, statement and the chain, as an allocator types them."""

import csv
import io
import json

import pytest

from bursar_testing import manifests as make
from bursar_testing.fullstack import Obj, Site, fresh, until


@pytest.fixture(scope="module")
async def project(people: Site) -> str:
    """A project of alice with two allocations of 100 and 40 hours on a cluster of its own; the cluster has its name."""
    name, pool = fresh("books"), fresh("pool")
    await people.apply(make.cluster(name), make.project(name, "alice"), make.pool(pool, name, 1000))
    await people.until_project(name)
    await people.apply(make.allocation(name, "main", pool, 100, name), make.allocation(name, "other", pool, 40, name))
    for allocation in ("main", "other"):
        await people.until_allocation(name, allocation, "Granted")
    return name


async def left(people: Site, project: str) -> dict[str, int]:
    """Hours left by allocation, as `bursar balance` says."""
    ran = await people.bursar("balance", "--project", project, "-o", "json", "--as", "alice")
    assert ran.code == 0, ran.said
    return {row["allocation"]: row["resources"][0]["leftHours"] for row in json.loads(ran.out)}


def where(project: str, allocation: str, hours: int) -> list[str]:
    """Arguments of an entry."""
    named = ["--project", project, "--allocation", allocation, "--resource", "cpu", "--hours", str(hours)]
    return [*named, "--reason", "as agreed"]


async def test_hours_are_moved_and_the_statement_adds_up(people: Site, project: str) -> None:
    ran = await people.bursar("entries", "transfer", *where(project, "main", 30), "--to", "other", "--as", "dana")
    assert ran.code == 0, ran.said
    ran = await people.bursar("entries", "adjust", *where(project, "other", -5), "--as", "dana")
    assert ran.code == 0, ran.said

    async def moved() -> bool:
        return await left(people, project) == {"main": 70, "other": 65}

    await until(moved, "the hours are moved")
    ran = await people.bursar("statement", project, "-o", "csv", "--as", "alice")
    assert ran.code == 0, ran.said
    rows: list[Obj] = list(csv.DictReader(io.StringIO(ran.out)))
    [total] = [row for row in rows if row["resource"] == "cpu" and not row["user"]]
    assert int(total["closingSeconds"]) == 135 * 3600


async def test_too_much_is_not_moved(people: Site, project: str) -> None:
    ran = await people.bursar("entries", "transfer", *where(project, "main", 900), "--to", "other", "--as", "dana")
    assert ran.code == 1
    assert "left" in ran.said


async def test_a_member_may_not(people: Site, project: str) -> None:
    ran = await people.bursar("entries", "adjust", *where(project, "main", 10), "--as", "alice")
    assert ran.code == 1
    assert "adjust" in ran.said


async def test_the_chain_is_whole(people: Site, project: str) -> None:
    ran = await people.bursar("audit", "verify", "--as", "erin")
    assert ran.code == 0, ran.said

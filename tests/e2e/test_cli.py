"""The `bursar` command as a process: what it prints in each form, and its exit codes."""

import csv
import io
import json
from pathlib import Path

import pytest
import yaml

from bursar_testing import manifests as make
from bursar_testing.fullstack import Obj, Ran, Site, fresh

REFUSED, WRONG_USE, NO_STACK = 1, 2, 3


@pytest.fixture(scope="module")
async def granted(people: Site) -> tuple[str, str]:
    """Names of a cluster and of a project of alice with 120 granted hours there; carol has another one."""
    cluster, mine, theirs, pool = fresh("cli"), fresh("mine"), fresh("theirs"), fresh("pool")
    await people.apply(
        make.cluster(cluster), make.project(mine, "alice"), make.project(theirs, "carol"), make.pool(pool, cluster, 1000)
    )
    for name in (mine, theirs):
        await people.until_project(name)
    await people.apply(make.allocation(mine, "main", pool, 120, cluster), make.allocation(theirs, "main", pool, 30, cluster))
    for name in (mine, theirs):
        await people.until_allocation(name, "main", "Granted")
    return cluster, mine


def parsed(ran: Ran, form: str) -> list[Obj]:
    """Rows of an output."""
    assert ran.code == 0, ran.said
    match form:
        case "json":
            rows: list[Obj] = json.loads(ran.out)
        case "yaml":
            rows = yaml.safe_load(ran.out)
        case _:
            rows = list(csv.DictReader(io.StringIO(ran.out)))
    return rows


@pytest.mark.parametrize("form", ["json", "yaml", "csv"])
async def test_get_in_every_form_for_programs(people: Site, granted: tuple[str, str], form: str) -> None:
    cluster, mine = granted
    rows = parsed(await people.bursar("get", "allocations", "-o", form), form)
    if form == "csv":
        [row] = [row for row in rows if row["PROJECT"] == mine]
        assert (row["CLUSTER"], row["HOURS"], row["GRANTED"]) == (cluster, "120 cpu", "120 cpu")
    else:
        [row] = [row for row in rows if row["project"] == mine]
        assert row["status"]["granted"] == [{"name": "cpu", "hours": 120}]
        assert row["spec"]["requestedBy"]["user"] == "bursar-admin"


@pytest.mark.parametrize("kind", ["clusters", "projects", "pools", "allocations"])
async def test_get_prints_a_table(people: Site, granted: tuple[str, str], kind: str) -> None:
    ran = await people.bursar("get", kind)
    assert ran.code == 0, ran.said
    assert ran.out.splitlines()[0].split()[0] in {"NAME", "PROJECT"}
    assert any(name[:8] in ran.out for name in granted)


async def test_balance_is_one_screen_of_what_was_granted_used_and_left(people: Site, granted: tuple[str, str]) -> None:
    cluster, mine = granted
    [row] = parsed(await people.bursar("balance", "--project", mine, "-o", "csv"), "csv")
    assert {key: row[key] for key in ("PROJECT", "CLUSTER", "RESOURCE", "GRANTED", "USED", "LEFT")} == {
        "PROJECT": mine,
        "CLUSTER": cluster,
        "RESOURCE": "cpu",
        "GRANTED": "120",
        "USED": "0",
        "LEFT": "120",
    }
    [row] = parsed(await people.bursar("balance", "--cluster", cluster, "--project", mine, "-o", "json"), "json")
    assert row["resources"][0]["leftHours"] == 120


async def test_a_member_sees_the_own_projects_alone(people: Site, granted: tuple[str, str]) -> None:
    _, mine = granted
    rows = parsed(await people.bursar("balance", "--as", "alice", "-o", "json"), "json")
    projects = {row["project"] for row in rows}
    assert mine in projects
    names = {item["name"] for item in parsed(await people.bursar("get", "projects", "--as", "alice", "-o", "json"), "json")}
    assert projects <= names
    assert not any(name.startswith("theirs-") for name in projects | names)
    ran = await people.bursar("get", "projects", "theirs-none", "--as", "alice")
    assert (ran.code, ran.err) == (REFUSED, "bursar: there is no project theirs-none that you may see\n")


async def test_usage_says_how_far_the_books_are_complete(people: Site, granted: tuple[str, str]) -> None:
    ran = await people.bursar("usage", "--project", granted[1], "-o", "json")
    assert ran.code == 0, ran.said
    assert json.loads(ran.out)["items"] == []
    assert (await people.bursar("usage", "--by", "shoe-size")).code == WRONG_USE


async def test_apply_with_ones_own_rights(people: Site, granted: tuple[str, str], tmp_path: Path) -> None:
    cluster, mine = granted
    pool, extra = fresh("extra"), fresh("x")
    file = tmp_path / "all.yaml"
    file.write_text(
        yaml.safe_dump_all([make.pool(pool, cluster, 50), make.allocation(mine, extra, pool, 20, cluster)]),
    )
    # The allocation names a pool that a dry run does not make.
    ran = await people.bursar(
        "apply", "--dry-run", "-f", "-", "--as", "dana", stdin=yaml.safe_dump(make.pool(pool, cluster, 5))
    )
    assert (ran.code, ran.out) == (0, f"quotapool {pool} applied (dry run)\n"), ran.said
    ran = await people.bursar("apply", "-f", str(file), "--as", "dana")
    assert ran.code == 0, ran.said
    assert ran.out.splitlines() == [f"quotapool {pool} applied", f"allocation project-{mine}/{extra} applied"]
    await people.until_allocation(mine, extra, "Granted")


async def test_apply_says_what_to_do_instead_of_moving_charges(people: Site, granted: tuple[str, str]) -> None:
    cluster, mine = granted
    stored = next(
        item
        for item in parsed(await people.bursar("get", "allocations", "-o", "json"), "json")
        if (item["project"], item["name"]) == (mine, "main")
    )
    document = make.allocation(mine, "main", stored["spec"]["poolRef"]["name"], 120, cluster, recurrence={"every": "Month"})
    ran = await people.bursar("apply", "-f", "-", "--as", "dana", stdin=yaml.safe_dump(document))
    assert ran.code == REFUSED
    assert "make another allocation for other windows" in ran.err


async def test_apply_as_a_member_is_refused_and_says_why(people: Site, granted: tuple[str, str]) -> None:
    cluster, mine = granted
    document = make.allocation(mine, fresh("self"), "any", 10, cluster)
    ran = await people.bursar("apply", "-f", "-", "--as", "alice", stdin=yaml.safe_dump(document))
    assert ran.code == REFUSED
    assert ran.out == ""
    assert "oidc:alice" in ran.err
    assert "allocations" in ran.err


async def test_apply_names_field_reason_and_remedy(people: Site, granted: tuple[str, str]) -> None:
    cluster, mine = granted
    document = make.allocation(mine, fresh("bad"), "no-such-pool", 10, cluster)
    ran = await people.bursar("apply", "-f", "-", "--as", "dana", stdin=yaml.safe_dump(document))
    assert ran.code == REFUSED
    assert "spec.poolRef" in ran.err
    assert "no-such-pool" in ran.err


@pytest.mark.parametrize("text", ["{", "a: [1", None])
async def test_apply_of_something_unreadable_is_wrong_use(people: Site, tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "broken.yaml"
    if text is not None:
        file.write_text(text)
    ran = await people.bursar("apply", "-f", str(file))
    assert ran.code == WRONG_USE
    assert str(file) in ran.err


async def test_explain_knows_every_reason_and_guesses_at_a_misspelt_one(people: Site) -> None:
    ran = await people.bursar("explain", "quotaexceeded")
    assert (ran.code, ran.out.startswith("QuotaExceeded: A pool has fewer hours left")) == (0, True)
    ran = await people.bursar("explain", "QuotaExceded")
    assert (ran.code, ran.err) == (
        REFUSED,
        "bursar: there is no reason QuotaExceded; did you mean QuotaExceeded, ProjectShareExceeded?\n",
    )


async def test_doctor_checks_each_part(people: Site, granted: tuple[str, str]) -> None:
    ran = await people.bursar("doctor")
    lines = ran.out.splitlines()
    assert lines[0] == f"ok    gateway {people.endpoints.gateway}"
    assert lines[1].startswith("ok    identity")
    at = lines.index(f"FAIL  cluster {granted[0]}")
    assert f"bursar clusters enrol {granted[0]}" in lines[at + 1]
    assert ran.code == REFUSED


async def test_enrol_makes_a_token_for_a_cluster_that_is_there(people: Site, granted: tuple[str, str]) -> None:
    cluster, _ = granted
    ran = await people.bursar("clusters", "enrol", cluster)
    assert ran.code == 0, ran.said
    word, name, secret, fingerprint = ran.out.strip().split(".")
    assert (word, name, len(secret), len(fingerprint)) == ("bursar1", cluster, 43, 64)
    ran = await people.bursar("clusters", "enrol", "no-such-cluster")
    assert ran.code == REFUSED
    assert "no-such-cluster" in ran.err


@pytest.mark.parametrize(
    "arguments",
    [("get", "projects"), ("balance",), ("usage",), ("apply", "-f", "-"), ("clusters", "enrol", "x")],
    ids=lambda arguments: arguments[0],
)
async def test_without_a_stack_there_is_nothing_to_talk_to(people: Site, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    ran = await people.bursar(*arguments, directory=tmp_path, stdin=yaml.safe_dump(make.project("p", "alice")))
    assert ran.code == NO_STACK, ran.said
    assert f"bursar: no local stack in {tmp_path}" in ran.err
    assert "bursar up" in ran.err


async def test_doctor_without_a_stack_says_how_to_get_one(people: Site, tmp_path: Path) -> None:
    ran = await people.bursar("doctor", directory=tmp_path)
    assert ran.code == REFUSED
    assert "start one with `bursar up`" in ran.out


async def test_wrong_use_is_told_from_a_refusal(people: Site) -> None:
    ran = await people.bursar("get", "potatoes")
    assert ran.code == WRONG_USE
    assert "allocations" in ran.err


async def test_an_unknown_user_gets_no_token(people: Site) -> None:
    ran = await people.bursar("get", "projects", "--as", "mallory")
    assert ran.code == NO_STACK
    assert "the development issuer refused mallory" in ran.err

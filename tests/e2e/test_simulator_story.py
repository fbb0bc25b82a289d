"""One allocation all the way on the simulator: apply, grant, limit, jobs, books, thresholds, top-up, shrink, end."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from bursar_crds.names import FINALIZER
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, PROJECTS, QUOTAPOOLS
from bursar_testing import manifests as make
from bursar_testing.fullstack import Agent, Obj, Site, applied, condition, fresh, hours, limit_in_force, status_of, until

HOUR = 3600
THRESHOLDS = [
    {"percent": 50, "basis": "Used", "action": "Notify", "clearBelowPercent": 45},
    {"percent": 100, "basis": "Used", "action": "Hold", "clearBelowPercent": 95},
]
# (submitted after, run time, processors, log user); the scarce project's jobs of 4 cpu hours come one after the other.
SCARCE = [(0, HOUR, 4, 3), (4000, HOUR, 4, 3), (8000, HOUR, 4, 4)]
OTHERS = [(300 * n, 120 + 37 * n, 1 + n % 7, (1, 2, 5)[n % 3]) for n in range(36)]
GARBLED_LINE = 11
MEMBERS = {"rich": (1, 2), "scarce": (3, 4), "small": (5,)}


@dataclass
class Play:
    """One run of the story on a cluster of its own."""

    site: Site
    cluster: str
    pool: str
    projects: dict[str, str]
    agent: Agent

    def name(self, role: str) -> str:
        """The project (and account) that plays the role."""
        return self.projects[role]

    def document(self, role: str, amount: int) -> Obj:
        """The role's allocation with so many hours."""
        return document(self.name(role), self.pool, self.cluster, amount)

    async def granted_by_pool(self) -> int:
        """Hours that the pool holds for allocations, the used ones of deleted allocations included."""
        return hours(await self.site.pool(self.pool), "granted")


def document(project: str, pool: str, cluster: str, amount: int) -> Obj:
    """An allocation with two thresholds."""
    return make.allocation(project, "main", pool, amount, cluster, thresholds=THRESHOLDS)


def write_log(folder: Path, projects: dict[str, str]) -> Obj:
    """A job log in Standard Workload Format and the table of its users, as settings of the simulator."""
    rows = sorted([*SCARCE, *OTHERS])
    lines = ["; Version: 2.2", "; UnixStartTime: 0"]
    for number, (submit, run, processors, user) in enumerate(rows, 1):
        lines.append(f"{number} {submit} 0 {run} {processors} -1 -1 {processors} {run} -1 1 {user} 1 -1 1 -1 -1 -1")
    # A line that breaks off is skipped and counted, here as everywhere.
    lines.insert(GARBLED_LINE - 1, "4711 12")
    (folder / "tiny.swf").write_text("\n".join(lines) + "\n")
    table = [f"{user},u{user},{projects[role]}" for role, users in MEMBERS.items() for user in users]
    (folder / "users.csv").write_text("\n".join(["log_user,user,account", *table]) + "\n")
    return {"log": str(folder / "tiny.swf"), "users_table": str(folder / "users.csv"), "speed": 2500, "processors": 64}


def expected(projects: dict[str, str], by_user: bool = False) -> dict[tuple[str, ...], int]:
    """Processors times run time, summed here and by nobody else."""
    role_of = {user: role for role, users in MEMBERS.items() for user in users}
    found: Counter[tuple[str, ...]] = Counter()
    for _, run, processors, user in [*SCARCE, *OTHERS]:
        account = projects[role_of[user]]
        found[(account, f"u{user}") if by_user else (account,)] += run * processors
    return dict(found)


@pytest.fixture(scope="module")
async def play(people: Site, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Play]:
    """Everything applied, every limit read back, and the jobs are about to run."""
    projects = {role: fresh(role) for role in MEMBERS}
    cluster, root, pool = fresh("sim"), fresh("all"), fresh("share")
    await people.apply(
        make.cluster(cluster),
        *(make.project(name, "alice") for name in projects.values()),
        make.pool(root, cluster, 1000),
        make.pool(pool, cluster, 500, root),
    )
    for name in projects.values():
        await people.until_condition(PROJECTS, name, None, "Ready")
    members = [make.member(projects[role], f"u{user}") for role, users in MEMBERS.items() for user in users]
    await people.apply(
        *members,
        *(document(projects[role], pool, cluster, amount) for role, amount in (("rich", 100), ("scarce", 8), ("small", 50))),
    )
    for name in projects.values():
        granted = await people.until_allocation(name, "main", "Granted")
        assert condition(granted, "Enforced") == ("False", "AgentNeverEnrolled")
    assert [hours(await people.pool(name), "granted") for name in (pool, root)] == [158, 158]
    settings = write_log(tmp_path_factory.mktemp("log"), projects)
    play = Play(people, cluster, pool, projects, await people.start_agent(cluster, "simulator", settings))
    yield play
    await play.agent.process.stop()


async def test_limits_are_read_back_before_anything_counts_as_enforced(play: Play) -> None:
    for role, granted in (("rich", 100), ("scarce", 8), ("small", 50)):
        seen = await play.site.until_allocation(play.name(role), "main", "Enforced")
        assert seen["metadata"]["finalizers"] == [FINALIZER]
        assert hours(seen, "granted") == hours(seen, "charged") == granted
        assert seen["status"]["account"] == play.name(role)
        first = next(change for change in applied(play.agent, play.name(role)) if "cpu" in change["limits"])
        assert first["limits"]["cpu"] == granted * 60
    states = await play.site.accounts(play.cluster)
    assert {states[name]["state"] for name in play.projects.values()} == {"Enforced"}
    assert states[play.name("small")]["limits"]["cpu"]["limit"] == 50 * 60
    await play.site.until_condition(CLUSTERS, play.cluster, None, "Converged")


async def test_a_garbled_line_of_the_log_is_reported_with_its_number_and_counted(play: Play) -> None:
    assert status_of(play.agent)["skipped"] == 1
    log = play.agent.process.log.read_text()
    assert f"line {GARBLED_LINE}: 2 fields where a job has 18" in log
    seen = await play.site.until_condition(CLUSTERS, play.cluster, None, "Enforceable")
    assert condition(seen, "Ready")[0] == "True" or condition(seen, "UsageStale")[0] == "True"


async def test_an_exhausted_project_waits_and_a_top_up_lets_it_go_on(play: Play) -> None:
    site, scarce = play.site, play.name("scarce")
    seen = await site.until_allocation(scarce, "main", "Exhausted")
    assert seen["status"]["usedPercent"] == 100
    assert hours(seen, "used") == 8
    assert hours(seen, "available") == 0
    assert seen["status"]["enforcement"] == "Hold"

    async def waits() -> bool:
        return any(item["account"] == scarce for item in status_of(play.agent)["refused"])

    await until(waits, "the third job waits for its account")
    await until(lambda: held(play, scarce, True), "the scheduler starts no job of a held account")
    assert (await site.accounts(play.cluster))[scarce]["enforcement"] == "Hold"
    await site.apply(play.document("scarce", 20))

    async def started() -> bool:
        refusals = [item for item in status_of(play.agent)["refusals"] if item["account"] == scarce]
        return bool(refusals) and all(item["started"] is not None for item in refusals)

    await until(started, "the job starts after the top-up")
    await until(lambda: held(play, scarce, False), "the hold is undone at the scheduler")
    seen = await site.until_allocation(scarce, "main", "Exhausted", "False")
    assert hours(seen, "granted") == 20


async def held(play: Play, account: str, wanted: bool) -> bool:
    """Whether the scheduler's last word on the account is (not) to hold it."""
    said = [change["held"] for change in applied(play.agent, account) if change["held"] is not None]
    return bool(said) and said[-1] is wanted


async def test_books_equal_an_independent_sum_to_the_second(play: Play) -> None:
    async def done() -> bool:
        return bool(status_of(play.agent)["done"])

    await until(done, "every job ran")
    for by in ("account", "user"):
        wanted = expected(play.projects, by == "user")

        async def booked(by: str = by, wanted: dict[tuple[str, ...], int] = wanted) -> bool:
            return await play.site.booked(play.cluster, by) == wanted

        await until(booked, f"the books by {by} are {wanted}")
    scarce = play.name("scarce")

    async def notified() -> bool:
        # Figures in the status follow once a minute; a threshold that is crossed does not wait for that.
        return bool((await play.site.allocation(scarce, "main"))["status"]["enforcement"] == "Notify")

    await until(notified, "12 of 20 hours used: Notify, no more")
    async with play.site.client("alice") as alice:
        [row] = await alice.balances(project=scarce, cluster=play.cluster)
    [figures] = row["resources"]
    balance = {"grantedHours": 20, "usedHours": 12, "leftHours": 8, "usedSeconds": 12 * HOUR, "leftSeconds": 8 * HOUR}
    assert {key: figures[key] for key in balance} == balance


async def test_a_balance_is_the_status_to_the_hour(play: Play) -> None:
    """Operator and gateway fold the same; the status follows within a minute."""

    async def equal() -> bool:
        async with play.site.client("alice") as alice:
            rows = {row["project"]: row for row in await alice.balances(cluster=play.cluster)}
        assert set(rows) == set(play.projects.values())
        return all([told(rows[name]) == seen(await play.site.allocation(name, "main")) for name in rows])

    await until(equal, "every balance equals its status", seconds=100)


def told(row: Obj) -> dict[str, object]:
    """Figures of a balance."""
    [cpu] = row["resources"]
    found = {name: cpu[f"{name}Hours"] for name in ("used", "available", "granted")}
    return found | {"percent": row["usedPercent"], "enforcement": row["enforcement"], "end": row["window"]["end"]}


def seen(stored: Obj) -> dict[str, object]:
    """The same in a status."""
    status = stored["status"]
    found = {name: hours(stored, name) for name in ("used", "available")} | {"granted": status["window"]["hours"][0]["hours"]}
    return found | {"percent": status["usedPercent"], "enforcement": status["enforcement"], "end": status["window"]["end"]}


async def test_hours_come_back_only_after_the_agent_lowered_the_limit(play: Play) -> None:
    site, rich = play.site, play.name("rich")
    before = await play.granted_by_pool()
    await play.agent.process.stop()
    await site.apply(play.document("rich", 60))
    seen = await site.until_allocation(rich, "main", "Enforced", "False", "Enforcing")
    assert (hours(seen, "granted"), hours(seen, "charged")) == (60, 100)
    await asyncio.sleep(1)
    assert await play.granted_by_pool() == before
    play.agent = await site.start_again(play.agent)

    async def released() -> bool:
        return await play.granted_by_pool() == before - 40

    await until(released, "40 hours are back in the pool")
    seen = await site.until_allocation(rich, "main", "Enforced")
    assert hours(seen, "granted") == hours(seen, "charged") == 60
    used = expected(play.projects)[(rich,)]
    assert limit_in_force(play.agent, rich) is not None
    # The ceiling counts what was used to the minute, the counter of the scheduler too.
    assert abs((limit_in_force(play.agent, rich) or 0) - 60 * 60) <= 3 + used // 60 // 20


async def test_lowering_below_use_shows_overdrawn_and_keeps_what_was_used(play: Play) -> None:
    site, small = play.site, play.name("small")
    used = -(-expected(play.projects)[(small,)] // HOUR)
    await site.apply(play.document("small", 1))
    seen = await site.until_allocation(small, "main", "Overdrawn")
    assert used > 1

    async def kept() -> bool:
        found = await site.allocation(small, "main")
        return hours(found, "granted") == 1 and hours(found, "charged") == used

    await until(kept, f"the pool keeps the {used} hours that were used")

    async def closed() -> bool:
        return not (await site.pool(play.pool))["status"].get("intents")

    await until(closed, "nothing is under way in the pool")
    assert seen["status"]["enforcement"] == "Hold"


async def test_a_deleted_allocation_loses_its_limit_first_and_its_use_stays_spent(play: Play) -> None:
    site, rich = play.site, play.name("rich")
    used = -(-expected(play.projects)[(rich,)] // HOUR)
    before = await play.granted_by_pool()
    await play.agent.process.stop()
    ran = await site.delete("allocation.bursar.dev", "main", f"project-{rich}")
    assert ran.code == 0, ran.said
    seen = await site.until_allocation(rich, "main", "Ready", "False", "Deleting")
    await asyncio.sleep(1)
    assert hours(await site.allocation(rich, "main"), "charged") == 60
    assert await play.granted_by_pool() == before
    play.agent = await site.start_again(play.agent)
    await site.until_gone(ALLOCATIONS, "main", f"project-{rich}")
    assert await blocked(play, rich)
    pool = await site.pool(play.pool)
    assert hours(pool, "granted") == before - 60 + used
    assert hours(pool, "spent") == used
    assert seen["metadata"]["deletionTimestamp"]
    booked = await site.booked(play.cluster)
    assert booked[(rich,)] == expected(play.projects)[(rich,)]


async def blocked(play: Play, account: str) -> bool:
    """Whether no job of the account may start: held, or a limit below what was counted."""
    state = (await play.site.accounts(play.cluster))[account]
    limit = state["limits"]["cpu"]
    in_force = limit_in_force(play.agent, account)
    return in_force is not None and limit["limit"] == in_force <= max(1, limit["counter"])


async def test_what_holds_use_is_not_deleted(play: Play) -> None:
    site = play.site
    ran = await site.delete("project.bursar.dev", play.name("rich"))
    assert ran.code != 0
    assert f"the books hold use of project {play.name('rich')}" in ran.err
    assert f"bursar.dev/confirm-delete={play.name('rich')}" in ran.err
    ran = await site.delete("quotapool.bursar.dev", play.pool)
    assert ran.code != 0
    assert "delete the allocations that draw on it first" in ran.err


async def test_an_unused_project_goes_with_all_that_is_its_own(play: Play) -> None:
    site, name, pool = play.site, fresh("brief"), fresh("brief-pool")
    await site.apply(make.project(name, "bob"), make.pool(pool, play.cluster, 10))
    await site.until_condition(PROJECTS, name, None, "Ready")
    await site.apply(make.allocation(name, "main", pool, 10, play.cluster))
    await site.until_allocation(name, "main", "Enforced")
    assert limit_in_force(play.agent, name) == 600
    ran = await site.delete("project.bursar.dev", name)
    assert ran.code == 0, ran.said
    await site.until_gone(PROJECTS, name)

    async def free() -> bool:
        return hours(await site.pool(pool), "granted") == 0

    await until(free, "the pool is free again")
    assert limit_in_force(play.agent, name) == 1
    ran = await site.delete("quotapool.bursar.dev", pool)
    assert ran.code == 0, ran.said
    await site.until_gone(QUOTAPOOLS, pool)


async def test_an_agent_that_starts_again_changes_nothing_that_was_right(play: Play) -> None:
    await until(lambda: held(play, play.name("small"), True), "the overdrawn account is held")
    quiet = [0]

    async def settled() -> bool:
        before = (play.agent.state / "simulator.jsonl").stat().st_size
        await asyncio.sleep(1)
        quiet[0] = (play.agent.state / "simulator.jsonl").stat().st_size
        return before == quiet[0]

    await until(settled, "nothing is left to write")
    play.agent.process.kill()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(play.agent.process.wait(), 10)
    before = await play.site.accounts(play.cluster)
    play.agent = await play.site.start_again(play.agent)
    session = (await play.site.kube.get(CLUSTERS, play.cluster))["status"]["agent"].get("lastSeen")

    async def seen() -> bool:
        await play.site.apply(make.member(play.name("small"), f"u{9}"))
        return any("u9" in change["add_members"] for change in applied(play.agent, play.name("small")))

    assert session
    await until(seen, "the agent works again")
    lines = (play.agent.state / "simulator.jsonl").read_bytes()[quiet[0] :].splitlines()
    assert len(lines) == 1, "only the new member was written"
    after = await play.site.accounts(play.cluster)
    assert {name: state["limits"] for name, state in after.items()} == {n: s["limits"] for n, s in before.items()}
    assert await play.site.booked(play.cluster) == expected(play.projects)

"""The same way on a real Slurm: apply, limit in `sshare`, real jobs, books against `sacct`, top-up, end."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from bursar_kube.resources import ALLOCATIONS, CLUSTERS
from bursar_local.slurm import Slurm
from bursar_testing import manifests as make
from bursar_testing.fullstack import Agent, Site, fresh, hours, until
from bursar_testing.slurm_accounts import until_job

HOURS, MORE_HOURS = 2, 10
HELD_BACK = "AssocGrpCPUMinutesLimit"


@dataclass
class Play:
    """The story's cluster, project and agent."""

    site: Site
    slurm: Slurm
    cluster: str
    project: str
    pool: str
    agent: Agent

    async def limit(self, account: str, tres: str = "cpu") -> int | None:
        """GrpTRESMins of the account as slurmctld uses it, from `sshare`."""
        text = await self.slurm.run("sshare", "-a", "-n", "-P", f"--accounts={account}", "-o", "account,user,grptresmins%200")
        row = next(line.split("|") for line in text.splitlines() if line.split("|")[:2] == [account, ""])
        limits = dict(item.split("=") for item in row[2].split(",") if item)
        return int(limits[tres]) if tres in limits else None

    async def apply(self, amount: int) -> None:
        """The project's allocation with so many hours."""
        await self.site.apply(make.allocation(self.project, "main", self.pool, amount, self.cluster))

    async def recorded(self) -> dict[tuple[str, ...], int]:
        """CPU seconds per account straight from `sacct`."""
        columns = "account,alloccpus,elapsedraw"
        text = await self.slurm.run("sacct", "-a", "-X", "-D", "-P", "-n", "-S", "2000-01-01", "-o", columns)
        rows = [line.split("|") for line in text.splitlines()]
        found: Counter[tuple[str, ...]] = Counter()
        for account, cpus, seconds in rows:
            found[(account,)] += int(cpus) * int(seconds)
        return {key: seconds for key, seconds in found.items() if seconds}


@pytest.fixture(scope="module")
async def play(people: Site, slurm: Slurm) -> AsyncIterator[Play]:
    """A foreign account that was there before, then everything applied and read back."""
    cluster, project, pool = fresh("slurm"), fresh("qcd"), fresh("pool")
    await slurm.run("sacctmgr", "-i", "add", "account", "name=foreign", f"cluster={slurm.cluster}", "GrpTRESMins=cpu=777")
    await slurm.run("sacctmgr", "-i", "add", "user", "name=bob", "account=foreign", f"cluster={slurm.cluster}")
    declared = make.cluster(cluster, "slurm", 512)
    declared["spec"]["scheduler"]["name"] = slurm.cluster
    await people.apply(declared, make.project(project, "alice"), make.pool(pool, cluster, 100))
    await people.until_project(project)
    settings = {"bin": str(slurm.bin), "environment": dict(slurm.environment)}
    agent = await people.start_agent(cluster, "slurm", settings)
    play = Play(people, slurm, cluster, project, pool, agent)
    yield play
    await agent.process.stop()


async def foreign(play: Play) -> str:
    """The foreign account as the database has it."""
    fields = "format=account,user,parentname,grptresmins,grptresrunmins,grpjobs"
    return await play.slurm.run("sacctmgr", "-n", "-P", "show", "assoc", "where", "account=foreign", fields)


async def test_apply_to_enforced_and_the_limit_stands_in_slurm(play: Play) -> None:
    before = await foreign(play)
    await play.apply(HOURS)
    seen = await play.site.until_allocation(play.project, "main", "Enforced")
    assert hours(seen, "granted") == HOURS
    assert await play.limit(play.project) == HOURS * 60
    where = ("where", f"account={play.project}", "format=account,user,parentname")
    text = await play.slurm.run("sacctmgr", "-n", "-P", "show", "assoc", *where)
    assert f"{play.project}||bursar" in text
    assert f"{play.project}|alice|" in text
    assert await foreign(play) == before
    await play.site.until_condition(CLUSTERS, play.cluster, None, "Enforceable")


async def test_a_job_beyond_the_budget_waits_and_a_top_up_starts_it(play: Play) -> None:
    fits = await play.slurm.submit(play.project, "alice", cpus=32, minutes=1, seconds=4)
    await until_job(play.slurm, fits, "RUNNING", "COMPLETING", "COMPLETED")
    beyond = await play.slurm.submit(play.project, "alice", cpus=70, minutes=2, seconds=3)
    others = await play.slurm.submit("foreign", "bob", cpus=1, minutes=1, seconds=1)
    await until_job(play.slurm, beyond, "PENDING", reason=HELD_BACK)
    await until_job(play.slurm, others, "COMPLETED")
    await play.apply(MORE_HOURS)
    await until_job(play.slurm, beyond, "RUNNING", "COMPLETING", "COMPLETED")
    await until_job(play.slurm, beyond, "COMPLETED")
    await until_job(play.slurm, fits, "COMPLETED")


async def test_the_books_equal_sacct_to_the_second(play: Play) -> None:
    async def equal() -> bool:
        recorded = {key: seconds for key, seconds in (await play.recorded()).items() if key == (play.project,)}
        return bool(recorded) and await play.site.booked(play.cluster) == recorded

    await until(equal, "the books equal sacct")
    assert ("foreign",) in await play.recorded()
    assert ("foreign",) not in await play.site.booked(play.cluster)


async def test_a_deleted_allocation_blocks_the_account_and_removes_nothing(play: Play) -> None:
    before = await foreign(play)
    used = -(-(await play.recorded())[(play.project,)] // 3600)
    ran = await play.site.delete("alloc", "main", f"project-{play.project}")
    assert ran.code == 0, ran.said
    await play.site.until_gone(ALLOCATIONS, "main", f"project-{play.project}")
    # Gone here means that the limit went there first.
    limit = await play.limit(play.project)
    assert limit is not None
    assert limit <= max(1, used * 60)
    job = await play.slurm.submit(play.project, "alice", cpus=4, minutes=60, seconds=1)
    await until_job(play.slurm, job, "PENDING", reason=HELD_BACK)
    await play.slurm.run("scancel", str(job))
    pool = await play.site.pool(play.pool)
    assert hours(pool, "granted") == hours(pool, "spent") == used
    assert await foreign(play) == before

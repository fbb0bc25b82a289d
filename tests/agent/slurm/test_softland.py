"""The ladder on the real Slurm: Throttle, SoftLand, Block, and the way back to what was before."""

from pathlib import Path

import pytest

from bursar_agent.files import DamagedFile
from bursar_agent.schedulers.base import AccountChange, Outcome
from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.schedulers.slurm.softland import Earlier, SoftLandings, is_fit
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm, SlurmUnavailable
from bursar_testing.slurm_accounts import OpenAccount, settings_of, until_job

CPU_MINUTES = "AssocGrpCPUMinutesLimit"


@pytest.fixture(scope="module")
async def landing(slurm: Slurm) -> str:
    """A QOS that is fit for a soft landing."""
    await slurm.run("sacctmgr", "-i", "add", "qos", "name=landing", "UsageFactor=0", "Flags=UsageFactorSafe")
    return "landing"


@pytest.fixture
def lander(slurm: Slurm, landing: str, tmp_path: Path) -> SlurmScheduler:
    """The plug-in with that QOS in its settings."""
    return PLUGIN.connect(settings_of(slurm, soft_land_qos=landing), tmp_path)


async def qos_of(slurm: Slurm, account: str) -> str:
    """An account's own QOSes and default, as the database has them."""
    columns = "format=User,QOS%100,DefaultQOS%50"
    text = await slurm.run("sacctmgr", "-nP", "list", "assoc", "wopl", f"account={account}", columns)
    return next(line for line in text.splitlines() if line.startswith("|"))


async def test_a_soft_landing_lets_free_jobs_run_at_the_ceiling_and_nothing_else(
    slurm: Slurm, lander: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(1)
    before = await qos_of(slurm, account)
    waits = await slurm.submit(account, "alice", cpus=4, minutes=2)
    await until_job(slurm, waits, "PENDING", reason=CPU_MINUTES)
    assert (await lander.observe(cluster)).soft_land_qos == "landing"
    assert await lander.apply(cluster, [AccountChange(account, qos="landing")]) == [Outcome(account, done=True)]
    assert (await lander.observe(cluster)).accounts[account].qos == "landing"

    free = await slurm.submit(account, "alice", cpus=4, minutes=2)  # by default of the free QOS
    await until_job(slurm, free, "RUNNING", "COMPLETED")
    with pytest.raises(SlurmUnavailable, match="Invalid qos"):
        await slurm.submit(account, "alice", cpus=4, extra=["--qos=normal"])
    assert (await slurm.job(waits))[0] == "PENDING"

    assert await lander.apply(cluster, [AccountChange(account, qos="")]) == [Outcome(account, done=True)]
    assert (await lander.observe(cluster)).accounts[account].qos == ""
    assert await qos_of(slurm, account) == before
    with pytest.raises(SlurmUnavailable, match="Invalid qos"):
        await slurm.submit(account, "alice", cpus=4, extra=["--qos=landing"])
    again = await slurm.submit(account, "alice", cpus=4, minutes=2)
    await until_job(slurm, again, "PENDING", reason=CPU_MINUTES)
    await slurm.run("scancel", str(waits), str(again))


async def test_what_an_account_had_outlasts_the_agent(
    slurm: Slurm, lander: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount, tmp_path: Path
) -> None:
    account = await open_account()
    await slurm.run("sacctmgr", "-i", "add", "qos", "name=long")
    own = ("QOS=long,normal", "DefaultQOS=long")
    await slurm.run("sacctmgr", "-i", "modify", "account", "where", f"name={account}", "set", *own)
    before = await qos_of(slurm, account)
    for _ in range(2):  # the second time nothing is noted: what it has by now is our doing
        assert await lander.apply(cluster, [AccountChange(account, qos="landing")]) == [Outcome(account, done=True)]
    assert await qos_of(slurm, account) == "|landing|landing"
    restarted = PLUGIN.connect(settings_of(slurm, soft_land_qos="landing"), tmp_path)
    assert await restarted.apply(cluster, [AccountChange(account, qos="")]) == [Outcome(account, done=True)]
    assert await qos_of(slurm, account) == before == "|long,normal|long"
    assert SoftLandings(tmp_path).earlier == {}


async def test_a_qos_that_is_not_free_is_not_landed_on(slurm: Slurm, cluster: ClusterSettings, tmp_path: Path) -> None:
    await slurm.run("sacctmgr", "-i", "add", "qos", "name=hard", "UsageFactor=0.5", "Flags=UsageFactorSafe")
    scheduler = PLUGIN.connect(settings_of(slurm, soft_land_qos="hard"), tmp_path)
    assert (await scheduler.observe(cluster)).soft_land_qos == ""
    (miss,) = (await scheduler.capabilities(cluster)).misses
    assert "UsageFactor is 0.5" in miss.message


async def test_a_block_refuses_what_is_handed_in(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    assert await scheduler.apply(cluster, [AccountChange(account, held=True, blocked=True)]) == [Outcome(account, done=True)]
    view = (await scheduler.observe(cluster)).accounts[account]
    assert (view.held, view.blocked) == (True, True)
    with pytest.raises(SlurmUnavailable, match="AssocGrpSubmitJobsLimit"):
        await slurm.submit(account, "alice")
    assert await scheduler.apply(cluster, [AccountChange(account, held=False, blocked=False)]) == [Outcome(account, done=True)]
    await until_job(slurm, await slurm.submit(account, "alice"), "RUNNING", "COMPLETED")


async def test_a_throttle_caps_what_runs_at_one_time(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    assert await scheduler.apply(cluster, [AccountChange(account, concurrent={"cpu": 10})]) == [Outcome(account, done=True)]
    first = await slurm.submit(account, "alice", cpus=10, minutes=2, seconds=100)
    await until_job(slurm, first, "RUNNING")
    second = await slurm.submit(account, "alice", cpus=1, minutes=2)
    await until_job(slurm, second, "PENDING", reason="AssocGrpCpuLimit")
    assert await scheduler.apply(cluster, [AccountChange(account, concurrent={"cpu": -1})]) == [Outcome(account, done=True)]
    await until_job(slurm, second, "RUNNING", "COMPLETED")
    await slurm.run("scancel", str(first))


def test_one_that_was_confined_before_the_memory_was_lost_goes_back_to_what_it_inherits(tmp_path: Path) -> None:
    landings = SoftLandings(tmp_path)
    landings.note(
        [AccountChange("a", qos="landing"), AccountChange("b", qos="landing")], {"a": Earlier(("landing",), "landing")}
    )
    assert SoftLandings(tmp_path).earlier == {"a": Earlier(), "b": Earlier()}


def test_a_damaged_memory_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "soft-landings.json").write_text("[1]")
    with pytest.raises(DamagedFile, match="restore it"):
        SoftLandings(tmp_path)


@pytest.mark.parametrize(
    ("row", "fit"),
    [
        ("a|0.000000|UsageFactorSafe", True),
        ("a|0.000000|NoDecay,UsageFactorSafe", True),
        ("a|0.000000|", False),
        ("a|0.500000|UsageFactorSafe", False),
        ("a||UsageFactorSafe", False),
        ("b|0.000000|UsageFactorSafe", False),
    ],
)
def test_a_qos_is_fit_if_its_jobs_cost_nothing_and_start_at_the_ceiling(row: str, fit: bool) -> None:
    assert is_fit(f"normal|1.000000|\n{row}\n", "a") == fit

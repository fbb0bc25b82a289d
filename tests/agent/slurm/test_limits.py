"""Limits on the real Slurm: made, proven, binding, raised; holds and walls."""

from collections.abc import Callable

from bursar_agent.schedulers.base import AccountChange, Outcome, Reading
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import OPEN, OpenAccount, new, until_job

CPU_MINUTES = "AssocGrpCPUMinutesLimit"


async def test_a_new_account_is_made_with_its_limit_and_members(
    scheduler: SlurmScheduler, cluster: ClusterSettings, fresh_name: Callable[[], str]
) -> None:
    name = fresh_name()
    change = AccountChange(
        account=name,
        create=True,
        description="bursar:test",
        parent="bursar",
        limits={"cpu": 1234, "mem": 614400},
        run_minutes={"cpu": 1000, "mem": 614401},
        concurrent={"gres/gpu": 0},
        add_members=frozenset({"alice", "bob", "nobody-knows"}),
    )
    assert await scheduler.apply(cluster, [change]) == [Outcome(name, done=True, users_missing=("nobody-knows",))]
    view = (await scheduler.observe(cluster)).accounts[name]
    assert view.owned
    assert view.parent == "bursar"
    assert view.members == {"alice", "bob"}
    assert view.readings["cpu"] == Reading(limit=1234, run_minutes_limit=1000)
    assert view.readings["mem"] == Reading(limit=614400, run_minutes_limit=614401)
    # The limit of 1 that an account is born with stays where nothing else is asked for.
    assert view.readings["gres/gpu"] == Reading(limit=1, concurrent_limit=0)


async def test_the_root_account_is_made_first_and_takes_a_wall(
    scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    await open_account()
    assert await scheduler.apply(cluster, [AccountChange("bursar", limits={"cpu": 5_000_000})]) == [
        Outcome("bursar", done=True)
    ]
    root = (await scheduler.observe(cluster)).root
    assert root is not None
    assert root.parent == "root"
    assert root.readings["cpu"].limit == 5_000_000


async def test_a_job_that_fits_runs_and_one_that_does_not_waits_until_the_limit_is_raised(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(20)
    fits = await slurm.submit(account, "alice", cpus=10, minutes=1, seconds=1)
    await until_job(slurm, fits, "COMPLETED")
    too_large = await slurm.submit(account, "alice", cpus=30, minutes=1, seconds=1)
    await until_job(slurm, too_large, "PENDING", reason=CPU_MINUTES)
    assert await scheduler.apply(cluster, [AccountChange(account, limits={"cpu": 100})]) == [Outcome(account, done=True)]
    await until_job(slurm, too_large, "RUNNING", "COMPLETED")


async def test_the_wall_of_running_minutes_holds_the_second_job_back(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(10_000)
    await scheduler.apply(cluster, [AccountChange(account, run_minutes={"cpu": 50})])
    first = await slurm.submit(account, "alice", cpus=10, minutes=4, seconds=60)
    await until_job(slurm, first, "RUNNING")
    second = await slurm.submit(account, "alice", cpus=10, minutes=4, seconds=1)
    await until_job(slurm, second, "PENDING", reason="AssocGrpCPURunMinutesLimit")
    running = (await scheduler.observe(cluster)).accounts[account].readings["cpu"].running
    assert 0 < running <= 40
    await slurm.run("scancel", str(first), str(second))


async def test_a_hold_keeps_the_queue_and_what_runs(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    running = await slurm.submit(account, "alice", minutes=2, seconds=60)
    await until_job(slurm, running, "RUNNING")
    assert await scheduler.apply(cluster, [AccountChange(account, held=True)]) == [Outcome(account, done=True)]
    waits = await slurm.submit(account, "alice", minutes=1, seconds=0)
    await until_job(slurm, waits, "PENDING", reason="AssocGrpJobsLimit")
    assert (await slurm.job(running))[0] == "RUNNING"
    assert (await scheduler.observe(cluster)).accounts[account].held
    assert await scheduler.apply(cluster, [AccountChange(account, held=False)]) == [Outcome(account, done=True)]
    await until_job(slurm, waits, "RUNNING", "COMPLETED")
    await slurm.run("scancel", str(running))


async def test_gpus_that_nobody_granted_stay_closed(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    await scheduler.apply(cluster, [AccountChange(account, concurrent={"gres/gpu": 0})])
    job = await slurm.submit(account, "alice", gpus=1)
    await until_job(slurm, job, "PENDING", reason="AssocGrpGRES")
    await slurm.run("scancel", str(job))


async def test_the_counter_of_a_finished_job_shows_in_the_next_observation(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account()
    job = await slurm.submit(account, "alice", cpus=60, minutes=1, seconds=3)
    await until_job(slurm, job, "COMPLETED")
    await slurm.refresh_counters()
    assert (await scheduler.observe(cluster)).accounts[account].readings["cpu"].counter >= 3


async def test_many_accounts_are_made_and_limited_at_once(
    scheduler: SlurmScheduler, cluster: ClusterSettings, fresh_name: Callable[[], str]
) -> None:
    changes = [new(fresh_name(), {"cpu": 600 + number % 3, **OPEN}, "alice") for number in range(60)]
    # One to make them, one for the member, one for each different limit.
    assert len(scheduler.render(cluster, changes)) == 5
    assert await scheduler.apply(cluster, changes) == [Outcome(change.account, done=True) for change in changes]
    accounts = (await scheduler.observe(cluster)).accounts
    assert {accounts[change.account].readings["cpu"].limit for change in changes} == {600, 601, 602}


async def test_saying_the_same_again_changes_nothing_and_is_proven(
    scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(77)
    before = await scheduler.observe(cluster)
    again = new(account, {"cpu": 77}, "alice")
    assert await scheduler.apply(cluster, [again]) == [Outcome(account, done=True)]
    assert (await scheduler.observe(cluster)).accounts == before.accounts

"""What is not ours stays as it is; members come and go without a deletion; bad names never reach Slurm."""

from collections.abc import Callable

import pytest

from bursar_agent.schedulers.base import AccountChange, Outcome
from bursar_agent.schedulers.slurm.names import BadName
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm, SlurmUnavailable
from bursar_testing.slurm_accounts import OPEN, OpenAccount, new, until_job


async def everything(slurm: Slurm) -> str:
    """All accounts and associations as the database has them."""
    columns = "format=Account,User,ParentName,GrpTRESMins%200,GrpTRES,GrpJobs,MaxSubmit,Description%200"
    return await slurm.run("sacctmgr", "-nP", "list", "account", "withassoc", f"cluster={slurm.cluster}", columns)


@pytest.mark.parametrize(
    ("name", "parent", "description"),
    [
        ("physics", "root", "bursar:test"),
        ("unmarked", "bursar", "department of physics"),
        ("nearly", "bursar", "x bursar:test"),
    ],
)
async def test_an_account_that_is_not_ours_is_left_alone(
    slurm: Slurm,
    scheduler: SlurmScheduler,
    cluster: ClusterSettings,
    open_account: OpenAccount,
    name: str,
    parent: str,
    description: str,
) -> None:
    await open_account()  # so that the root account is there
    where = (f"name={name}", f"cluster={slurm.cluster}", f"parent={parent}")
    await slurm.run("sacctmgr", "-i", "add", "account", *where, f"description={description}", "GrpTRESMins=cpu=42")
    before = await everything(slurm)
    for change in (AccountChange(name, limits={"cpu": 1}, held=True), new(name, {"cpu": 1}, "bob")):
        (outcome,) = await scheduler.apply(cluster, [change])
        assert not outcome.done
        assert "is not ours" in outcome.error
    assert await everything(slurm) == before
    assert not (await scheduler.observe(cluster)).accounts[name].owned


async def test_a_member_who_leaves_can_submit_no_more_and_may_come_back(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    left, other = await open_account(1000, "erin", "bob"), await open_account(1000, "erin")
    await until_job(slurm, await slurm.submit(left, "erin"), "COMPLETED")
    assert await scheduler.apply(cluster, [AccountChange(left, remove_members=frozenset({"erin"}))]) == [
        Outcome(left, done=True)
    ]
    assert (await scheduler.observe(cluster)).accounts[left].members == {"bob"}
    with pytest.raises(SlurmUnavailable, match="AssocMaxSubmitJobLimit"):
        await slurm.submit(left, "erin")
    # A job that names no account goes to the one where she still is.
    default = await slurm.run("sacctmgr", "-nP", "list", "user", "where", "name=erin", "format=DefaultAccount")
    assert default.strip() == other
    assert await scheduler.apply(cluster, [AccountChange(left, add_members=frozenset({"erin"}))]) == [Outcome(left, done=True)]
    await until_job(slurm, await slurm.submit(left, "erin"), "COMPLETED")


async def test_an_account_that_is_not_there_is_not_changed_into_being(
    scheduler: SlurmScheduler, cluster: ClusterSettings
) -> None:
    (outcome,) = await scheduler.apply(cluster, [AccountChange("never-made", limits={"cpu": 5})])
    assert not outcome.done
    assert "has to be created first" in outcome.error


BAD_ACCOUNTS = [
    "a,b",
    "zz[1-3]",
    "UPPER",
    "x=1",
    "-dash",
    "two words",
    "new\nline",
    "a|b",
    "a" * 40,
    "",
    "root",
    "per%s",
    "quote'",
    "ümlaut",
]
BAD_CHANGES = [
    *(new(name, {"cpu": 1}) for name in BAD_ACCOUNTS),
    *(new("fine", {"cpu": 1}, user) for user in ("a,b", "u[1-3]", "Alice", "x=1", "-rf", "a b", "", "carol\n")),
    AccountChange("fine", create=True, parent="a,b", description="bursar:test"),
    AccountChange("fine", create=True, parent="bursar", description="bursar:test parent=root"),
    AccountChange("fine", create=True, parent="bursar", description="somebody's"),
    AccountChange("fine", create=True, parent="bursar"),
    new("fine", {"cpu=1,mem": 1}),
    new("fine", {"cpu": -2}),
    new("fine", {"cpu": True}),
    new("fine", {"cpu": 2**63}),
]


async def test_bad_names_and_numbers_never_reach_slurm(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, fresh_name: Callable[[], str], open_account: OpenAccount
) -> None:
    await open_account()
    before = await everything(slurm)
    for change in BAD_CHANGES:
        with pytest.raises(BadName):
            scheduler.render(cluster, [change])
        (outcome,) = await scheduler.apply(cluster, [change])
        assert not outcome.done
        assert outcome.error
    assert await everything(slurm) == before


async def test_a_bad_change_does_not_stop_the_good_ones(
    scheduler: SlurmScheduler, cluster: ClusterSettings, fresh_name: Callable[[], str]
) -> None:
    good = new(fresh_name(), {"cpu": 60, **OPEN}, "bob")
    bad = new("a,b", {"cpu": 60})
    first, second = await scheduler.apply(cluster, [bad, good])
    assert not first.done
    assert second == Outcome(good.account, done=True)


def test_a_cluster_name_that_slurm_would_expand_is_refused(cluster: ClusterSettings, scheduler: SlurmScheduler) -> None:
    with pytest.raises(BadName, match="cluster"):
        scheduler.render(cluster.model_copy(update={"scheduler_name": "a,b"}), [])

"""`bursar-agent attest` on the real Slurm: what it refuses to say, the commands it names, and that they close what it says."""

import shlex
from pathlib import Path

import pytest

from bursar_agent import attest, qosnames
from bursar_agent.attest import Claim, NotAttested
from bursar_agent.schedulers.base import AccountChange, QosChange
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.settings import AgentSettings
from bursar_domain import release
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing import attesthost
from bursar_testing.agents import account, allocation
from bursar_testing.slurm_accounts import OpenAccount, settings_of, until, until_job, until_recorded

UID = "u-1"


@pytest.fixture
def host(slurm: Slurm, cluster: ClusterSettings, tmp_path: Path) -> AgentSettings:
    """Where `sacctmgr` is, with an enrolled agent that does not run."""
    settings = AgentSettings.model_validate(
        {
            "cluster": cluster.cluster,
            "gateway": "https://127.0.0.1:1",
            "state_directory": tmp_path / "state",
            "scheduler": "slurm",
            "scheduler_settings": settings_of(slurm).model_dump(mode="json"),
        }
    )
    attesthost.enrol(settings)
    return settings


async def test_the_commands_that_it_names_close_what_it_then_states(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings, host: AgentSettings, open_account: OpenAccount
) -> None:
    name = await open_account(20)
    attesthost.hears(host, cluster, account(name, allocation(UID, 1)))
    start = (await scheduler.observe(cluster)).time - 60
    claim = Claim(name, UID, 2, start)

    job = await slurm.submit(name, "alice", cpus=10, minutes=1, seconds=4)
    await until_job(slurm, job, "RUNNING")
    with pytest.raises(NotAttested, match=f"account {name} may use .* more minutes of cpu"):
        await attest.attest(host, claim)
    await until_recorded(slurm, job)
    with pytest.raises(NotAttested) as caught:
        await attest.attest(host, claim)
    commands = [shlex.split(line) for line in str(caught.value).splitlines() if line.startswith("  ")]
    assert commands
    for words in commands:
        await slurm.run(Path(words[0]).name, *words[1:])

    async def closed() -> bool:
        reading = (await scheduler.observe(cluster)).accounts[name].readings["cpu"]
        return reading.limit is not None and reading.limit <= max(1, reading.counter) and not reading.running

    await until(closed, f"{name} is closed in slurmctld")
    signed = await attest.attest(host, claim)
    said = signed.statement
    assert (said.found, said.account, said.scheduler) == ("Account", name, f"slurm {cluster.scheduler_name}")
    assert said.limits["cpu"].is_closed
    assert 10 <= said.used["cpu"] <= 10 * 60
    assert release.is_signed(signed)
    late = await slurm.submit(name, "alice", cpus=10, minutes=1, seconds=1)
    await until_job(slurm, late, "PENDING", reason="AssocGrpCPUMinutesLimit")


@pytest.mark.parametrize("is_confined", [True, False])
async def test_in_limit_mode_qos_they_close_the_allocations_own_qos_too(
    slurm: Slurm,
    scheduler: SlurmScheduler,
    cluster: ClusterSettings,
    host: AgentSettings,
    open_account: OpenAccount,
    is_confined: bool,
) -> None:
    mode = cluster.model_copy(update={"limit_mode": "QOS"})
    name = await open_account(1)
    qos = qosnames.name(cluster.scheduler_name, name, UID)
    born = QosChange(qos, create=True, description="bursar:u-1", limits={"cpu": 20}, tightens=True)
    (outcome,) = await scheduler.apply(mode, [AccountChange(name, qoses=(born,), qos_list=(qos,))])
    assert outcome.done, outcome.error
    if not is_confined:
        await slurm.run("sacctmgr", "-i", "modify", "account", "where", f"name={name}", "set", f"QOS={qos},normal")
    attesthost.hears(host, mode, account(name, allocation(UID, 1)))
    claim = Claim(name, UID, 2, (await scheduler.observe(mode)).time - 60)
    with pytest.raises(NotAttested, match="may use 20 more minutes of cpu") as caught:
        await attest.attest(host, claim)
    for words in [shlex.split(line) for line in str(caught.value).splitlines() if line.startswith("  ")]:
        await slurm.run(Path(words[0]).name, *words[1:])

    async def closed() -> bool:
        reading = ((await scheduler.observe(mode)).qoses or {})[qos].readings["cpu"]
        return reading.limit == 1

    await until(closed, f"{qos} is closed in slurmctld")
    signed = await attest.attest(host, claim)
    assert signed.statement.found == ("Qos" if is_confined else "Account")
    late = await slurm.submit(name, "alice", cpus=10, minutes=1, seconds=1, extra=[f"--qos={qos}"])
    await until_job(slurm, late, "PENDING", reason="QOSGrpCPUMinutesLimit")
    await slurm.run("scancel", str(late))


async def test_an_account_that_slurm_does_not_have_is_gone(
    scheduler: SlurmScheduler, cluster: ClusterSettings, host: AgentSettings, open_account: OpenAccount
) -> None:
    await open_account()
    attesthost.hears(host, cluster)
    start = (await scheduler.observe(cluster)).time - 3600
    signed = await attest.attest(host, Claim("never-made", UID, 2, start, ("cpu", "gpu")))
    assert signed.statement.found == "Gone"

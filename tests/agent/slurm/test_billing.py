"""Service units on the real Slurm: a partition's weights, what Slurm bills by them, the ledger's sum, jobs that stop there."""

import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from bursar_agent.cycle import Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox, usage_pages
from bursar_agent.schedulers.slurm import tres
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.terms import simple
from bursar_domain.wire import BillingEntry, ClusterSettings, Root, TrackedResource, WeightEntry
from bursar_ledger import Ledger
from bursar_local.slurm import Slurm
from bursar_testing.books import account, published
from bursar_testing.slurm_accounts import cluster_settings, until, until_recorded
from bursar_testing.wires import hello, new_ledger

SCALE = 1000
BILLING = BillingEntry(version=1, scale=SCALE, weights=(WeightEntry(name="cpu", weight=1500),))
LINE = "PartitionName=batch TRESBillingWeights=cpu=1500"
HOURS = 6  # service units: 360,000 billing minutes
CPUS = 200  # 300,000 billing minutes with a time limit of a minute, so that is what `safe` reserves
SECONDS = 8  # 40,000 of them: after one job another one fits, after two no more
FAR_AHEAD = 2**33

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(150)]


@pytest.fixture
async def weighted(slurm: Slurm, scheduler: SlurmScheduler) -> AsyncIterator[ClusterSettings]:
    """A cluster that bills CPUs, whose partition has the weights that its agent asked for."""
    billing = TrackedResource(name="billing", trackable="billing", capacity=512 * 1500)
    plain = cluster_settings(slurm.cluster)
    changes = {"root_account": "billed", "resources": (billing, *plain.resources), "billing": BILLING}
    cluster = plain.model_copy(update=changes)
    text = await slurm.run("scontrol", "-o", "show", "partition", "batch")
    before = next(word for word in text.split() if word.startswith("TRESBillingWeights="))
    (miss,) = (await scheduler.capabilities(cluster)).misses
    assert (miss.reason, miss.remedy) == ("BillingWeights", LINE)
    await slurm.run("scontrol", "update", *miss.remedy.split())
    try:
        assert (await scheduler.capabilities(cluster)).misses == ()
        yield cluster
    finally:
        await slurm.run("scontrol", "update", "PartitionName=batch", before)


def desired(cluster: ClusterSettings, name: str) -> DesiredState:
    """An account with service units and nothing else."""
    start = int(time.time()) // 3600 * 3600
    seconds = cluster.scales.seconds_from_hours("billing", HOURS)
    entry = account(name, published(simple(name, start, FAR_AHEAD, {"billing": seconds}), name, name))
    root = Root(cluster="alpha", epoch=1, generation=1, acknowledged=0, issued_at=0, valid_until=2**40, digest="d")
    return DesiredState(Signer(bytes(32)).sign(root), cluster, {name: entry})


async def billed(slurm: Slurm, name: str) -> int:
    """Billing units times seconds of the account's jobs, by Slurm's own records."""
    arguments = ("-a", "-D", "-X", "-n", "-P", "-A", name, "--starttime=now-1hour", "--format=alloctres,elapsedraw")
    rows = [line.split("|") for line in (await slurm.run("sacct", *arguments)).splitlines()]
    return sum(tres.parse(held).get("billing", 0) * int(seconds) for held, seconds in rows if held)


async def in_ledger(ledger: Ledger, state: DesiredState, book: UsageBook) -> dict[str, int]:
    """What the ledger has after the agent's reports, by resource."""
    cluster = state.settings.cluster
    entries = list(state.entries.values())
    sign = Signer(bytes(32)).sign
    await ledger.publish(state.settings, entries, epoch=1, acknowledged=0, now=0, valid_seconds=86_400, sign=sign)
    await ledger.record_hello(cluster, hello("session", int(time.time())), int(time.time()))
    for page, _ in usage_pages(book, "session"):
        receipt = await ledger.put_usage(cluster, page, int(time.time()))
        assert receipt.refused == ()
    rows = await ledger.usage(cluster, account=entries[0].account, start=None, end=None, by="account")
    return {str(row["resource"]): int(row["charged"]) for row in rows}


async def test_jobs_stop_at_the_service_units_and_the_ledger_has_what_slurm_billed(
    slurm: Slurm, scheduler: SlurmScheduler, weighted: ClusterSettings, fresh_name: Callable[[], str], tmp_path: Path
) -> None:
    settings = AgentSettings.model_validate(
        {
            "cluster": slurm.cluster,
            "gateway": "https://127.0.0.1:1",
            "state_directory": tmp_path,
            "scheduler": "slurm",
            "usage_interval_seconds": 0.05,
            "counter_period_seconds": 60,
        }
    )
    book, name = UsageBook(tmp_path, epoch=1), fresh_name()
    cycles = Cycles(settings, scheduler, Journal(tmp_path), book, Outbox("session"))
    state = desired(weighted, name)
    assert await cycles.run(state)
    jobs = [await slurm.submit(name, "alice", cpus=CPUS, minutes=1, seconds=SECONDS) for _ in range(3)]

    async def only_the_last_waits() -> bool:
        assert await cycles.run(state)
        return [(await slurm.job(job))[0] for job in jobs] == ["COMPLETED", "COMPLETED", "PENDING"]

    await until(only_the_last_waits, "two jobs ran and the third waits", seconds=90)
    for job in jobs[:2]:
        await until_recorded(slurm, job)

    async def waits_for_billing() -> bool:
        assert await cycles.run(state)
        return await slurm.job(jobs[2]) == ("PENDING", "AssocGrpBillingMinutes")

    await until(waits_for_billing, "the third job waits for service units")
    await slurm.run("scancel", str(jobs[2]))
    found = await billed(slurm, name)
    assert found >= 2 * CPUS * 1500 * SECONDS
    assert found <= weighted.scales.seconds_from_hours("billing", HOURS)
    async with new_ledger(tmp_path) as ledger:
        booked = await in_ledger(ledger, state, book)
    assert booked["billing"] == found == 1500 * booked["cpu"]

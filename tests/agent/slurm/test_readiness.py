"""Each thing that keeps limits from holding is found, named and comes with the line that mends it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm import readiness
from bursar_agent.schedulers.slurm.readiness import Facts
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import BillingEntry, ClusterSettings, TrackedResource, WeightEntry
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import cluster_settings

GOOD = Facts(
    configuration={
        "ClusterName": "alpha",
        "SLURM_VERSION": "22.05.8",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageEnforce": "associations,limits,qos,safe",
        "PriorityType": "priority/multifactor",
        "PriorityDecayHalfLife": "00:00:00",
        "PriorityUsageResetPeriod": "NONE",
        "OverTimeLimit": "0 min",
        "SlurmUser": "slurm(64030)",
    },
    partitions=(
        {
            "PartitionName": "batch",
            "DefaultTime": "00:10:00",
            "MaxTime": "7-00:00:00",
            "TRESBillingWeights": "CPU=1.0,Mem=0.25G",
        },
    ),
    trackables=frozenset({"cpu", "mem", "gres/gpu", "billing"}),
    qos=(("normal", "1.000000", "", ""), ("free", "0.000000", "UsageFactorSafe", "")),
    admin_level="Operator",
    user="bursar-agent",
    controller_time=1000,
    now=1030,
)
BATCH = GOOD.partitions[0]
ALPHA = cluster_settings("alpha")


def reasons(facts: Facts, settings: ClusterSettings = ALPHA) -> set[str]:
    """Reasons of all misses; each has words and a remedy."""
    misses = readiness.misses(settings, facts)
    assert all(miss.message and miss.remedy for miss in misses)
    return {miss.reason for miss in misses}


def test_a_good_configuration_has_no_misses() -> None:
    assert reasons(GOOD) == set()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("AccountingStorageEnforce", "associations,limits,qos", "SafeMissing"),
        ("AccountingStorageEnforce", "associations,safe", "LimitsMissing"),
        ("AccountingStorageEnforce", "limits,safe", "AssociationsMissing"),
        ("AccountingStorageType", "accounting_storage/none", "LimitsMissing"),
        ("PriorityType", "priority/basic", "NoMultifactor"),
        ("PriorityDecayHalfLife", "7-00:00:00", "HalfLife"),
        ("PriorityUsageResetPeriod", "MONTHLY", "ResetPeriod"),
        ("OverTimeLimit", "5 min", "OverTimeLimit"),
        ("SLURM_VERSION", "19.05.8", "UnsupportedVersion"),
        ("ClusterName", "beta", "Invalid"),
    ],
)
def test_a_wrong_setting_is_one_miss(key: str, value: str, reason: str) -> None:
    assert reasons(replace(GOOD, configuration={**GOOD.configuration, key: value})) == {reason}


@pytest.mark.parametrize(
    ("partition", "reason"),
    [
        ({**BATCH, "DefaultTime": "NONE"}, "DefaultTimeMissing"),
        ({**BATCH, "MaxTime": "UNLIMITED"}, "DefaultTimeMissing"),
        ({**BATCH, "OverTimeLimit": "UNLIMITED"}, "OverTimeLimit"),
    ],
)
def test_a_partition_without_time_limits_is_a_miss(partition: dict[str, str], reason: str) -> None:
    assert reasons(replace(GOOD, partitions=(BATCH, partition))) == {reason}


def test_other_misses() -> None:
    assert reasons(replace(GOOD, trackables=frozenset({"cpu", "mem"}))) == {"TrackableMissing"}
    assert reasons(replace(GOOD, qos=(("free", "0.000000", "", ""),))) == {"UsageFactorSafe"}
    assert reasons(replace(GOOD, qos=(("big", "1.000000", "", "cpu=5"),))) == {"LimitsMissing"}
    assert reasons(replace(GOOD, admin_level="None")) == {"PrivilegeMissing"}
    assert reasons(replace(GOOD, admin_level="", user="slurm")) == set()
    assert reasons(replace(GOOD, controller_time=900)) == {"ClockSkew"}


def test_fractions_of_billing_matter_where_billing_is_a_resource() -> None:
    billing = TrackedResource(name="billing", trackable="billing", capacity=1)
    settings = ALPHA.model_copy(update={"resources": (billing,)})
    assert reasons(GOOD, settings) == {"FractionalWeights"}
    whole = replace(GOOD, partitions=({**BATCH, "TRESBillingWeights": "CPU=1.0,Mem=2G"},))
    assert reasons(whole, settings) == set()


def test_a_typed_gres_needs_the_plain_one_counted_too() -> None:
    typed = TrackedResource(name="a100", trackable="gres/gpu:a100", capacity=8)
    settings = ALPHA.model_copy(update={"resources": (typed,)})
    facts = replace(GOOD, trackables=frozenset({"cpu", "gres/gpu:a100"}))
    (miss,) = readiness.misses(settings, facts)
    assert miss.remedy == "AccountingStorageTRES=gres/gpu,gres/gpu:a100"


async def test_the_real_slurm_is_ready(scheduler: SlurmScheduler, cluster: ClusterSettings, tmp_path: Path) -> None:
    ready = await scheduler.capabilities(cluster)
    assert ready.scheduler == "slurm"
    assert ready.version[0].isdigit()
    assert ready.misses == ()


async def test_a_resource_that_slurm_does_not_count_is_named(scheduler: SlurmScheduler, cluster: ClusterSettings) -> None:
    fpga = TrackedResource(name="fpga", trackable="gres/fpga", capacity=4)
    settings = cluster.model_copy(update={"resources": (*cluster.resources, fpga)})
    (miss,) = (await scheduler.capabilities(settings)).misses
    assert miss.reason == "TrackableMissing"
    assert miss.remedy == "AccountingStorageTRES=gres/fpga,gres/gpu,gres/gpu:a100"


@pytest.mark.parametrize(
    ("qos", "words"),
    [
        ((("normal", "1.000000", "", ""),), "there is no such QOS"),
        ((("landing", "0.500000", "UsageFactorSafe", ""),), "whose UsageFactor is 0.500000"),
        ((("landing", "0.000000", "NoDecay", ""),), "UsageFactor 0"),
    ],
)
def test_a_qos_of_the_settings_that_soft_land_cannot_use_is_a_miss(
    qos: tuple[tuple[str, str, str, str], ...], words: str
) -> None:
    (miss,) = readiness.misses(ALPHA, replace(GOOD, qos=qos, soft_land_qos="landing"))
    assert miss.reason == "UsageFactorSafe"
    assert words in miss.message
    assert "landing" in miss.remedy


def test_a_qos_that_soft_land_can_use_is_none() -> None:
    assert reasons(replace(GOOD, soft_land_qos="free")) == set()


BILLING = BillingEntry(
    version=3,
    scale=1,
    weights=tuple(WeightEntry(name=name, weight=weight) for name, weight in {"cpu": 1, "gpu": 16, "memory": 2}.items()),
)
TRACKABLES = {"cpu": "cpu", "gpu": "gres/gpu", "memory": "mem"}


def weighted(text: str | None) -> list[str]:
    """Remedies for one partition with these TRESBillingWeights."""
    partition = {"PartitionName": "batch"} | ({} if text is None else {"TRESBillingWeights": text})
    misses = list(readiness.billing_misses(BILLING, TRACKABLES, [partition]))
    assert all(miss.reason == "BillingWeights" and "version 3 of" in miss.message for miss in misses)
    return [miss.remedy for miss in misses]


@pytest.mark.parametrize(
    "text", ["CPU=1,Mem=2G,GRES/gpu=16", "cpu=1.0,mem=2G,GRES/gpu=16.0", "GRES/gpu=16,CPU=1,Mem=2G,Node=0"]
)
def test_weights_that_are_those_of_the_cluster_are_no_miss(text: str) -> None:
    assert weighted(text) == []


LINE = "PartitionName=batch TRESBillingWeights=cpu=1,gres/gpu=16,mem=2G"


@pytest.mark.parametrize(
    "text",
    [None, "", "CPU=1", "CPU=1,Mem=2G,GRES/gpu=8", "CPU=1,Mem=0.25G,GRES/gpu=16", "CPU=1,Mem=2G,GRES/gpu=16,Node=3", "CPU=x"],
)
def test_weights_that_differ_are_a_miss_with_the_exact_line(text: str | None) -> None:
    assert weighted(text) == [LINE]


def test_weights_are_asked_for_where_the_cluster_has_billing_and_fractions_where_it_has_none() -> None:
    resources = tuple(TrackedResource(name=name, trackable=trackable, capacity=8) for name, trackable in TRACKABLES.items())
    billing = TrackedResource(name="billing", trackable="billing", capacity=8)
    weighed = ALPHA.model_copy(update={"resources": resources, "billing": BILLING})
    unweighed = ALPHA.model_copy(update={"resources": (*resources, billing)})
    exact = replace(GOOD, partitions=({**BATCH, "TRESBillingWeights": "CPU=1,GRES/gpu=16,Mem=2G"},))
    assert reasons(exact, weighed) == reasons(exact, unweighed) == set()
    assert reasons(GOOD, weighed) == {"BillingWeights"}
    assert reasons(GOOD, unweighed) == {"FractionalWeights"}


async def test_decay_that_is_switched_on_in_the_running_slurm_is_found_and_gone_again(
    slurm: Slurm, scheduler: SlurmScheduler, cluster: ClusterSettings
) -> None:
    path = slurm.layout.configuration
    before = path.read_text()
    with_decay = before.replace("PriorityDecayHalfLife=0\n", "PriorityDecayHalfLife=7-0\n")
    path.write_text(with_decay.replace("PriorityUsageResetPeriod=NONE\n", "PriorityUsageResetPeriod=MONTHLY\n"))
    try:
        await slurm.run("scontrol", "reconfigure")
        misses = {miss.reason: miss for miss in (await scheduler.capabilities(cluster)).misses}
        assert misses.keys() == {"HalfLife", "ResetPeriod"}
        assert misses["HalfLife"].remedy == "PriorityDecayHalfLife=0"
        assert misses["ResetPeriod"].remedy == "PriorityUsageResetPeriod=NONE"
    finally:
        path.write_text(before)
        await slurm.run("scontrol", "reconfigure")
    assert (await scheduler.capabilities(cluster)).misses == ()

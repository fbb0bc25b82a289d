"""Each thing that keeps limits from holding is found, named and comes with the line that mends it."""

from dataclasses import replace
from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm import readiness
from bursar_agent.schedulers.slurm.readiness import Facts
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_domain.wire import ClusterSettings, TrackedResource
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

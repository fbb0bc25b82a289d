"""QOSes that carry ceilings: how Slurm shows them, and which commands are written in which order."""

from dataclasses import replace
from pathlib import Path

import pytest

from bursar_agent import qosnames
from bursar_agent.schedulers.base import AccountChange, AccountView, QosChange, QosView, Reading, SchedulerUnavailable
from bursar_agent.schedulers.simulator import PLUGIN as SIMULATOR
from bursar_agent.schedulers.slurm import PLUGIN, names, proof, qos, readiness, writes
from bursar_agent.schedulers.slurm.readiness import Facts
from bursar_agent.schedulers.slurm.settings import SlurmSettings
from bursar_agent.schedulers.slurm.softland import Earlier, SoftLandings
from bursar_domain.wire import ClusterSettings
from bursar_testing.agents import cluster_settings

ALPHA = cluster_settings("alpha")
MODE = cluster_settings("alpha", limit_mode="QOS")
ONE, TWO = (qosnames.name("alpha", "aa", uid) for uid in ("u1", "u2"))
RECORDS = f"""Current Association Manager state
QOS Records
QOS=normal(1) UsageRaw=0.000000 GrpTRES=cpu=N(0) GrpTRESMins=cpu=N(9) GrpTRESRunMins=cpu=N(0) MaxWallPJ=
QOS={ONE}(2) UsageRaw=9.5 GrpTRES=cpu=N(4) GrpTRESMins=cpu=1000(37),mem=N(0) GrpTRESRunMins=cpu=500(20),mem=N(7) MaxWallPJ=
"""


def test_counters_and_limits_come_from_one_line() -> None:
    found = qos.parse(RECORDS, {ONE: True, TWO: True})
    readings = {"cpu": Reading(1000, 500, 37, 20), "mem": Reading(None, None, 0, 7)}
    assert found == {ONE: QosView(ONE, readings)}  # slurmctld does not know the other one yet


@pytest.mark.parametrize("text", ["", "QOS Records\n", f"QOS={ONE}(2) GrpTRESMins=cpu=many(1) MaxWallPJ="])
def test_half_an_answer_is_none(text: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        qos.parse(text, {ONE: True})


def test_ours_have_a_name_and_a_mark() -> None:
    rows = [f"{ONE}|bursar:u1|NoDecay,DenyOnLimit", f"{TWO}|bursar:allocation|", "bq-other|bursar:u|NoDecay", "bad|line"]
    rows.append(f"{qosnames.name('a', 'b', 'c')}|something else|NoDecay")
    assert qos.parse_database("\n".join(rows)) == {ONE: True, TWO: False}


BOTH_WAYS = AccountChange(
    "aa",
    limits={"cpu": -1, "gres/gpu": 1},
    run_minutes={"cpu": -1},
    held=False,
    qoses=(
        QosChange(ONE, create=True, description="bursar:u1", tightens=True, run_minutes={"cpu": 60}),
        QosChange(ONE, limits={"cpu": 60}),
        QosChange(TWO, limits={"cpu": 5}, lasting=True, tightens=True),
    ),
    qos_list=(ONE, TWO),
)


def lines(change: AccountChange) -> list[list[str]]:
    """Commands of each phase."""
    return [
        [
            " ".join(write.arguments)
            for stage in writes.stages(MODE, phase, names_per_call=200, blocked={}, default_accounts={}, earlier={})
            for write in stage
        ]
        for phase in qos.rounds([change])
    ]


def test_what_tightens_is_written_first_and_the_accounts_own_limit_comes_off_last() -> None:
    assert lines(BOTH_WAYS) == [
        [
            f"add qos name={ONE} description=bursar:u1 Flags=NoDecay GrpTRESMins=cpu=1",
            f"modify qos where name={ONE} set GrpTRESRunMins=cpu=60",
            f"modify qos where name={TWO} set Flags=NoDecay GrpTRESMins=cpu=5",
            "modify account where name=aa cluster=alpha set GrpTRESMins=gres/gpu=1",
        ],
        [
            f"modify qos where name={ONE} set GrpTRESMins=cpu=60",
            f"modify account where name=aa cluster=alpha set QOS={ONE},{TWO} DefaultQOS={ONE}",
        ],
        ["modify account where name=aa cluster=alpha set GrpTRESMins=cpu=-1 GrpTRESRunMins=cpu=-1 GrpJobs=-1"],
    ]


def test_a_preview_has_the_same_commands_in_the_same_order(tmp_path: Path) -> None:
    shown = PLUGIN.connect(SlurmSettings(), tmp_path).render(MODE, [BOTH_WAYS])
    assert [line.partition(" -i ")[2] for line in shown] == [line for phase in lines(BOTH_WAYS) for line in phase]


def test_back_in_account_mode_the_new_limit_comes_before_the_old_one_goes() -> None:
    back = AccountChange("aa", limits={"cpu": 60}, qoses=(QosChange(ONE, limits={"cpu": 1}, tightens=True),), qos_list=())
    assert lines(back) == [
        [
            f"modify qos where name={ONE} set GrpTRESMins=cpu=1",
            "modify account where name=aa cluster=alpha set GrpTRESMins=cpu=60",
        ],
        ["modify account where name=aa cluster=alpha set QOS= DefaultQOS=-1"],
    ]


def test_equal_ceilings_go_together_in_bounded_pieces() -> None:
    made = [qosnames.name("alpha", f"p-{number}", "u") for number in range(450)]
    changes = [AccountChange(f"p-{n}", qoses=(QosChange(name, limits={"cpu": 7}),)) for n, name in enumerate(made)]
    calls = qos.values(changes, 200)
    assert [len(accounts) for _, accounts in calls] == [200, 200, 50]
    assert {name for arguments, _ in calls for name in arguments[3].removeprefix("name=").split(",")} == set(made)


@pytest.mark.parametrize(
    "change",
    [
        AccountChange("aa", qoses=(QosChange("normal", limits={"cpu": 1}),)),
        AccountChange("aa", qoses=(QosChange(f"{ONE},normal"),)),
        AccountChange("aa", qos_list=(ONE, "normal")),
        AccountChange("aa", qoses=(QosChange(ONE, create=True),)),
        AccountChange("aa", qoses=(QosChange(ONE, create=True, description="mine, all mine"),)),
        AccountChange("aa", qoses=(QosChange(ONE, limits={"cpu=1 Flags": 1}),)),
        AccountChange("aa", qoses=(QosChange(ONE, run_minutes={"cpu": -2}),)),
    ],
)
def test_what_could_be_more_than_a_name_never_reaches_a_command(change: AccountChange) -> None:
    with pytest.raises(names.BadName):
        names.check_change(change)


def test_only_what_slurm_shows_is_proven() -> None:
    view = AccountView("aa", owned=True, qos_list=(ONE, TWO))
    shown = {ONE: QosView(ONE, {"cpu": Reading(60, 60)}), TWO: QosView(TWO, is_lasting=False)}
    first = QosChange(ONE, limits={"cpu": 60}, run_minutes={"cpu": 60})
    assert proof.unproven(AccountChange("aa", qoses=(first,), qos_list=(ONE, TWO)), view, shown) == ""
    wrong = {
        "is not there": AccountChange("aa", qoses=(QosChange(qosnames.name("a", "b", "c")),)),
        "limit of cpu is 60, not 61": AccountChange("aa", qoses=(QosChange(ONE, limits={"cpu": 61}),)),
        "GrpTRESRunMins of cpu": AccountChange("aa", qoses=(QosChange(ONE, run_minutes={"cpu": -1}),)),
        "never decay": AccountChange("aa", qoses=(QosChange(TWO, lasting=True),)),
        "its QOSes are": AccountChange("aa", qos_list=(TWO, ONE)),
        "those from before": AccountChange("aa", qos_list=()),
    }
    for words, change in wrong.items():
        assert words in proof.unproven(change, view, shown)


def test_what_an_account_had_before_the_mode_is_kept_over_a_soft_landing(tmp_path: Path) -> None:
    store = SoftLandings(tmp_path)
    store.note([AccountChange("aa", qos_list=(ONE,))], {"aa": Earlier(("long",), "long")})
    store.note([AccountChange("aa", qos="landing")], {"aa": Earlier((ONE,), ONE)})
    assert SoftLandings(tmp_path).earlier == {"aa": Earlier(("long",), "long")}
    store.note([AccountChange("bb", qos="landing")], {"bb": Earlier((ONE,), ONE)})
    assert store.earlier["bb"] == Earlier()  # ours already, and what was before is forgotten


FACTS = Facts(
    configuration={
        "ClusterName": "alpha",
        "SLURM_VERSION": "22.05.8",
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageEnforce": "associations,limits,qos,safe",
        "PriorityType": "priority/multifactor",
        "PriorityDecayHalfLife": "7-00:00:00",
        "PriorityUsageResetPeriod": "NONE",
        "OverTimeLimit": "0 min",
        "SlurmUser": "slurm(64030)",
    },
    partitions=({"PartitionName": "batch", "DefaultTime": "00:10:00", "MaxTime": "7-00:00:00"},),
    trackables=frozenset({"cpu"}),
    qos=(("normal", "1.000000", "", ""), (ONE, "1.000000", "NoDecay", "cpu=600")),
    admin_level="Administrator",
    user="bursar-agent",
    controller_time=None,
    now=0,
)


def reasons(settings: ClusterSettings, facts: Facts = FACTS) -> list[str]:
    """Of all misses, in order."""
    return [miss.reason for miss in readiness.misses(settings, facts)]


def test_accounts_may_forget_use_where_qoses_carry_the_limits() -> None:
    assert reasons(MODE) == []
    assert reasons(ALPHA) == ["HalfLife"]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("AccountingStorageEnforce", "associations,limits,safe", "LimitsMissing"),
        ("PriorityUsageResetPeriod", "MONTHLY", "ResetPeriod"),
    ],
)
def test_qos_mode_needs_its_own(key: str, value: str, reason: str) -> None:
    assert reasons(MODE, replace(FACTS, configuration={**FACTS.configuration, key: value})) == [reason]


def test_an_operator_may_not_write_a_qos() -> None:
    operator = replace(FACTS, admin_level="Operator")
    (miss,) = readiness.misses(MODE, operator)
    assert (miss.reason, "AdminLevel=Administrator" in miss.remedy) == ("PrivilegeMissing", True)
    assert reasons(ALPHA, operator) == ["HalfLife"]


async def test_the_simulator_says_that_it_has_none(tmp_path: Path) -> None:
    scheduler = SIMULATOR.connect(SIMULATOR.settings(), tmp_path)
    (miss,) = (await scheduler.capabilities(MODE)).misses
    assert "limitMode QOS" in miss.message
    assert (await scheduler.capabilities(ALPHA)).misses == ()
    assert (await scheduler.observe(MODE)).qoses is None

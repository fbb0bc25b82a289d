"""Which commands a set of changes becomes: grouped, in order, bounded."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.slurm import writes
from bursar_agent.schedulers.slurm.softland import Earlier
from bursar_testing.slurm_accounts import cluster_settings, new

ALPHA = cluster_settings("alpha")
EARLIER = {"had-two": Earlier(("long", "normal"), "normal")}


def plan(
    changes: Sequence[AccountChange], names_per_call: int = 200, blocked: dict[str, frozenset[str]] | None = None
) -> list[list[str]]:
    """The stages as text."""
    stages = writes.stages(
        ALPHA, changes, names_per_call=names_per_call, blocked=blocked or {}, default_accounts={}, earlier=EARLIER
    )
    return [[" ".join(write.arguments) for write in stage] for stage in stages]


def test_a_new_account_comes_in_order_with_limit_one_first() -> None:
    assert plan([new("p", {"cpu": 60}, "bob", "alice")]) == [
        [
            "add account name=p cluster=alpha parent=bursar description=bursar:test organization=bursar "
            "GrpTRESMins=cpu=1,gres/gpu=1,mem=1"
        ],
        ["add user name=alice,bob cluster=alpha account=p"],
        ["modify account where name=p cluster=alpha set GrpTRESMins=cpu=60"],
    ]


def test_equal_changes_share_a_command_of_at_most_200_names() -> None:
    changes = [AccountChange(f"p-{number}", limits={"cpu": 60}) for number in range(450)]
    (stage,) = plan(changes)
    assert [command.count(",") + 1 for command in stage] == [200, 200, 50]


def test_everything_of_one_account_goes_in_one_command() -> None:
    change = AccountChange("p", limits={"mem": 5, "cpu": 60}, run_minutes={"cpu": 9}, concurrent={"gres/gpu": 0}, held=False)
    assert plan([change]) == [
        [
            "modify account where name=p cluster=alpha "
            "set GrpTRESMins=cpu=60,mem=5 GrpTRESRunMins=cpu=9 GrpTRES=gres/gpu=0 GrpJobs=-1"
        ]
    ]


def test_the_root_account_comes_first_and_holds_before_other_limits() -> None:
    changes = [AccountChange("a", limits={"cpu": 1}), AccountChange("b", held=True), AccountChange("bursar", limits={"cpu": 9})]
    first, second, third = plan(changes)
    assert "name=bursar" in first[0]
    assert "name=b " in second[0]
    assert "name=a " in third[0]


def test_the_root_account_is_born_without_a_limit() -> None:
    (stage,) = plan([AccountChange("bursar", create=True, parent="root", description="bursar:root")])
    assert "GrpTRESMins" not in stage[0]


def test_a_user_stands_in_one_command_of_a_stage() -> None:
    changes = [new("a", {}, "alice", "bob"), new("b", {}, "alice", "carol"), new("c", {}, "dave")]
    joins = plan(changes)[1]
    assert joins == [
        "add user name=alice cluster=alpha account=a,b",
        "add user name=bob cluster=alpha account=a",
        "add user name=carol cluster=alpha account=b",
        "add user name=dave cluster=alpha account=c",
    ]


def test_many_members_are_added_in_bounded_pieces() -> None:
    joins = plan([new("a", {}, *(f"u{number}" for number in range(25)))], names_per_call=10)[1]
    assert len(joins) == 3
    joins = plan([new(f"p-{number}", {}, "alice") for number in range(25)], names_per_call=10)[1]
    assert len(joins) == 3


def test_leaving_stops_and_returning_opens_an_association_and_nothing_is_deleted() -> None:
    assert plan([AccountChange("a", remove_members=frozenset({"al"}))]) == [
        ["modify user where name=al cluster=alpha account=a set MaxJobs=0 MaxSubmitJobs=0"]
    ]
    back = plan([AccountChange("a", add_members=frozenset({"al", "bo"}))], blocked={"a": frozenset({"al"})})
    assert back[1] == ["modify user where name=al cluster=alpha account=a set MaxJobs=-1 MaxSubmitJobs=-1"]


def test_nothing_to_change_is_no_command() -> None:
    assert plan([AccountChange("a")]) == []


def test_many_accounts_of_different_projects_are_made_by_one_command() -> None:
    changes = [replace(new(f"p-{number}", {}), description=f"bursar:project-{number}") for number in range(100)]
    (stage,) = plan(changes)
    assert len(stage) == 1
    assert "description=bursar:project organization" in stage[0]
    assert [len(stage) for stage in plan(changes[:3])] == [3]


def test_a_soft_landing_is_one_qos_and_its_undo_is_what_was_before() -> None:
    assert plan([AccountChange("a", qos="gratis", blocked=False)]) == [
        ["modify account where name=a cluster=alpha set GrpSubmitJobs=-1 QOS=gratis DefaultQOS=gratis"]
    ]
    undone = [AccountChange("a", qos=""), AccountChange("had-two", qos="")]
    assert plan(undone) == [
        [
            "modify account where name=a cluster=alpha set QOS= DefaultQOS=-1",
            "modify account where name=had-two cluster=alpha set QOS=long,normal DefaultQOS=normal",
        ]
    ]


def test_what_stops_jobs_is_written_before_what_lets_them_start() -> None:
    changes = [AccountChange("a", blocked=False), AccountChange("b", blocked=True), AccountChange("c", qos="gratis")]
    first, second = plan(changes)
    assert [" name=a " in command for command in (*first, *second)] == [False, False, True]


def test_no_command_ever_resets_a_counter() -> None:
    sources = [path.read_text() for path in Path(writes.__file__).parent.glob("*.py")]
    assert sources
    assert not any("RawUsage" in text for text in sources)
    everything = AccountChange(
        "a", True, "bursar:x", "bursar", {"cpu": 1}, {"cpu": 2}, {"cpu": 3}, False, False, "", add_members=frozenset({"al"})
    )
    commands = [command for stage in plan([everything]) for command in stage]
    assert commands
    assert not any("raw" in command.lower() or "+=" in command or "-=" in command for command in commands)

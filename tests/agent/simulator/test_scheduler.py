"""The simulator as a plug-in: clock, files, restart, jobs handed in, status."""

import json
from pathlib import Path

import pytest

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator import PLUGIN, SimulatedScheduler, SimulatorSettings
from bursar_testing.agents import cluster_settings

SETTINGS = cluster_settings("sim")
ROOT = AccountChange("bursar", create=True, description="bursar:root", parent="root", limits={"cpu": 10**9})
LOG = """; UnixStartTime: 0
1 0 -1 600 4 -1 -1 -1 -1 -1 -1 7 1 -1 -1 -1 -1 -1
2 100 -1 600 4 -1 -1 -1 -1 -1 -1 8 1 -1 -1 -1 -1 -1
"""


def account(name: str, minutes: int, *users: str) -> AccountChange:
    return AccountChange(
        name, create=True, description=f"bursar:{name}", parent="bursar", limits={"cpu": minutes}, add_members=frozenset(users)
    )


class Clock:
    """Seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def simulator(folder: Path, clock: Clock, **settings: object) -> SimulatedScheduler:
    (folder / "log").write_text(LOG)
    return SimulatedScheduler(
        SimulatorSettings.model_validate({"log": folder / "log", "ends_at": 10_000} | settings), folder, clock=clock, wall=clock
    )


async def test_the_log_ends_when_told_and_time_runs_at_its_speed(tmp_path: Path) -> None:
    clock = Clock()
    scheduler = simulator(tmp_path, clock, speed=10)
    assert (await scheduler.observe(SETTINGS)).time == 10_000 - 700
    clock.now += 2.5
    assert (await scheduler.observe(SETTINGS)).time == 10_000 - 700 + 25
    for seconds in (25, 26):  # parts of a second are not lost
        clock.now += 0.0625
        assert (await scheduler.observe(SETTINGS)).time == 10_000 - 700 + seconds


async def test_the_clock_waits_for_the_associations_of_the_table(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("log_user,user,account\n7,u7,alpha\n8,u8,beta\n")
    clock = Clock()
    scheduler = simulator(tmp_path, clock, speed=10, users_table=tmp_path / "users.csv")
    await scheduler.observe(SETTINGS)
    clock.now += 5
    assert (await scheduler.observe(SETTINGS)).time == 9_300
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["waiting_for"] == [{"user": "u7", "account": "alpha"}, {"user": "u8", "account": "beta"}]
    await scheduler.apply(SETTINGS, [ROOT, account("alpha", 10**6, "u7"), account("beta", 10**6, "u8")])
    clock.now += 5
    assert (await scheduler.observe(SETTINGS)).time == 9_350


async def test_usage_and_status_tell_what_happened(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock())
    await scheduler.apply(SETTINGS, [ROOT, account("g1", 50, "u7", "u8")])
    scheduler.advance(9_500)
    (job,) = (await scheduler.usage(0)).jobs
    assert (job.account, job.user, job.start, job.end, job.allocated, job.running) == (
        "g1",
        "u7",
        9_300,
        9_500,
        {"cpu": 4},
        True,
    )
    scheduler.advance(20_000)
    await scheduler.close()
    status = json.loads((tmp_path / "status.json").read_text())
    assert {name: status[name] for name in ("started", "finished", "pending", "running", "done", "stalled")} == {
        "started": 1, "finished": 1, "pending": 1, "running": 0, "done": False, "stalled": True,
    }  # fmt: skip
    assert status["refused"] == [{"job": 2, "account": "g1", "user": "u8", "reason": "AssocGrpCPUMinutesLimit"}]
    await scheduler.apply(SETTINGS, [AccountChange("g1", limits={"cpu": 100})])
    scheduler.advance(30_000)
    await scheduler.close()
    assert json.loads((tmp_path / "status.json").read_text())["done"] is True


async def test_a_restart_is_the_same_machine(tmp_path: Path) -> None:
    clock = Clock()
    first = simulator(tmp_path, clock)
    await first.apply(SETTINGS, [ROOT, account("g1", 50, "u7", "u8")])
    first.advance(9_700)
    first.submit("u7", "g1", 30, {"cpu": 2})
    first.advance(9_950)
    again = simulator(tmp_path, clock)
    assert (await again.observe(SETTINGS)) == (await first.observe(SETTINGS))
    assert (await again.usage(0)) == (await first.usage(0))
    again.advance(12_000)
    first.advance(12_000)
    assert again.machine.finished == first.machine.finished


async def test_jobs_may_be_handed_in_by_file(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock(), log=None)
    await scheduler.apply(SETTINGS, [ROOT, account("x", 10**6, "ann")])
    lines = [
        '{"user":"ann","account":"x","cpu":3,"seconds":60}',
        "nonsense",
        '{"user":"ann","account":"x","cpu":1,"seconds":5}',
    ]
    (tmp_path / "submit.jsonl").write_text("\n".join(lines) + "\n")
    await scheduler.observe(SETTINGS)
    await scheduler.observe(SETTINGS)
    assert scheduler.machine.running == 2
    again = simulator(tmp_path, Clock(), log=None)
    await again.observe(SETTINGS)
    assert again.machine.running == 2


async def test_accounts_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock())
    foreign = AccountChange("theirs", create=True, description="somebody", parent="root")
    await scheduler.apply(SETTINGS, [ROOT, foreign])
    missing, theirs = await scheduler.apply(
        SETTINGS, [AccountChange("nobody", limits={"cpu": 5}), AccountChange("theirs", limits={"cpu": 5})]
    )
    assert not missing.done
    assert "has to be created first" in missing.error
    assert not theirs.done
    assert "left alone" in theirs.error
    assert scheduler.machine.accounts["theirs"].limits == {"cpu": 1}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"spede": 3}, "spede"),
        ({"speed": -1}, "speed"),
        ({"log": "/nowhere"}, "log"),
        ({"users_table": __file__}, "log_user,user,account"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PLUGIN.settings.model_validate(settings)


def test_a_log_user_without_a_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("log_user,user,account\n7,u7,alpha\n")
    with pytest.raises(ValueError, match="log user 8 "):
        simulator(tmp_path, Clock(), users_table=tmp_path / "users.csv")


async def jobs(scheduler: SimulatedScheduler) -> dict[int, str]:
    """Number -> why it waits."""
    return {job.number: reason for job, reason in scheduler.machine.waiting()}


async def test_a_blocked_account_takes_no_jobs_until_it_is_opened(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock(), log=None)
    await scheduler.apply(SETTINGS, [ROOT, account("x", 10**6, "ann")])
    await scheduler.apply(SETTINGS, [AccountChange("x", blocked=True, held=True)])
    number = scheduler.submit("ann", "x", 60, {"cpu": 1})
    assert await jobs(scheduler) == {number: "AssocGrpSubmitJobsLimit"}
    scheduler.write_status()
    status = json.loads((tmp_path / "status.json").read_text())
    assert status["refused"] == [{"job": number, "account": "x", "user": "ann", "reason": "AssocGrpSubmitJobsLimit"}]
    view = (await scheduler.observe(SETTINGS)).accounts["x"]
    assert (view.blocked, view.held) == (True, True)
    await scheduler.apply(SETTINGS, [AccountChange("x", blocked=False)])
    assert await jobs(scheduler) == {number: "AssocGrpJobsLimit"}
    await scheduler.apply(SETTINGS, [AccountChange("x", held=False)])
    assert scheduler.machine.running == 1


async def test_a_soft_landing_lets_only_free_jobs_run(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock(), log=None, soft_land_qos="soft")
    await scheduler.apply(SETTINGS, [ROOT, account("x", 10, "ann")])
    waiting = scheduler.submit("ann", "x", 600, {"cpu": 4})
    await scheduler.apply(SETTINGS, [AccountChange("x", qos="soft")])
    scheduler.submit("ann", "x", 600, {"cpu": 4}, qos="soft")
    assert await jobs(scheduler) == {waiting: "InvalidQOS"}
    assert scheduler.machine.running == 1
    scheduler.advance(scheduler.machine.now + 300)
    observation = await scheduler.observe(SETTINGS)
    assert (observation.soft_land_qos, observation.accounts["x"].qos) == ("soft", "soft")
    reading = observation.accounts["x"].readings["cpu"]
    assert (reading.counter, reading.running) == (0, 0)
    (use,) = (await scheduler.usage(0)).jobs
    assert use.factor_thousandths == 0
    again = simulator(tmp_path, Clock(), log=None, soft_land_qos="soft")
    assert (await again.observe(SETTINGS)).accounts == observation.accounts
    await scheduler.apply(SETTINGS, [AccountChange("x", qos="", limits={"cpu": 40})])
    assert scheduler.machine.running == 2


async def test_a_cap_holds_what_is_in_use_at_one_time(tmp_path: Path) -> None:
    scheduler = simulator(tmp_path, Clock(), log=None)
    await scheduler.apply(SETTINGS, [ROOT, account("x", 10**6, "ann")])
    await scheduler.apply(SETTINGS, [AccountChange("x", concurrent={"cpu": 5})])
    scheduler.submit("ann", "x", 60, {"cpu": 4})
    second = scheduler.submit("ann", "x", 60, {"cpu": 2})
    assert await jobs(scheduler) == {second: "AssocGrpCpuLimit"}
    await scheduler.apply(SETTINGS, [AccountChange("x", concurrent={"cpu": -1})])
    assert scheduler.machine.running == 2


def test_every_action_is_printed(tmp_path: Path) -> None:
    change = AccountChange("x", concurrent={"cpu": 5}, held=True, blocked=True, qos="soft")
    (line,) = simulator(tmp_path, Clock(), log=None).render(SETTINGS, [change])
    assert line == "simulator modify account=x GrpTRES=cpu=5 GrpJobs=0 GrpSubmitJobs=0 QOS=soft"

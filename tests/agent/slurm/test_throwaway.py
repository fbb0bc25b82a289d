"""The throw-away Slurm: a second one beside the first, nothing outside of loopback, nothing left behind, however it ended."""

import asyncio
import json
import os
import pwd
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm import PLUGIN
from bursar_local.slurm import Slurm, SlurmUnavailable
from bursar_local.slurm.__main__ import read_users
from bursar_local.slurm.daemons import marked_processes
from bursar_local.slurm.preparation import user_ids
from bursar_local.slurm.programs import Programs, why_not
from bursar_testing.slurm import need_slurm
from bursar_testing.slurm_accounts import cluster_settings, settings_of, until, until_job

pytestmark = pytest.mark.slurm


@pytest.fixture
async def unsafe(tmp_path: Path) -> AsyncIterator[Slurm]:
    """A Slurm that was set up as many are: nothing keeps a budget."""
    await need_slurm()
    running = await Slurm.start(
        tmp_path,
        cluster="beta",
        users=["alice"],
        enforce="associations,limits",
        overrides={"PriorityDecayHalfLife": "7-0", "PriorityUsageResetPeriod": "MONTHLY", "OverTimeLimit": "5"},
        partition_overrides={"DefaultTime": None, "MaxTime": "UNLIMITED"},
    )
    yield running
    await running.stop()


async def test_a_second_one_runs_beside_and_says_what_it_lacks(slurm: Slurm, unsafe: Slurm, tmp_path: Path) -> None:
    ready = await PLUGIN.connect(settings_of(unsafe), tmp_path).capabilities(cluster_settings("beta"))
    assert {miss.reason for miss in ready.misses} == {
        "SafeMissing",
        "HalfLife",
        "ResetPeriod",
        "OverTimeLimit",
        "DefaultTimeMissing",
    }
    remedies = {miss.remedy for miss in ready.misses}
    assert "AccountingStorageEnforce=associations,limits,qos,safe (then restart slurmctld)" in remedies
    assert "PartitionName=batch DefaultTime=01:00:00" in remedies
    assert (await slurm.run("sinfo", "--noheader", "--format=%N")).strip() == "alpha-host,alpha-host-2"
    assert (await unsafe.run("sinfo", "--noheader", "--format=%N")).strip() == "beta-host"


async def test_everything_listens_on_loopback_only(slurm: Slurm) -> None:
    listening: dict[int, str] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, _, state, *_ = line.split()
        address, _, port = local.partition(":")
        if state == "0A":
            listening[int(port, 16)] = address
    ours = {listening.get(port) for port in (slurm.ports.slurmctld, slurm.ports.slurmd, slurm.ports.slurmdbd)}
    assert ours == {"0100007F"}
    tcp6 = Path("/proc/net/tcp6")
    assert not tcp6.exists() or not any(f":{slurm.ports.slurmctld:04X} " in line for line in tcp6.read_text().splitlines())


async def test_stopping_leaves_no_process_and_no_folder_though_a_job_ran(tmp_path: Path) -> None:
    await need_slurm()
    running = await Slurm.start(tmp_path / "s", cluster="gamma", users=["alice"])
    await running.run("sacctmgr", "-i", "add", "account", "name=a", "cluster=gamma")
    await running.run("sacctmgr", "-i", "add", "user", "name=alice", "account=a", "cluster=gamma")
    job = await running.submit("a", "alice", minutes=5, seconds=300)
    await until_job(running, job, "RUNNING")
    await running.stop()
    assert marked_processes(running.layout.run) == set()
    assert not running.layout.run.exists()
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == ["lock", "log"]


async def test_a_folder_in_use_is_refused(slurm: Slurm) -> None:
    with pytest.raises(SlurmUnavailable, match="give another folder"):
        await Slurm.start(slurm.layout.directory, cluster="alpha", users=["alice"])
    assert (await slurm.run("sinfo", "--noheader", "--format=%T")).strip()


async def _command(directory: Path, users: Path) -> asyncio.subprocess.Process:
    argv = ("-m", "bursar_local.slurm", "--dir", str(directory), "--cluster", "delta", "--users-file", str(users))
    process = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=asyncio.subprocess.PIPE)

    async def described() -> bool:
        assert process.returncode is None
        return (directory / "slurm.json").exists()

    await until(described, "slurm.json is written")
    return process


async def test_the_command_survives_a_kill_and_stops_when_told(tmp_path: Path) -> None:
    await need_slurm()
    users = tmp_path / "users"
    users.write_text("alice\n")
    killed = await _command(tmp_path / "d", users)
    run = Path(json.loads((tmp_path / "d" / "run.json").read_text())["run"])
    os.kill(killed.pid, signal.SIGKILL)
    await killed.communicate()

    async def all_dead() -> bool:
        return marked_processes(run) == set()

    await until(all_dead, "the kernel ended the daemons of the killed command")
    (tmp_path / "d" / "slurm.json").unlink()
    again = await _command(tmp_path / "d", users)
    assert not run.exists()
    description = json.loads((tmp_path / "d" / "slurm.json").read_text())
    assert description["cluster"] == "delta"
    assert description["users"] == ["alice"]
    assert "SLURM_CONF" in description["environment"]
    again.terminate()
    output, _ = await asyncio.wait_for(again.communicate(), 30)
    assert again.returncode == 0
    assert b"cluster delta serves 512 CPUs to 1 users" in output
    assert not (tmp_path / "d" / "slurm.json").exists()


def test_a_users_file_has_names_and_comments() -> None:
    assert read_users("alice\n# nobody\n\n bob  # the second\n") == ["alice", "bob"]


def test_a_folder_without_programs_says_what_is_missing(tmp_path: Path) -> None:
    assert "slurmctld" in Programs(tmp_path).missing()
    with pytest.raises(SlurmUnavailable, match="sacctmgr is missing"):
        Programs(tmp_path).path("sacctmgr")


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not found" in str(why_not(tmp_path))


@pytest.mark.parametrize("users", [[], ["alice", "x:y"], ["a\nb"], [f"u{number}" for number in range(1001)]])
def test_users_that_cannot_be_had_are_refused(users: list[str]) -> None:
    with pytest.raises(SlurmUnavailable):
        user_ids(users)


def test_users_get_numbers_that_nobody_has() -> None:
    ids = user_ids(["alice", "bob", "alice"])
    assert list(ids) == ["alice", "bob"]
    assert not set(ids.values()) & {entry.pw_uid for entry in pwd.getpwall()}

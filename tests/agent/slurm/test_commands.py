"""Commands that hang, fail or answer half: unknown until read back, never taken for nothing."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from bursar_agent.schedulers.base import AccountChange, Outcome, SchedulerError, SchedulerUnavailable
from bursar_agent.schedulers.slurm import PLUGIN
from bursar_agent.schedulers.slurm.commands import ALLOWED, Commands
from bursar_agent.schedulers.slurm.scheduler import SlurmScheduler
from bursar_agent.schedulers.slurm.settings import SlurmSettings
from bursar_domain.wire import ClusterSettings
from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import OPEN, OpenAccount, new, settings_of, until

Faulty = Callable[..., SlurmScheduler]


@pytest.fixture
def faulty(slurm: Slurm, tmp_path: Path) -> Faulty:
    """The plug-in over real commands, one of them replaced by a script (`$REAL` is the real one)."""

    def make(program: str, script: str, **changes: object) -> SlurmScheduler:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name in ALLOWED - {program}:
            (folder / name).symlink_to(slurm.bin / name)
        path = folder / program
        path.write_text(f"#!/bin/sh\nREAL={slurm.bin / program}\nHERE={tmp_path}\n{script}\n")
        path.chmod(0o755)
        return PLUGIN.connect(settings_of(slurm, bin=folder, **changes), tmp_path)

    return make


async def test_a_write_that_hangs_after_it_took_effect_is_proven_by_the_read_back(
    faulty: Faulty, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(10)
    hanging = faulty("sacctmgr", '"$REAL" "$@"; case "$1" in -i) sleep 600;; esac', write_timeout_seconds=2)
    assert await hanging.apply(cluster, [AccountChange(account, limits={"cpu": 11})]) == [Outcome(account, done=True)]


async def test_a_write_that_hangs_without_effect_is_not_done_and_its_processes_are_gone(
    faulty: Faulty, cluster: ClusterSettings, open_account: OpenAccount, tmp_path: Path
) -> None:
    account = await open_account(10)
    script = 'case "$1" in -i) sleep 600 & echo $! > "$HERE/child"; wait;; *) exec "$REAL" "$@";; esac'
    hanging = faulty("sacctmgr", script, write_timeout_seconds=0.5, settle_seconds=0.2)
    (outcome,) = await hanging.apply(cluster, [AccountChange(account, limits={"cpu": 11})])
    assert not outcome.done
    assert "limit of cpu is 10, not 11" in outcome.error
    assert "took over 0.5 s and was ended" in outcome.error
    child = int((tmp_path / "child").read_text())

    async def gone() -> bool:
        stat = Path(f"/proc/{child}/stat")
        return not stat.exists() or ") Z " in stat.read_text()

    await until(gone, "the child of the hanging command is ended")


async def test_after_a_time_out_nothing_more_is_written(
    faulty: Faulty, cluster: ClusterSettings, open_account: OpenAccount, fresh_name: Callable[[], str], tmp_path: Path
) -> None:
    await open_account()
    script = 'case "$1" in -i) echo "$@" >> "$HERE/writes"; sleep 600;; *) exec "$REAL" "$@";; esac'
    hanging = faulty("sacctmgr", script, write_timeout_seconds=0.5, settle_seconds=0)
    (outcome,) = await hanging.apply(cluster, [new(fresh_name(), {"cpu": 5, **OPEN}, "alice")])
    assert "the account is not there" in outcome.error
    assert len((tmp_path / "writes").read_text().splitlines()) == 1


async def test_success_that_slurm_does_not_show_is_not_believed(
    faulty: Faulty, cluster: ClusterSettings, open_account: OpenAccount
) -> None:
    account = await open_account(10)
    lying = faulty("sacctmgr", 'case "$1" in -i) exit 0;; *) exec "$REAL" "$@";; esac', settle_seconds=0.2)
    (outcome,) = await lying.apply(cluster, [AccountChange(account, limits={"cpu": 12}, held=True)])
    assert not outcome.done


async def test_failure_that_took_effect_is_done(faulty: Faulty, cluster: ClusterSettings, open_account: OpenAccount) -> None:
    account = await open_account(10)
    lying = faulty("sacctmgr", '"$REAL" "$@"; code=$?; case "$1" in -i) exit 1;; *) exit $code;; esac')
    assert await lying.apply(cluster, [AccountChange(account, limits={"cpu": 12})]) == [Outcome(account, done=True)]


@pytest.mark.parametrize("script", ["exit 0", "exit 1", "sleep 600", "echo 'no|such|answer'", "echo 'alpha|root||||'; exit 1"])
@pytest.mark.parametrize("program", ["sacctmgr", "sshare"])
async def test_half_an_answer_is_no_observation(faulty: Faulty, cluster: ClusterSettings, program: str, script: str) -> None:
    with pytest.raises(SchedulerUnavailable):
        await faulty(program, script, read_timeout_seconds=0.5).observe(cluster)


@pytest.mark.parametrize("program", ["sacct", "sdiag", "squeue"])
async def test_records_that_cannot_be_read_are_never_zero(faulty: Faulty, program: str) -> None:
    with pytest.raises(SchedulerUnavailable, match="slurmdbd is away"):
        await faulty(program, "echo slurmdbd is away >&2; exit 1").usage(int(time.time()) - 60)


async def test_a_queue_to_slurmdbd_leaves_the_watermark_unknown(faulty: Faulty) -> None:
    behind = faulty("sdiag", 'echo "sdiag output at now (1700000000)"; echo "DBD Agent queue size: 7"')
    assert (await behind.usage(int(time.time()) - 60)).watermark is None


async def test_users_are_not_guessed_when_getent_fails(
    slurm: Slurm, cluster: ClusterSettings, tmp_path: Path, fresh_name: Callable[[], str]
) -> None:
    broken = PLUGIN.connect(settings_of(slurm, getent="/bin/false"), tmp_path)
    with pytest.raises(SchedulerUnavailable, match="getent"):
        await broken.apply(cluster, [new(fresh_name(), {"cpu": 5}, "alice")])


async def test_a_missing_program_says_which_setting_to_mend(cluster: ClusterSettings, tmp_path: Path) -> None:
    with pytest.raises(SchedulerUnavailable, match="set `bin`"):
        await PLUGIN.connect(SlurmSettings(bin=tmp_path), tmp_path).observe(cluster)


def test_only_known_programs_run_and_only_by_absolute_path() -> None:
    with pytest.raises(SchedulerError, match="not a command"):
        Commands(SlurmSettings()).argv("rm", ["-rf"])
    with pytest.raises(ValidationError, match="not absolute"):
        SlurmSettings(bin=Path("bin"))


async def test_nothing_of_our_environment_reaches_a_command(
    faulty: Faulty, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    await faulty("sdiag", 'env > "$HERE/env"; exec "$REAL"').usage(int(time.time()) - 60)
    names = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert "SECRET_OF_OURS" in os.environ
    assert "SECRET_OF_OURS" not in names
    assert {"LC_ALL", "TZ", "SLURM_TIME_FORMAT", "SLURM_CONF"} <= names

"""A throw-away Slurm with a clock of its own: weeks pass at once, and jobs go on."""

from pathlib import Path

import pytest

from bursar_agent.schedulers.slurm.readiness import controller_time
from bursar_local.slurm import Slurm, clock_at
from bursar_local.slurm.clock import Clock, why_no_clock, without
from bursar_testing.slurm import need_slurm
from bursar_testing.slurm_accounts import until_job

pytestmark = pytest.mark.slurm

START = 1_770_000_000
WEEKS = 3 * 7 * 86_400
NEVER_DOWN = {"SlurmdTimeout": "0", "SlurmctldTimeout": "300"}


async def test_weeks_pass_at_once(tmp_path: Path) -> None:
    await need_slurm()
    if reason := why_no_clock():
        pytest.skip(f"no clock for a throw-away Slurm: {reason}")
    clock = await clock_at(START, tmp_path)
    slurm = await Slurm.start(
        tmp_path / "s",
        cluster="delta",
        users=["alice"],
        overrides=NEVER_DOWN,
        partition_overrides={"MaxTime": "UNLIMITED"},
        clock=clock,
    )
    try:
        await slurm.run("sacctmgr", "-i", "add", "account", "name=a", "cluster=delta")
        await slurm.run("sacctmgr", "-i", "add", "user", "name=alice", "account=a", "cluster=delta")
        first = await slurm.submit("a", "alice", cpus=4, minutes=60 * 24 * 28, command="unset LD_PRELOAD; sleep 600")
        await until_job(slurm, first, "RUNNING")
        clock.put_forward(START + WEEKS)
        assert START + WEEKS <= (controller_time(await slurm.run("sdiag")) or 0) < START + WEEKS + 86_400
        second = await slurm.submit("a", "alice")
        await until_job(slurm, second, "COMPLETED")
        assert (await slurm.job(first))[0] == "RUNNING"
    finally:
        await slurm.stop()


def test_it_never_goes_back(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock", Path("/lib/libfaketimeMT.so.1"), START)
    clock.put_forward(START + WEEKS)
    clock.put_forward(START)
    assert clock.now() >= START + WEEKS


def test_a_program_may_keep_the_time_of_the_machine(tmp_path: Path) -> None:
    clock = Clock(tmp_path / "clock", Path("/lib/libfaketimeMT.so.1"), START)
    with_clock = {"PATH": "/bin", **clock.variables("/lib/libnss_wrapper.so")}
    assert with_clock["LD_PRELOAD"] == "/lib/libnss_wrapper.so:/lib/libfaketimeMT.so.1"
    kept = without(with_clock)
    assert kept["LD_PRELOAD"] == "/lib/libnss_wrapper.so"
    assert not any(name.startswith("FAKETIME") for name in kept)

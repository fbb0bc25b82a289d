"""The agent's tasks over a real gateway: away and back, refused states, two agents with one key, enrolment."""

import shutil
import stat
import time
from pathlib import Path

import pytest

from bursar_agent import identity
from bursar_agent.enrolment import EnrolmentRefused
from bursar_agent.files import DamagedFile
from bursar_domain.keys import Signer
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, enrol_with, running_agent, soon
from bursar_testing.agentstack import Stack, running_stack
from bursar_testing.waiting import eventually

HOUR = 3600


async def acknowledged(stack: Stack, cluster: str, uid: str, revision: int) -> bool:
    return (await stack.ledger.acknowledgements(cluster)).get(uid) == revision


async def test_away_and_back(tmp_path: Path) -> None:
    """The gateway goes: limits and books go on, nothing is lost; it comes back: use and acknowledgements arrive."""
    (tmp_path / "gateway").mkdir()
    (tmp_path / "agent").mkdir(mode=0o700)
    async with running_stack(tmp_path / "gateway") as stack:
        yesterday = int(time.time()) - 24 * HOUR  # use of the future is refused
        settings = agent_settings(stack, "away", tmp_path / "agent", {"ends_at": yesterday})
        await stack.publish(cluster_settings("away"), {"aa": account("aa", allocation("x", 10), members=("ann",))})
        await enrol(stack, settings)
        async with running_agent(settings) as (_, scheduler):
            await soon(lambda: acknowledged(stack, "away", "x", 1), "the first revision is acknowledged")
            await stack.stop()
            scheduler.submit("ann", "aa", HOUR, {"cpu": 9})
            scheduler.advance(scheduler.machine.now + 2 * HOUR)
            job = scheduler.machine.finished[0]
            scheduler.submit("ann", "aa", 2 * HOUR, {"cpu": 1})
            assert scheduler.machine.pending == 1
            await stack.publish(cluster_settings("away"), {"aa": account("aa", allocation("x", 20, 2), members=("ann",))})
            await stack.serve()
            await soon(lambda: acknowledged(stack, "away", "x", 2), "the second revision is acknowledged")
            assert scheduler.machine.running == 1

            async def is_booked() -> bool:
                return (await stack.ledger.totals("away")).get("aa", {}).get("cpu", 0) >= 9 * job.job.seconds

            await soon(is_booked, "use arrives")


async def test_a_restart_without_a_gateway_goes_on_with_the_last_state(tmp_path: Path) -> None:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "agent").mkdir(mode=0o700)
    async with running_stack(tmp_path / "gateway") as stack:
        settings = agent_settings(stack, "alone", tmp_path / "agent", {})
        await stack.publish(cluster_settings("alone"), {"aa": account("aa", allocation("x", 10), members=("ann",))})
        await enrol(stack, settings)
        async with running_agent(settings):
            await soon(lambda: acknowledged(stack, "alone", "x", 1), "the first revision is acknowledged")
        await stack.stop()
        async with running_agent(settings) as (_, scheduler):
            scheduler.machine.accounts["aa"].limits["cpu"] = 10**6  # somebody edits the limit
            await eventually(lambda: scheduler.machine.accounts["aa"].limits["cpu"] == 600, "the limit is put back")


async def test_a_state_of_another_key_or_an_older_one_changes_nothing(stack: Stack, tmp_path: Path) -> None:
    settings = agent_settings(stack, "strict", tmp_path, {})
    cluster = cluster_settings("strict")
    await stack.publish(cluster, {"aa": account("aa", allocation("x", 10))})
    await enrol(stack, settings)
    async with running_agent(settings) as (agent, scheduler):
        await soon(lambda: acknowledged(stack, "strict", "x", 1), "the first revision is acknowledged")
        right, stack.signer = stack.signer, Signer.generate()
        await stack.publish(cluster, {"aa": account("aa", allocation("x", 99, 2))})
        stack.signer = right
        cycles = agent.cycles.clocks.monotonic()
        await eventually(lambda: agent.cycles.clocks.monotonic() > cycles + 0.5, "some cycles pass")
        assert scheduler.machine.accounts["aa"].limits["cpu"] == 600
        assert agent.state is not None
        assert agent.state.generation == 1
        await stack.publish(cluster, {"aa": account("aa", allocation("x", 50, 3))})
        await soon(lambda: acknowledged(stack, "strict", "x", 3), "a right one is taken")
        assert scheduler.machine.accounts["aa"].limits["cpu"] == 3000


async def test_a_released_brake_reaches_the_agent_without_a_new_generation(stack: Stack, tmp_path: Path) -> None:
    settings = agent_settings(stack, "brake", tmp_path, {})
    cluster = cluster_settings("brake")
    names = [f"p{number}" for number in range(4)]
    await stack.publish(cluster, {name: account(name, allocation(f"b-{name}", 100)) for name in names})
    await enrol(stack, settings)
    async with running_agent(settings) as (_, scheduler):
        await soon(lambda: acknowledged(stack, "brake", "b-p3", 1), "the first revisions are acknowledged")
        shrunk = {name: account(name, allocation(f"b-{name}", 1, 2)) for name in names}
        await stack.publish(cluster, shrunk)

        async def is_engaged() -> bool:
            brake = (await stack.ledger.agents())["brake"].brake
            return brake is not None and brake.generation == 2

        await soon(is_engaged, "the brake is reported")
        assert scheduler.machine.accounts["p0"].limits["cpu"] == 6000
        assert not await acknowledged(stack, "brake", "b-p0", 2)
        stack.acknowledged = 2
        try:
            assert await stack.publish(cluster, shrunk) == 2
        finally:
            stack.acknowledged = 0
        await soon(lambda: acknowledged(stack, "brake", "b-p0", 2), "the brake is released")
        assert scheduler.machine.accounts["p0"].limits["cpu"] == 60


async def test_the_younger_of_two_agents_with_one_key_writes_nothing(stack: Stack, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir(mode=0o700)
    settings = agent_settings(stack, "twins", first, {})
    await stack.publish(cluster_settings("twins"), {"aa": account("aa", allocation("twin", 10))})
    await enrol(stack, settings)
    async with running_agent(settings):
        await soon(lambda: acknowledged(stack, "twins", "twin", 1), "the first agent works")
        shutil.copytree(first, second, ignore=shutil.ignore_patterns("simulator*", "journal*"))
        async with running_agent(agent_settings(stack, "twins", second, {})) as (younger, scheduler):
            await eventually(lambda: younger.is_fenced, "the second agent is told")
            assert scheduler.machine.accounts == {}


async def test_enrolment_makes_a_private_key_and_pins_only_when_accepted(stack: Stack, tmp_path: Path) -> None:
    settings = agent_settings(stack, "fresh", tmp_path, {})
    with pytest.raises(identity.NotEnrolled, match="bursar clusters enrol"):
        identity.load(tmp_path, "fresh")
    await enrol(stack, settings)
    key = tmp_path / "agent-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert identity.load(tmp_path, "fresh").signer.public_key in stack.keys["fresh"]
    with pytest.raises(identity.NotEnrolled, match="enrolled for cluster fresh"):
        identity.load(tmp_path, "other")
    key.chmod(0o644)
    with pytest.raises(DamagedFile, match="chmod 600"):
        identity.load(tmp_path, "fresh")


async def test_a_wrong_token_is_refused_and_nothing_is_pinned(stack: Stack, tmp_path: Path) -> None:
    settings = agent_settings(stack, "thief", tmp_path, {})
    with pytest.raises(EnrolmentRefused, match="is for cluster other"):
        await enrol_with(stack, settings, stack.token("other"), decide=False)
    with pytest.raises(EnrolmentRefused, match="not an enrolment token"):
        await enrol_with(stack, settings, "bursar1.thief", decide=False)
    forged = stack.token("thief").replace("s" * 43, "t" * 43)
    with pytest.raises(EnrolmentRefused, match="the MAC does not hold"):
        await enrol_with(stack, settings, forged, decide=True)
    with pytest.raises(identity.NotEnrolled):
        identity.load(tmp_path, "thief")

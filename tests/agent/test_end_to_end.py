"""Enrol, desired, enforced on the simulator, use booked: over a real gateway and a real ledger."""

import gzip
import time
from collections import Counter
from pathlib import Path

import pytest

from bursar_agent import swf
from bursar_agent.schedulers.simulator.settings import read_users
from bursar_domain.wire import AccountEntry
from bursar_testing.agents import account, agent_settings, allocation, cluster_settings, enrol, hold_at, running_agent, soon
from bursar_testing.agentstack import Stack
from bursar_testing.waiting import eventually

EXAMPLES = Path(__file__).resolve().parents[2] / "manifests" / "examples"
LOG, USERS = EXAMPLES / "data" / "nasa-ipsc-1993.swf.gz", EXAMPLES / "users.csv"
GENEROUS, SCARCE = 100_000, 7_000
LAST_YEAR = int(time.time()) - 365 * 24 * 3600  # what waits runs after the end of the log, and use of the future is refused


def expected() -> Counter[str]:
    """Processor seconds per account, summed over the log's text with nothing of ours but the table of users."""
    users = read_users(USERS)
    found: Counter[str] = Counter()
    with gzip.open(LOG, "rt") as stream:
        for line in stream:
            if not line.startswith(";") and line.strip():
                parts = line.split()
                found[users[parts[11]][1]] += int(parts[3]) * int(parts[4])
    return found


def entries(hours: dict[str, int], revision: int = 1) -> dict[str, AccountEntry]:
    """One account per project of the table."""
    members: dict[str, list[str]] = {}
    for user, name in read_users(USERS).values():
        members.setdefault(name, []).append(user)
    return {
        name: account(
            name,
            allocation(f"uid-{name}", hours.get(name, GENEROUS), revision, thresholds=(hold_at(101),)),
            members=tuple(users),
        )
        for name, users in members.items()
    }


async def test_a_whole_log_is_enforced_and_booked_to_the_second(stack: Stack, tmp_path: Path) -> None:
    """The exhausted account's next job waits, a top-up lets it start, and in the end the ledger equals the log."""
    cluster = cluster_settings("ipsc")
    await stack.publish(cluster, entries({"combustion": SCARCE}))
    simulator = {"log": str(LOG), "users_table": str(USERS), "speed": 0, "step_seconds": 400_000, "ends_at": LAST_YEAR}
    settings = agent_settings(stack, "ipsc", tmp_path, simulator)
    await enrol(stack, settings)
    async with running_agent(settings) as (_, scheduler):
        await eventually(lambda: scheduler.machine.coming == 0 and scheduler.machine.running == 0, "the log runs to its end")
        waiting = list(scheduler.machine.waiting())
        assert {job.account for job, _ in waiting} == {"combustion"}
        assert waiting[0][1] == "AssocGrpCPUMinutesLimit"
        await stack.publish(cluster, entries({}, revision=2))
        await eventually(lambda: scheduler.machine.pending == 0 and scheduler.machine.running == 0, "the waiting jobs run")
        assert len(scheduler.machine.finished) == sum(1 for _ in swf.read(LOG, swf.Log()))

        async def is_booked() -> bool:
            totals = await stack.ledger.totals("ipsc")
            return {name: use["cpu"] for name, use in totals.items()} == expected()

        await soon(is_booked, "the ledger equals the log")

        async def is_acknowledged() -> bool:
            return await stack.ledger.acknowledgements("ipsc") == {f"uid-{name}": 2 for name in entries({})}

        await soon(is_acknowledged, "the agent says what it read back")
    states = await stack.ledger.account_states("ipsc")
    assert {state.state for state in states.values()} == {"Enforced"}
    assert states["combustion"].enforcement == "None"


@pytest.mark.parametrize("percent", [50])
async def test_a_restart_loses_nothing_and_changes_nothing(stack: Stack, tmp_path: Path, percent: int) -> None:
    """Books, limits and the simulated machine are the same after a restart in the middle."""
    cluster = cluster_settings("again")
    await stack.publish(cluster, entries({}))
    simulator = {"log": str(LOG), "users_table": str(USERS), "speed": 0, "step_seconds": 400_000, "ends_at": LAST_YEAR}
    settings = agent_settings(stack, "again", tmp_path, simulator)
    await enrol(stack, settings)
    jobs = sum(1 for _ in swf.read(LOG, swf.Log()))
    async with running_agent(settings) as (_, scheduler):
        await eventually(lambda: len(scheduler.machine.finished) * 100 > jobs * percent, "half of the log ran")
    # Counted once the agent has ended: it may have written in its last cycle.
    applied = (tmp_path / "simulator.jsonl").read_bytes().count(b'"apply"')
    async with running_agent(settings) as (agent, scheduler):
        await eventually(lambda: scheduler.machine.coming + scheduler.machine.running == 0, "the rest runs")

        async def is_booked() -> bool:
            totals = await stack.ledger.totals("again")
            return {name: use["cpu"] for name, use in totals.items()} == expected()

        await soon(is_booked, "the ledger equals the log")
        assert agent.state is not None
        lines = (tmp_path / "simulator.jsonl").read_bytes()
        assert b'"limits":{"cpu"' not in b"".join(lines.splitlines(keepends=True)[applied + 1 :])

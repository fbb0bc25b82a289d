"""`bursar-agent attest`: what it reads at the scheduler, what it refuses to say, and that the agent keeps its word."""

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from typer.testing import CliRunner

from bursar_agent import attest, files, plugins, qosnames
from bursar_agent.__main__ import app
from bursar_agent.attest import Claim, NotAttested
from bursar_agent.promises import Promises
from bursar_agent.schedulers.base import AccountChange, AccountView, Observation, QosView, Reading, UsageRead
from bursar_agent.schedulers.simulator import SimulatedScheduler
from bursar_agent.settings import AgentSettings
from bursar_agent.verify import DesiredState
from bursar_domain import release
from bursar_domain.release import SignedStatement
from bursar_domain.wire import AccountEntry, ClusterSettings
from bursar_testing import attesthost
from bursar_testing.agents import account, allocation, cluster_settings

HOUR = 3600
START = 470_000 * HOUR
UID = "u-1"


class Host:
    """A scheduler's host with an enrolled agent that does not run, and what it heard last."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = AgentSettings.model_validate(
            {
                "cluster": "c",
                "gateway": "https://127.0.0.1:1",
                "state_directory": directory,
                "scheduler": "simulator",
                "scheduler_settings": {"ends_at": START, "speed": 0},
            }
        )
        self.key = attesthost.enrol(self.settings)
        self.hears(account("a", allocation(UID, 10, revision=1)))

    def hears(self, *entries: AccountEntry, **fields: Any) -> DesiredState:
        """A desired state is fetched and kept."""
        return attesthost.hears(self.settings, cluster_settings("c", **fields), *entries)

    @property
    def cluster(self) -> ClusterSettings:
        return cluster_settings("c")

    async def has(self, minutes: int, jobs: int = 0, *, seconds: int = 0) -> None:
        """The account has a limit, and ran jobs of one cpu of an hour each; then some time passed."""
        scheduler = plugins.connect(self.settings)
        assert isinstance(scheduler, SimulatedScheduler)
        root = AccountChange("bursar", create=True, description="bursar:root", parent="root", limits={"cpu": -1})
        made = AccountChange(
            "a", create=True, description="bursar:a", parent="bursar", limits={"cpu": minutes}, add_members=frozenset({"u"})
        )
        assert all(item.done for item in await scheduler.apply(self.cluster, [root, made]))
        for _ in range(jobs):
            scheduler.submit("u", "a", HOUR, {"cpu": 1})
        if seconds:
            scheduler.advance(scheduler.machine.now + seconds)
        await scheduler.close()

    async def attest(self, revision: int = 2, **fields: Any) -> SignedStatement:
        claim = Claim("a", UID, revision, START, **fields)
        return await attest.attest(self.settings, claim, wall=lambda: 1_000_000.0)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path / "state")


async def test_a_limit_that_was_reached_is_stated_with_what_was_used(host: Host) -> None:
    await host.has(60, jobs=1, seconds=2 * HOUR)
    signed = await host.attest()
    said = signed.statement
    assert (said.cluster, said.account, said.uid, said.revision, said.issued_at) == ("c", "a", UID, 2, 1_000_000)
    assert said.found == "Account"
    assert said.limits["cpu"].limit == said.limits["cpu"].counter == 60
    assert said.used == {"cpu": HOUR}
    assert signed.public_key == host.key.public_key
    assert release.is_signed(signed)


async def test_an_account_that_is_not_there_is_gone(host: Host) -> None:
    await host.has(60)
    scheduler = plugins.connect(host.settings)
    assert isinstance(scheduler, SimulatedScheduler)
    signed = await attest.attest(host.settings, Claim("b", UID, 2, START))
    assert signed.statement.found == "Gone"
    assert signed.statement.limits == {}


@pytest.mark.parametrize(
    ("minutes", "jobs", "words"),
    [
        (120, 1, "account a may use 60 more minutes of cpu (limit 120, used 60)"),
        (-1, 0, "account a has no limit on cpu"),
    ],
)
async def test_room_that_is_left_is_said_with_what_closes_it(host: Host, minutes: int, jobs: int, words: str) -> None:
    await host.has(minutes, jobs=jobs, seconds=2 * HOUR)
    with pytest.raises(NotAttested) as caught:
        await host.attest()
    assert words in str(caught.value)
    assert f"GrpTRESMins=cpu={max(1, 60 * jobs)}" in str(caught.value)
    assert not (host.directory / "released.json").exists()


async def test_jobs_that_run_stand_against_it(host: Host) -> None:
    await host.has(60, jobs=1, seconds=HOUR // 2)
    with pytest.raises(NotAttested, match="may use 30 more minutes of cpu"):
        await host.attest()


async def test_what_the_allocation_never_had_need_not_be_closed(host: Host) -> None:
    memory = {"name": "memory", "trackable": "mem", "capacity": 1}
    resources = [*(item.model_dump() for item in host.cluster.resources), memory]
    host.hears(account("a", allocation(UID, 10)), resources=resources)
    await host.has(60, jobs=1, seconds=2 * HOUR)
    assert (await host.attest()).statement.limits["memory"].limit is None
    with pytest.raises(NotAttested, match="no limit on memory"):
        await host.attest(resources=("cpu", "memory"))


QOS = qosnames.name("c", "a", UID)
OTHER = qosnames.name("c", "a", "u-2")


@pytest.mark.parametrize(
    ("listed", "own_qos", "found"),
    [
        ((QOS, OTHER), frozenset(), "Qos"),
        ((QOS, "normal"), frozenset(), "Account"),
        ((), frozenset(), "Account"),
        ((QOS,), frozenset({"u"}), "Account"),
    ],
    ids=["confined", "another-too", "inherited", "a-member-has-others"],
)
def test_an_allocations_own_qos_counts_where_jobs_can_have_no_other(
    host: Host, listed: tuple[str, ...], own_qos: frozenset[str], found: str
) -> None:
    cluster = host.cluster.model_copy(update={"limit_mode": "QOS"})
    view = AccountView("a", True, qos_list=listed, own_qos=own_qos, readings={"cpu": Reading(limit=None, counter=9)})
    qoses = {QOS: QosView(QOS, {"cpu": Reading(limit=5, counter=5)}), OTHER: QosView(OTHER, {"cpu": Reading(limit=50)})}
    said = attest.seen_limits(cluster, Observation(0, {"a": view}, qoses=qoses), view, UID)
    assert said["found"] == found
    assert said["limits"]["cpu"].is_closed is (found == "Qos")
    gone = attest.seen_limits(cluster, Observation(0, {"a": view}, qoses={}), view, UID)
    assert gone["found"] == "Account"


def seen(
    host: Host, listed: tuple[str, ...], account: Reading, own: Reading
) -> tuple[ClusterSettings, Observation, AccountView]:
    """An account and its allocation's own QOS as the scheduler has them."""
    cluster = host.cluster.model_copy(update={"limit_mode": "QOS"})
    view = AccountView("a", True, qos_list=listed, readings={"cpu": account})
    return cluster, Observation(0, {"a": view}, qoses={QOS: QosView(QOS, {"cpu": own})}), view


@pytest.mark.parametrize(
    ("account", "own", "is_closed"),
    [
        (Reading(5, counter=5), Reading(50, counter=9), False),
        (Reading(5, counter=5), Reading(None), False),
        (Reading(5, counter=5), Reading(9, counter=9, running=3), False),
        (Reading(50, counter=5), Reading(9, counter=9), False),
        (Reading(None), Reading(9, counter=9), False),
        (Reading(5, counter=5), Reading(9, counter=9), True),
    ],
)
def test_where_jobs_may_have_its_qos_and_others_both_have_to_be_closed(
    host: Host, account: Reading, own: Reading, is_closed: bool
) -> None:
    found = attest.seen_limits(*seen(host, (QOS, "normal"), account, own), UID)
    assert found["found"] == "Account"
    assert (found["limits"]["cpu"].is_closed and not found["limits"]["cpu"].running) is is_closed


@pytest.mark.parametrize("listed", [(QOS, OTHER), (QOS, "normal"), ()], ids=["confined", "another-too", "inherited"])
@pytest.mark.parametrize("account", [Reading(50, counter=7), Reading(None)])
def test_after_what_it_names_was_done_it_can_be_stated(host: Host, listed: tuple[str, ...], account: Reading) -> None:
    own = Reading(50, counter=9)
    cluster, observation, view = seen(host, listed, account, own)
    change = attest.closing(cluster, observation, view, UID, ["cpu"])
    (qos,) = change.qoses
    assert (qos.name, qos.limits, qos.run_minutes) == (QOS, {"cpu": 9}, {"cpu": 1})
    assert change.limits == ({} if OTHER in listed else {"cpu": max(1, account.counter)})
    done = seen(
        host, listed, replace(account, limit=change.limits.get("cpu", account.limit)), replace(own, limit=qos.limits["cpu"])
    )
    assert attest.seen_limits(*done, UID)["limits"]["cpu"].is_closed


async def test_another_clusters_commands_are_noticed(host: Host) -> None:
    with pytest.raises(NotAttested, match="neither account a nor the root account bursar"):
        await host.attest()


@pytest.mark.parametrize("behind", [None, 1, HOUR])
async def test_a_job_that_ended_without_a_record_yet_stands_against_it(
    host: Host, behind: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.has(60, jobs=1, seconds=2 * HOUR)
    whole = SimulatedScheduler.usage

    async def usage(scheduler: SimulatedScheduler, since: int, until: int | None = None) -> UsageRead:
        found = await whole(scheduler, since, until)
        return replace(found, watermark=None if behind is None else found.time - behind)

    monkeypatch.setattr(SimulatedScheduler, "usage", usage)
    with pytest.raises(NotAttested, match="job records are not complete yet; try again in a minute"):
        await host.attest()
    assert not (host.directory / "released.json").exists()


async def test_nobody_knows_what_is_ours_before_a_desired_state(host: Host) -> None:
    (host.directory / "desired.json").unlink()
    with pytest.raises(NotAttested, match="no desired state was ever fetched"):
        await host.attest()


async def test_what_was_stated_gone_is_not_given_back_by_an_older_state(host: Host) -> None:
    older = account("a", allocation(UID, 10, revision=1), allocation("u-2", 5))
    state = host.hears(older)
    await host.has(60, jobs=1, seconds=2 * HOUR)
    assert Promises(host.directory).kept(state) is state
    await host.attest()

    promises = Promises(host.directory)
    kept = promises.kept(state)
    by_uid = {item.uid: item for item in kept.entries["a"].allocations}
    assert by_uid[UID].granted == {"cpu": 0}
    assert by_uid[UID].closed_from is not None
    assert by_uid["u-2"] == older.allocations[1]
    assert kept.digests["a"] == kept.entries["a"].digest() != state.digests["a"]
    assert promises.kept(state) is kept
    newer = host.hears(account("a", allocation(UID, 20, revision=3)))
    assert promises.kept(newer) is newer


def _run(host: Host, tmp_path: Path, *more: str) -> tuple[int, str, str]:
    values: Mapping[str, Any] = host.settings.model_dump(mode="json", exclude_none=True)
    config = tmp_path / "agent.yaml"
    config.write_text(json.dumps(values))
    words = ["attest", "a", UID, "2", "--config", str(config), "--used-since", str(START), *more]
    try:
        result = CliRunner().invoke(app, words, env={name: "" for name in os.environ if name.startswith("BURSAR_")})
    finally:
        structlog.reset_defaults()  # the command logs to a stream that ends with it
    return result.exit_code, result.stdout, result.stderr


async def test_the_command_prints_one_that_can_be_read_again(host: Host, tmp_path: Path) -> None:
    await host.has(60, jobs=1, seconds=2 * HOUR)
    code, out, err = await asyncio.to_thread(_run, host, tmp_path)
    assert code == 0, err
    assert release.is_signed(SignedStatement.parse(out))


async def test_an_agent_that_runs_states_nothing(host: Host, tmp_path: Path) -> None:
    await host.has(60)
    with files.locked(host.directory):
        code, out, err = await asyncio.to_thread(_run, host, tmp_path)
    assert (code, out) == (1, "")
    assert "another agent works with this state directory; stop it first" in err

"""Parts die by `kill -9` and come back: nothing right is changed, no grant is lost or doubled, every second is booked."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml

from bursar_client.connection import tls
from bursar_domain.keys import Signer
from bursar_kube.resources import CLUSTERS
from bursar_local.demo.agents import AGENT
from bursar_local.files import private_directory
from bursar_local.process import Command, Process
from bursar_testing import agents as entries
from bursar_testing import manifests as make
from bursar_testing.agentcalls import AgentCaller
from bursar_testing.agentstack import running_stack
from bursar_testing.fullstack import Agent, Obj, Site, applied, condition, fresh, hours, limit_in_force, status_of, until
from bursar_testing.ownstack import OwnStack, own_stack

GRANTED = 100
MACHINE: Obj = {"processors": 64, "speed": 300}


@dataclass
class Crew:
    """A stack of its own, a cluster with an agent, a project with 100 hours there and a greedy one with a single hour."""

    stack: OwnStack
    cluster: str
    project: str
    greedy: str
    pool: str
    agent: Agent
    seconds: int = 0

    @property
    def site(self) -> Site:
        """What people do."""
        return self.stack.site

    def submit(self, cpus: int, seconds: int) -> None:
        """Hand a job to the simulated scheduler, and keep count of what has to be booked."""
        self._hand_in(self.project, cpus, seconds)
        self.seconds += cpus * seconds

    def submit_too_much(self) -> None:
        """A job of the greedy project that its hour can't hold."""
        self._hand_in(self.greedy, 8, 3600)

    def _hand_in(self, account: str, cpus: int, seconds: int) -> None:
        job = {"user": "alice", "account": account, "cpu": cpus, "seconds": seconds}
        with (self.agent.state / "submit.jsonl").open("a") as file:
            file.write(json.dumps(job) + "\n")

    async def until_booked(self) -> None:
        """Wait until the books hold exactly what ran."""
        wanted = {(self.project,): self.seconds}

        async def booked() -> bool:
            return await self.site.booked(self.cluster) == wanted

        await until(booked, f"the books are {wanted}")

    async def allocate(self, name: str, amount: int) -> None:
        """Another allocation of the project."""
        await self.site.apply(make.allocation(self.project, name, self.pool, amount, self.cluster))


@pytest.fixture(scope="module")
async def crew(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Crew]:
    folder = tmp_path_factory.mktemp("crew")
    async with own_stack(tmp_path_factory.mktemp("own"), folder) as stack:
        site, cluster, pool = stack.site, fresh("res"), fresh("pool")
        keep, greedy = fresh("keep"), fresh("greedy")
        projects = {keep: GRANTED, greedy: 1}
        owned = (make.project(name, "alice") for name in projects)
        await site.apply(make.cluster(cluster), make.pool(pool, cluster, 1000), *owned)
        for name in projects:
            await site.until_project(name)
        await site.apply(*(make.allocation(name, "main", pool, amount, cluster) for name, amount in projects.items()))
        agent = await site.start_agent(cluster, "simulator", MACHINE)
        crew = Crew(stack, cluster, keep, greedy, pool, agent)
        for name in projects:
            await site.until_allocation(name, "main", "Enforced")
        yield crew
        await crew.agent.process.stop()


async def test_operator_killed_amid_grants_loses_and_doubles_none(crew: Crew) -> None:
    site, names, pool = crew.site, [f"s{number}" for number in range(12)], fresh("tight")
    project = fresh("storm")
    await site.apply(make.project(project, "bob"), make.pool(pool, crew.cluster, 100))
    await site.until_project(project)
    await crew.stack.kill("operator")
    # With nobody to charge the pool each of these fits; together they do not.
    await site.apply(*(make.allocation(project, name, pool, 10, crew.cluster) for name in names))
    await crew.stack.start("operator")

    async def granted() -> list[str]:
        found = [await site.allocation(project, name) for name in names]
        return [item["metadata"]["name"] for item in found if condition(item, "Granted")[0] == "True"]

    await until(granted, "the first is granted")
    await crew.stack.kill("operator")
    await crew.stack.start("operator")

    async def decided() -> bool:
        found = [await site.allocation(project, name) for name in names]
        return all(condition(item, "Granted")[0] in {"True", "False"} for item in found) and len(await granted()) == 10

    await until(decided, "ten of twelve are granted")
    await until(lambda: quiet(site, pool), "nothing is under way in the pool")
    found = [await site.allocation(project, name) for name in names]
    assert sorted(hours(item, "charged") for item in found) == [0, 0, *[10] * 10]
    assert hours(await site.pool(pool), "granted") == 100
    refused = next(item for item in found if condition(item, "Granted")[0] == "False")
    assert condition(refused, "Granted")[1] == "QuotaExceeded"

    async def enforced() -> bool:
        return limit_in_force(crew.agent, project) == 100 * 60

    await until(enforced, "the scheduler has the hours of all ten")
    assert limit_in_force(crew.agent, crew.project) == GRANTED * 60
    assert len(applied(crew.agent, crew.project)) == 1, "what was right was written once"


async def quiet(site: Site, pool: str) -> bool:
    """Whether no operation is open in a pool."""
    return not (await site.pool(pool))["status"].get("intents")


async def test_gateway_away_the_limit_holds_and_use_is_sent_later(crew: Crew) -> None:
    site = crew.site
    await crew.stack.kill("gateway")
    crew.submit(4, 900)
    crew.submit_too_much()

    async def refused() -> bool:
        refusals = [(item["account"], item["reason"]) for item in status_of(crew.agent)["refused"]]
        return refusals == [(crew.greedy, "AssocGrpCPUMinutesLimit")]

    await until(refused, "the job that its budget can't hold waits")
    await crew.allocate("later", 5)
    await site.until_allocation(crew.project, "later", "Granted")

    async def finished() -> bool:
        return bool(status_of(crew.agent)["finished"] == 1)

    await until(finished, "the job that fits ran to its end")
    seen = await site.until_allocation(crew.project, "later", "Enforced", "False")
    assert condition(seen, "Enforced")[1] == "Enforcing"
    assert crew.agent.process.return_code is None
    await crew.stack.start("gateway")
    await site.until_allocation(crew.project, "later", "Enforced")
    await crew.until_booked()


async def test_agent_killed_amid_a_job_books_every_second_and_writes_nothing_anew(crew: Crew) -> None:
    crew.submit(8, 3000)

    async def runs() -> bool:
        return bool(status_of(crew.agent)["running"] == 1)

    await until(runs, "the job runs")
    writes = len([change for change in applied(crew.agent, crew.project) if change["limits"]])
    crew.agent.process.kill()
    await asyncio.wait_for(crew.agent.process.wait(), 10)
    crew.agent = await crew.site.start_again(crew.agent)

    async def finished() -> bool:
        return bool(status_of(crew.agent)["finished"] == 2)

    await until(finished, "the job ran to its end")
    await crew.until_booked()
    assert len([change for change in applied(crew.agent, crew.project) if change["limits"]]) == writes
    seen = await crew.site.until_allocation(crew.project, "main", "Enforced")
    assert hours(seen, "granted") == GRANTED


async def test_webhook_away_refuses_changes_and_stops_nothing_else(crew: Crew) -> None:
    site = crew.site
    await crew.stack.kill("webhooks")
    said = await site.refused(make.allocation(crew.project, "unchecked", crew.pool, 1, crew.cluster))
    assert 'failed calling webhook "validate.bursar.dev"' in said
    ran = await site.delete("alloc", "later", f"project-{crew.project}")
    assert ran.code == 0, ran.said
    crew.submit(2, 300)
    await crew.until_booked()
    await crew.stack.start("webhooks")

    async def accepted() -> bool:
        text = yaml.safe_dump(make.allocation(crew.project, "checked", crew.pool, 1, crew.cluster))
        return (await site.kubectl("apply", "-f", "-", stdin=text)).code == 0

    await until(accepted, "the webhook decides again")
    await site.until_allocation(crew.project, "checked", "Enforced")


async def test_all_of_ours_killed_at_once(crew: Crew) -> None:
    site = crew.site
    before = {name: hours(await site.pool(name), "granted") for name in (crew.pool,)}
    revision = (await site.allocation(crew.project, "main"))["status"]["grantRevision"]
    changes = len(applied(crew.agent, crew.project))
    crew.agent.process.kill()
    await crew.stack.kill("operator", "gateway", "webhooks")
    await asyncio.wait_for(crew.agent.process.wait(), 10)
    # What lies in the scheduler holds: nobody of ours is there to take it away.
    assert len(applied(crew.agent, crew.project)) == changes
    crew.agent = await site.start_again(crew.agent)
    crew.submit(1, 600)
    await crew.stack.start("operator", "gateway", "webhooks")
    await crew.until_booked()
    seen = await site.until_allocation(crew.project, "main", "Enforced")
    assert seen["status"]["grantRevision"] == revision
    assert {crew.pool: hours(await site.pool(crew.pool), "granted")} == before
    limits = [change for change in applied(crew.agent, crew.project)[changes:] if change["limits"]]
    assert limits == []


async def test_a_token_is_used_once(crew: Crew, tmp_path: Path) -> None:
    site = crew.site
    token = await site.token(crew.cluster)
    for number, code in ((1, 0), (2, 1)):
        config = elsewhere(crew.agent, private_directory(tmp_path / f"host{number}"))
        ran = await site.run(*AGENT, "enrol", "--config", str(config), "--token", token)
        assert ran.code == code, ran.said
    assert "the token was used already" in ran.err
    assert "bursar clusters enrol" in ran.err
    assert not (tmp_path / "host2" / "state" / "pinned.json").exists()
    assert await site.agent_key_count(crew.cluster) == 2


def elsewhere(agent: Agent, home: Path, **changes: object) -> Path:
    """The agent's settings for another host: a state directory of its own, and what is given."""
    known = yaml.safe_load((agent.state.parent / "agent.yaml").read_text())
    state = private_directory(home / "state")
    path = home / "agent.yaml"
    path.write_text(yaml.safe_dump({**known, "state_directory": str(state), **changes}))
    return path


async def copied(agent: Agent, home: Path, **changes: object) -> Agent:
    """A second agent with the same key and state; started."""
    config = elsewhere(agent, private_directory(home), **changes)
    shutil.copytree(agent.state, home / "state", dirs_exist_ok=True)
    command = Command(f"copy-{agent.cluster}", (*AGENT, "run", "--config", str(config)))
    return Agent(agent.cluster, await Process.start(command, home), home / "state")


async def said_by(agent: Agent, words: str) -> None:
    """Wait until the agent's log has the words."""

    async def look() -> bool:
        return words in agent.process.log.read_text()

    await until(look, f"the agent says {words!r}")


async def test_the_younger_of_two_agents_with_one_key_is_fenced(crew: Crew, tmp_path: Path) -> None:
    twin = await copied(crew.agent, tmp_path / "twin")
    try:
        await said_by(twin, "Nothing is written until this session is let in")
        before = len(applied(twin, crew.project))
        await crew.allocate("while-two", 3)
        await crew.site.until_allocation(crew.project, "while-two", "Enforced")
        assert len(applied(twin, crew.project)) == before
        assert (limit_in_force(crew.agent, crew.project) or 0) > (limit_in_force(twin, crew.project) or 0)
    finally:
        await twin.process.stop()
    crew.submit(2, 300)
    await crew.until_booked()


async def test_a_forged_desired_state_changes_nothing(crew: Crew, tmp_path: Path) -> None:
    """A gateway that was taken over serves a state of its own making, over TLS that the agent trusts."""
    await crew.agent.process.stop()
    key = Signer((crew.agent.state / "agent-key").read_bytes()).public_key
    generation = json.loads((crew.agent.state / "desired.json").read_text())["root"]["root"]["generation"]
    async with running_stack(tmp_path) as evil:
        evil.keys[crew.cluster] = [key]
        evil.epoch = 1_000_000
        settings = entries.cluster_settings(crew.cluster)
        for amount in range(generation + 2):
            generous = entries.account(crew.project, entries.allocation("forged", 50_000 + amount, revision=amount + 1))
            await evil.publish(settings, {crew.project: generous})
        fooled = await copied(crew.agent, tmp_path / "fooled", gateway=evil.address, gateway_ca=str(evil.authority))
        try:
            await said_by(fooled, "signed with another key than the one pinned at enrolment")
            assert limit_in_force(fooled, crew.project) == limit_in_force(crew.agent, crew.project)
            assert fooled.process.return_code is None
            assert "forged" not in (fooled.state / "desired.json").read_text()
        finally:
            await fooled.process.stop()
    crew.agent = await crew.site.start_again(crew.agent)


async def test_a_revoked_key_opens_nothing_any_more(crew: Crew) -> None:
    site = crew.site
    signer = Signer((crew.agent.state / "agent-key").read_bytes())
    found = await site.kube.get(CLUSTERS, crew.cluster)
    left = [item for item in found["status"]["agent"]["keys"] if item["key"] != signer.public_key]
    async with httpx.AsyncClient(base_url=site.endpoints.gateway, verify=tls(site.endpoints.ca)) as client:
        caller = AgentCaller(client, crew.cluster, session="somebody", signer=signer)

        async def code() -> int:
            return (await caller.call("GET", "desired?after=0&wait=0")).status_code

        assert await code() != 401
        patch = json.dumps({"status": {"agent": {"keys": left}}})
        ran = await site.kubectl(
            *("patch", "cl", crew.cluster, "--type=merge", "--subresource=status", "-p", patch), user="erin"
        )
        assert ran.code == 0, ran.said

        async def refused() -> bool:
            return await code() == 401

        await until(refused, "the key is refused")
    await said_by(crew.agent, "the gateway answers 401")
    limit = limit_in_force(crew.agent, crew.project)
    await crew.allocate("too-late", 2)
    seen = await site.until_allocation(crew.project, "too-late", "Enforced", "False")
    assert condition(seen, "Granted")[0] == "True"
    assert limit_in_force(crew.agent, crew.project) == limit

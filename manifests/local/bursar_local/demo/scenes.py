"""The story, scene by scene. Each scene does what a person would do and says what came of it."""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from bursar_client import BursarClient
from bursar_local.demo import jobs
from bursar_local.demo.agents import Agent
from bursar_local.demo.kube import Kubectl
from bursar_local.demo.screen import ClusterView, Screen
from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError
from bursar_local.files import share
from bursar_local.slurm import Slurm

Obj = dict[str, Any]
SCARCE = "combustion"
TOP_UP_HOURS = {"ipsc": 14000, "alpha": 5}
PATIENCE_SECONDS = 420


@dataclass(slots=True)
class Stage:
    """What every scene may use."""

    endpoints: Endpoints
    directory: Path
    kubectl: Kubectl
    client: BursarClient
    screen: Screen
    slurm: Slurm | None
    agents: dict[str, Agent] = field(default_factory=dict)
    refusals: list[Obj] = field(default_factory=list)
    topped_up: dict[str, int] = field(default_factory=dict)
    restarted: set[str] = field(default_factory=set)
    submitted: dict[int, jobs.Job] = field(default_factory=dict)
    enforcement: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def clusters(self) -> tuple[str, ...]:
        """Their names."""
        return ("ipsc", "alpha")


def example(name: str) -> Path:
    """A file of `manifests/examples`."""
    return share("examples") / name


async def declare(stage: Stage) -> None:
    """Clusters, projects, pools, members, allocations: `kubectl apply`, and the grants."""
    say = stage.screen.say
    say("kubectl apply: two clusters, nine projects", "step")
    await _apply_clusters(stage)
    await stage.kubectl.apply(example("20-projects.yaml"))
    projects = await stage.kubectl.wait("Ready", "projects.bursar.dev")
    say(f"{len(projects)} projects have a namespace, an owner and a scheduler account each", "good")
    say("kubectl apply: a pool tree, 69 members, 14 allocations", "step")
    for name in ("30-pools.yaml", "40-members.yaml", "50-allocations.yaml"):
        await stage.kubectl.apply(example(name))
    granted = await stage.kubectl.wait("Granted", "allocations.bursar.dev", namespaces=True)
    say(f"{len(granted)} allocations granted, each backed by a charge in its pool and the pool above", "good")
    for pool in await stage.kubectl.get("quotapools.bursar.dev"):
        held, limit = pool["status"]["granted"][0]["hours"], pool["spec"]["resources"][0]["hours"]
        say(f"  pool {pool['metadata']['name']}: {held:,} of {limit:,} cpu hours granted")


async def _apply_clusters(stage: Stage) -> None:
    """As they stand in the file; where no Slurm can run, alpha is a simulator too, and the screen says so."""
    if stage.slurm is not None:
        await stage.kubectl.apply(example("10-clusters.yaml"))
        return
    documents = list(yaml.safe_load_all(example("10-clusters.yaml").read_text()))
    for document in documents:
        document["spec"]["scheduler"]["type"] = "simulator"
    code, text = await stage.kubectl.apply_text(yaml.safe_dump_all(documents))
    if code:
        raise LocalStackError(text)


async def over_large(stage: Stage) -> None:
    """A request that the pool can't hold is refused at `kubectl apply`, with the whole reason."""
    manifest = _allocation("cfd", "ipsc", "too-much", "ipsc-engineering", 40_000)
    stage.screen.say("kubectl apply: another 40,000 cpu hours for cfd on ipsc", "step")
    code, text = await stage.kubectl.apply_text(manifest)
    if code == 0 or "has 16,000 of 110,000 cpu hours left" not in text:
        raise LocalStackError(f"the over-large request should have been refused with its reason; kubectl said: {text}")
    reason = " ".join(text.rpartition("denied the request: ")[2].split())
    stage.refusals.append({"cluster": "ipsc", "kind": "OverLargeRequest", "message": reason})
    stage.screen.say(f"refused: {reason}", "bad")


def _allocation(project: str, cluster: str, name: str, pool: str, hours: int) -> str:
    document = next(
        d
        for d in yaml.safe_load_all(example("50-allocations.yaml").read_text())
        if d["metadata"] == {"name": cluster, "namespace": f"project-{project}"}
    )
    document["metadata"]["name"] = name
    document["spec"]["poolRef"]["name"] = pool
    document["spec"]["resources"] = [{"name": "cpu", "hours": hours}]
    for key in ("start", "end"):
        document["spec"]["period"][key] = document["spec"]["period"][key].strftime("%Y-%m-%dT%H:%M:%SZ")
    return yaml.safe_dump(document)


async def change_hours(stage: Stage, project: str, cluster: str, hours: int) -> None:
    """`kubectl apply` with other hours."""
    pool = {"alpha": "alpha-shared"}.get(cluster) or (
        "ipsc-science" if project in {"lattice-qcd", "climate", "materials", "combustion"} else "ipsc-engineering"
    )
    code, text = await stage.kubectl.apply_text(_allocation(project, cluster, cluster, pool, hours))
    if code:
        raise LocalStackError(text)


async def run_jobs(stage: Stage) -> None:
    """Both schedulers work; the exhausted project waits, is topped up, and goes on."""
    if stage.slurm is not None:
        wanted = {"cfd": 6, "lattice-qcd": 6, "systems": 6, "structures": 4, SCARCE: 3}
        planned = jobs.slice_of(example("data/nasa-ipsc-1993.swf.gz"), example("users.csv"), wanted, SCARCE)
        stage.submitted = await jobs.submit_all(stage.slurm, planned)
        stage.screen.say(f"{len(stage.submitted)} jobs of the log, scaled, are submitted to the real Slurm", "step")
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        await refresh(stage)
        finished = [await _look_at_simulator(stage), await _look_at_slurm(stage)]
        if all(finished):
            return
        if time.monotonic() > deadline:
            raise LocalStackError(
                f"the jobs are not through after {PATIENCE_SECONDS} s; see the logs in {stage.directory / 'logs'}"
            )
        for agent in stage.agents.values():
            if agent.process.return_code is not None:
                raise agent.process.death()
        await asyncio.sleep(0.4)


async def refresh(stage: Stage) -> None:
    """Balances and limits on the screen, threshold crossings as events."""
    for cluster in stage.clusters:
        view = stage.screen.clusters.setdefault(cluster, ClusterView(cluster, cluster))
        view.rows = await stage.client.balances(cluster=cluster)
        accounts = (await stage.client.request("GET", f"/api/v1/clusters/{cluster}/accounts"))["items"]
        view.limits = {a["account"]: a["limits"] for a in accounts}
        for row in view.rows:
            _tell_threshold(stage, cluster, row)
    stage.screen.draw()


def _tell_threshold(stage: Stage, cluster: str, row: Obj) -> None:
    key = (cluster, row["project"])
    before, now = stage.enforcement.get(key, "None"), row["enforcement"]
    stage.enforcement[key] = now
    if now == before:
        return
    who = f"threshold crossed: {row['project']} on {cluster}"
    told = {
        "None": (f"{who} is below again, {before} is undone", "good"),
        "Notify": (f"{who}, {row['usedPercent']} % used: {now}", "bad"),
        "Hold": (f"{who} is all but used up: Hold - no new job starts, running ones finish", "bad"),
    }
    stage.screen.say(*told.get(now, (f"{who}: {now}", "bad")))


async def _look_at_simulator(stage: Stage) -> bool:
    status = stage.agents["ipsc"].state / "status.json"
    if not status.exists():
        return False
    found = json.loads(status.read_text())
    day = time.strftime("%Y-%m-%d", time.gmtime(found["time"]))
    stage.screen.clusters[
        "ipsc"
    ].line = f"{day}   {found['finished']:,} jobs done, {found['running']} running, {found['pending']} waiting"
    waiting = [entry for entry in found["refused"] if entry["account"] == SCARCE]
    if waiting and "ipsc" not in stage.topped_up:
        told = f"job {waiting[0]['job']} of {SCARCE} does not start on ipsc: {waiting[0]['reason']}"
        await _top_up(stage, "ipsc", told, waiting[0])
    elif "ipsc" in stage.topped_up and all(entry["job"] != stage.topped_up["ipsc"] for entry in waiting):
        _tell_start(stage, "ipsc")
    return bool(found["done"])


async def _look_at_slurm(stage: Stage) -> bool:
    if stage.slurm is None:
        return True
    rows = await jobs.queue(stage.slurm)
    states = [state for _, state, _ in rows]
    done, running, waiting = len(stage.submitted) - len(rows), states.count("RUNNING"), states.count("PENDING")
    stage.screen.clusters["alpha"].line = f"{done} real jobs done, {running} running, {waiting} waiting"
    for number, _, reason in rows:
        if reason == jobs.PENDING_REASON and stage.submitted[number].account == SCARCE and "alpha" not in stage.topped_up:
            told = f"Slurm holds job {number} of {SCARCE} on alpha: {reason}"
            await _top_up(stage, "alpha", told, {"job": number, "account": SCARCE, "reason": reason})
    pending = {number for number, state, _ in rows if state == "PENDING"}
    if "alpha" in stage.topped_up and stage.topped_up["alpha"] not in pending:
        _tell_start(stage, "alpha")
    return not rows


def _tell_start(stage: Stage, cluster: str) -> None:
    if cluster not in stage.restarted:
        stage.restarted.add(cluster)
        stage.screen.say(f"job {stage.topped_up[cluster]} of {SCARCE} starts on {cluster}", "good")


async def _top_up(stage: Stage, cluster: str, told: str, refusal: Obj) -> None:
    stage.screen.say(told, "bad")
    stage.refusals.append({"cluster": cluster, "kind": "JobNotStarted", **refusal})
    hours = TOP_UP_HOURS[cluster]
    stage.screen.say(f"kubectl apply: {SCARCE} on {cluster} is raised to {hours:,} cpu hours", "step")
    await change_hours(stage, SCARCE, cluster, hours)
    stage.topped_up[cluster] = refusal["job"]

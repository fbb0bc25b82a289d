"""Deletions that hang, with a real operator: told once overdue, let go by a statement that holds and by no other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

import httpx
import pytest

from bursar_client.cli import release as command
from bursar_crds.conditions import find_condition
from bursar_crds.names import RELEASE_STATEMENT
from bursar_domain.keys import Signer
from bursar_domain.release import ReleaseStatement, SeenLimit, SignedStatement, sign
from bursar_kube.client import Obj
from bursar_kube.errors import Conflict, NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, EVENTS, PROJECTS, QUOTAPOOLS
from bursar_testing import manifests
from bursar_testing.operatorprocess import OperatorProcess, Stack
from bursar_testing.wires import hello

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
CLUSTER, PROJECT, POOL = "hanging", "stranded", "hanging-pool"
NAMESPACE = f"project-{PROJECT}"
AGENT = Signer(bytes(31) + b"a")
START = 1_767_225_600  # of the manifests' period
HOUR = 3600


@dataclass
class Site:
    """A cluster whose agent enrolled and is silent, and an operator that is soon impatient."""

    stack: Stack
    eventually: Eventually

    async def deleted(self, name: str) -> Obj:
        """An allocation that was granted and is being deleted; as soon as its grant is taken back."""
        await self.stack.apply(manifests.allocation(PROJECT, name, POOL, 100, CLUSTER))
        await self.eventually(lambda: self.has(name, 100))
        await self.stack.kube.delete(ALLOCATIONS, name, NAMESPACE)
        return dict(await self.eventually(lambda: self.has(name, 0)))

    async def start(self) -> None:
        """The operator, soon impatient."""
        self.stack.operator = await OperatorProcess.start(
            self.stack.kubeconfig,
            self.stack.ledger_file,
            self.stack.folder,
            release_deadline_seconds="1",
            statement_age_seconds="600",
        )

    async def lingering(self, name: str) -> Obj:
        """One that stays when it is released, for somebody else has a finalizer on it."""
        await self.stack.apply(manifests.allocation(PROJECT, name, POOL, 100, CLUSTER))
        granted = await self.eventually(lambda: self.has(name, 100))
        finalizers = [*granted["metadata"]["finalizers"], "example.org/foreign"]
        await self.stack.kube.merge_patch(ALLOCATIONS, name, {"metadata": {"finalizers": finalizers}}, NAMESPACE)
        await self.stack.kube.delete(ALLOCATIONS, name, NAMESPACE)
        return dict(await self.eventually(lambda: self.has(name, 0)))

    async def is_gone(self, name: str) -> bool:
        try:
            await self.stack.kube.get(ALLOCATIONS, name, NAMESPACE)
        except NotFound:
            return True
        return False

    async def has(self, name: str, hours: int) -> Obj | None:
        found = await self.stack.kube.get(ALLOCATIONS, name, NAMESPACE)
        granted = (found.get("status") or {}).get("granted") or [{"hours": -1}]
        return found if granted[0]["hours"] == hours else None

    async def ready(self, name: str, reason: str) -> str:
        """The message of Ready once it has this reason."""

        async def says() -> str | None:
            found = await self.stack.kube.get(ALLOCATIONS, name, NAMESPACE)
            ready = find_condition((found.get("status") or {}).get("conditions"), "Ready")
            return str(ready["message"]) if ready is not None and ready["reason"] == reason else None

        return str(await self.eventually(says))

    async def event(self, uid: str, reason: str, words: str = "", namespace: str = NAMESPACE) -> Obj:
        """The Event of that reason on the object."""

        async def told() -> Obj | None:
            for item in await self.stack.kube.list(EVENTS, namespace):
                if item["regarding"].get("uid") == uid and item["reason"] == reason and words in item["note"]:
                    return item
            return None

        return dict(await self.eventually(told))

    async def state(self, name: str, signed: SignedStatement | str) -> None:
        """Put a statement on the allocation."""
        text = signed if isinstance(signed, str) else signed.canonical().decode()
        patch = {"metadata": {"annotations": {RELEASE_STATEMENT: text}}}
        await self.stack.kube.merge_patch(ALLOCATIONS, name, patch, NAMESPACE)

    async def pool(self) -> Obj:
        return await self.stack.kube.get(QUOTAPOOLS, POOL)


@pytest.fixture(scope="module")
async def site(stack: Stack, eventually: Eventually) -> AsyncIterator[Site]:
    await stack.operator.stop()
    found_site = Site(stack, eventually)
    await found_site.start()
    await stack.apply(manifests.cluster(CLUSTER), manifests.project(PROJECT, "alice"), manifests.pool(POOL, CLUSTER, 10_000))
    await stack.ledger.record_hello(CLUSTER, hello(), int(time()) - 3600)
    for _ in range(20):
        found = await stack.kube.get(CLUSTERS, CLUSTER)
        status = dict(found.get("status") or {})
        status["agent"] = {**(status.get("agent") or {}), "keys": [{"key": AGENT.public_key}]}
        try:
            await stack.kube.replace_status(CLUSTERS, found | {"status": status})
            break
        except Conflict:  # the operator wrote in between
            found = await stack.kube.get(CLUSTERS, CLUSTER)
    yield found_site
    await stack.operator.stop()
    await stack.restart()


async def metrics(site: Site) -> str:
    """What the operator tells Prometheus."""
    async with httpx.AsyncClient() as client:
        return (await client.get(f"{site.stack.operator.url}/metrics")).text


async def overdue(site: Site) -> float:
    """Allocations whose deletion hangs, as the metric counts them; other tests may have left some."""
    return float((await metrics(site)).partition('bursar_operator_overdue_deletions{kind="Allocation"} ')[2].partition("\n")[0])


def statement(obj: Obj, **fields: Any) -> ReleaseStatement:
    """One that counts for the allocation, unless told otherwise."""
    return ReleaseStatement.model_validate(
        {
            "cluster": CLUSTER,
            "account": PROJECT,
            "uid": obj["metadata"]["uid"],
            "revision": obj["status"]["grantRevision"],
            "issued_at": int(time()),
            "scheduler": "slurm hanging",
            "found": "Account",
            "limits": {"cpu": SeenLimit(limit=180, counter=180)},
            "used_since": START,
            "used": {"cpu": 2 * HOUR + 1},
        }
        | fields
    )


async def test_an_overdue_deletion_says_since_when_whose_agent_is_silent_and_the_way_out(site: Site) -> None:
    obj = await site.deleted("hangs")
    uid, revision = obj["metadata"]["uid"], obj["status"]["grantRevision"]
    message = await site.ready("hangs", "ReleaseOverdue")
    assert f"being deleted since {obj['metadata']['deletionTimestamp']}" in message
    assert f"The agent of cluster {CLUSTER} was last heard of at " in message
    assert f"bursar-agent attest {PROJECT} {uid} {revision} --used-since {START} --resource cpu --config FILE" in message
    assert f"bursar allocations release {PROJECT} hangs --statement FILE" in message
    event = await site.event(uid, "ReleaseOverdue")
    assert event["type"] == "Warning"
    assert await overdue(site) >= 1


async def test_nobody_forges_one_behind_a_statement_that_was_taken(site: Site) -> None:
    """The allocation lingers, and whoever may annotate it says something of another allocation."""
    obj = await site.lingering("taken-once")
    uid = obj["metadata"]["uid"]
    good = sign(statement(obj, used={}), AGENT)
    await site.state("taken-once", good)
    await site.event(uid, "StatementTaken")
    forged = good.model_copy(update={"statement": statement(obj, uid="another", used={"cpu": 50 * HOUR})})
    await site.state("taken-once", forged)
    await site.event(uid, "StatementRefused", "(BadSignature)")
    kept = [item.statement.uid for item in await site.stack.ledger.release_statements()]
    assert "another" not in kept
    assert uid in kept

    async def is_released() -> bool:
        found = await site.stack.kube.get(ALLOCATIONS, "taken-once", NAMESPACE)
        return list(found["metadata"]["finalizers"]) == ["example.org/foreign"]

    await site.eventually(is_released)
    await site.stack.kube.merge_patch(ALLOCATIONS, "taken-once", {"metadata": {"finalizers": None}}, NAMESPACE)


async def test_a_revision_that_still_grants_hours_is_not_stated_gone(site: Site) -> None:
    """Deleted, with a statement for what is granted, while no operator is there to take the grant back first."""
    await site.stack.apply(manifests.allocation(PROJECT, "granted", POOL, 100, CLUSTER))
    obj = await site.eventually(lambda: site.has("granted", 100))
    uid, revision = obj["metadata"]["uid"], obj["status"]["grantRevision"]
    await site.stack.operator.stop()
    await site.state("granted", sign(statement(obj, used={}), AGENT))
    await site.stack.kube.delete(ALLOCATIONS, "granted", NAMESPACE)
    await site.start()
    await site.event(uid, "StatementRefused", f"(OtherRevision): it is for revision {revision}, and revision {revision + 1} is")
    assert uid not in await site.stack.ledger.acknowledgements(CLUSTER)
    lowered = await site.eventually(lambda: site.has("granted", 0))
    await site.state("granted", sign(statement(lowered, used={}), AGENT))
    await site.eventually(lambda: site.is_gone("granted"))


async def test_a_project_that_waits_for_it_is_overdue_too(site: Site) -> None:
    await site.stack.kube.delete(PROJECTS, PROJECT)

    async def says() -> str | None:
        found = await site.stack.kube.get(PROJECTS, PROJECT)
        ready = find_condition((found.get("status") or {}).get("conditions"), "Ready")
        return str(ready["message"]) if ready is not None and ready["reason"] == "ReleaseOverdue" else None

    assert "1 allocations have to be taken away at the scheduler first" in await site.eventually(says)
    await site.event((await site.stack.kube.get(PROJECTS, PROJECT))["metadata"]["uid"], "ReleaseOverdue", namespace="default")


async def test_a_statement_that_does_not_hold_is_refused_with_its_reason(site: Site) -> None:
    obj = await site.stack.kube.get(ALLOCATIONS, "hangs", NAMESPACE)
    uid = obj["metadata"]["uid"]
    good = sign(statement(obj), AGENT)
    wrong: dict[str, SignedStatement | str] = {
        "Unreadable": "{}",
        "UntrustedKey": sign(statement(obj), Signer(bytes(31) + b"f")),
        "BadSignature": good.model_copy(update={"statement": statement(obj, found="Gone", limits={})}),
        "OtherCluster": sign(statement(obj, cluster="beta"), AGENT),
        "OtherAllocation": sign(statement(obj, uid="another"), AGENT),
        "OtherAccount": sign(statement(obj, account="another"), AGENT),
        "OtherRevision": sign(statement(obj, revision=obj["status"]["grantRevision"] - 1), AGENT),
        "TooOld": sign(statement(obj, issued_at=int(time()) - 700), AGENT),
        "FromTheFuture": sign(statement(obj, issued_at=int(time()) + 700), AGENT),
        "StillOpen": sign(statement(obj, limits={"cpu": SeenLimit(limit=200, counter=180)}), AGENT),
        "UseUnknown": sign(statement(obj, used_since=START + 1), AGENT),
    }
    for reason, signed in wrong.items():
        await site.state("hangs", signed)
        event = await site.event(uid, "StatementRefused", f"({reason})")
        assert event["type"] == "Warning"
    await site.ready("hangs", "StatementRefused")
    still = await site.stack.kube.get(ALLOCATIONS, "hangs", NAMESPACE)
    assert still["status"]["charged"] == [{"name": "cpu", "hours": 100}]
    assert uid not in await site.stack.ledger.acknowledgements(CLUSTER)
    other = sign(statement(obj, uid="another"), AGENT).canonical().decode()
    with pytest.raises(command.Refused, match="the statement is about another"):
        await command.hand_over(PROJECT, "hangs", other, str(site.stack.kubectl.kubeconfig), 0)


async def test_one_that_holds_lets_it_go_and_what_was_used_stays_spent(site: Site, tmp_path: Path) -> None:
    obj, before = await site.stack.kube.get(ALLOCATIONS, "hangs", NAMESPACE), await overdue(site)
    old = sign(statement(obj, issued_at=int(time()) - 800), AGENT).canonical().decode()
    with pytest.raises(command.Refused, match=r"\(TooOld\): it is 8.. s old, and counts for 600 s; run `bursar-agent attest"):
        await command.hand_over(PROJECT, "hangs", old, str(site.stack.kubectl.kubeconfig), 30)
    text = sign(statement(obj), AGENT).canonical().decode()
    said = await command.hand_over(PROJECT, "hangs", text, str(site.stack.kubectl.kubeconfig), 30)
    assert said == "hangs is released: its hours are back in the pool"
    with pytest.raises(NotFound):
        await site.stack.kube.get(ALLOCATIONS, "hangs", NAMESPACE)

    async def closed() -> bool:
        found = (await site.pool())["status"]
        return not found["intents"] and found["granted"] == found["spent"] == [{"name": "cpu", "hours": 3}]

    await site.eventually(closed)
    assert (await site.stack.ledger.acknowledgements(CLUSTER))[obj["metadata"]["uid"]] == obj["status"]["grantRevision"]
    kept = await site.stack.ledger.release_statements()
    assert kept[-1].statement.uid == obj["metadata"]["uid"]
    assert await overdue(site) == before - 1
    assert 'bursar_operator_release_statements_total{outcome="Taken"} 2.0' in await metrics(site)

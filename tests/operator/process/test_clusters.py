"""Clusters, enrolment, publication and restarts: one operator process, one ledger, an agent played through the ledger."""

import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from bursar_crds.conditions import find_condition
from bursar_domain import keys
from bursar_domain.enrolment import EnrolRequest
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountState, Delta, Hello, Miss, SlotReport, StatusReport, UsageReport, UsageRow
from bursar_kube.client import Obj
from bursar_kube.errors import NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, CONFIGMAPS, MEMBERSHIPS, NAMESPACES, PROJECTS, SECRETS
from bursar_testing import manifests
from bursar_testing.operatorprocess import Stack

Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]
START = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp())


def condition(obj: Obj, type_: str) -> str | None:
    found = find_condition((obj.get("status") or {}).get("conditions"), type_)
    return None if found is None else f"{found['status']}/{found['reason']}"


async def cluster_says(stack: Stack, name: str, type_: str, wanted: str) -> Obj | None:
    found = await stack.kube.get(CLUSTERS, name)
    return found if condition(found, type_) == wanted else None


async def lay_token(stack: Stack, cluster: str, seconds: int = 3600) -> str:
    """What `bursar clusters enrol` does."""
    secret = secrets.token_urlsafe(32)
    expires = str(int(time.time()) + seconds)
    body: Obj = {
        "metadata": {"name": f"bursar-enrol-{cluster}", "namespace": "bursar-system"},
        "data": {"secret": b64encode(secret.encode()).decode(), "expires": b64encode(expires.encode()).decode()},
    }
    await stack.kube.create(SECRETS, body)
    return secret


async def ask(stack: Stack, eventually: Eventually, cluster: str, secret: str, key: str | None = None) -> tuple[str, str]:
    """What the gateway does with an agent's request; the decision and its message."""
    public = key or Signer.generate().public_key
    request = EnrolRequest(cluster=cluster, public_key=public, mac=keys.enrolment_mac(secret, cluster, public))
    identity = await stack.ledger.request_enrolment(request, int(time.time()))

    async def decided() -> tuple[str, str] | None:
        found = await stack.ledger.enrolment(identity)
        assert found is not None
        return (found.state, found.message) if found.state != "Pending" else None

    state, message = await eventually(decided)
    return state, message


def hello(**fields: Any) -> Hello:
    base: dict[str, Any] = {
        "session": "s1",
        "agent_version": "0.1.0",
        "scheduler": "simulator",
        "scheduler_version": "1",
        "clock": int(time.time()),
    }
    return Hello(**(base | fields))


def report(generation: int, **fields: Any) -> StatusReport:
    base: dict[str, Any] = {
        "report_id": secrets.token_hex(8),
        "session": "s1",
        "generation": generation,
        "digest": "x",
        "scheduler_time": int(time.time()),
        "enforced_at": int(time.time()),
    }
    return StatusReport(**(base | fields))


async def granted(stack: Stack, eventually: Eventually, project: str, cluster: str, hours: int = 100) -> Obj:
    """A project with one allocation that is granted."""
    await stack.apply(manifests.project(project, "alice"))

    async def settled() -> bool:
        return bool((await stack.kube.get(PROJECTS, project)).get("status", {}).get("account"))

    await eventually(settled)
    await stack.apply(manifests.pool(f"{cluster}-{project}", cluster, hours * 2))
    await stack.apply(manifests.allocation(project, "main", f"{cluster}-{project}", hours, cluster))

    async def done() -> Obj | None:
        found = await stack.kube.get(ALLOCATIONS, "main", f"project-{project}")
        return found if found.get("status", {}).get("grantRevision") else None

    found: Obj = await eventually(done)
    return found


async def published(stack: Stack, eventually: Eventually, cluster: str, account: str) -> Delta:
    async def there() -> Delta | None:
        delta = await stack.ledger.desired(cluster, 0)
        return delta if delta and any(entry.account == account for entry in delta.entries) else None

    found: Delta = await eventually(there)
    return found


async def test_a_cluster_tells_what_its_agent_says(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("alpha"))
    await eventually(lambda: cluster_says(stack, "alpha", "AgentConnected", "False/AgentNeverEnrolled"))
    miss = Miss(reason="SafeMissing", message="AccountingStorageEnforce lacks safe", remedy="AccountingStorageEnforce=safe")
    await stack.ledger.record_hello("alpha", hello(misses=(miss,)), int(time.time()))
    found = await eventually(lambda: cluster_says(stack, "alpha", "Enforceable", "False/SafeMissing"))
    assert condition(found, "Ready") == "False/SafeMissing"
    assert condition(found, "AgentConnected") == "True/AgentConnected"
    assert found["status"]["agent"]["version"] == "0.1.0"
    assert found["status"]["agent"]["lastSeen"]
    await stack.ledger.record_hello("alpha", hello(), int(time.time()))
    await eventually(lambda: cluster_says(stack, "alpha", "Ready", "True/Ready"))


async def test_a_token_enrols_one_agent_once(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("beta"))
    secret = await lay_token(stack, "beta")
    assert (await ask(stack, eventually, "beta", "not-the-secret"))[0] == "Refused"
    key = Signer.generate().public_key
    assert (await ask(stack, eventually, "beta", secret, key))[0] == "Accepted"
    trusted = (await stack.kube.get(CLUSTERS, "beta"))["status"]["agent"]["keys"]
    assert [item["key"] for item in trusted] == [key]
    with pytest.raises(NotFound):
        await stack.kube.get(SECRETS, "bursar-enrol-beta", "bursar-system")
    state, message = await ask(stack, eventually, "beta", secret)
    assert (state, "used already" in message) == ("Refused", True)
    assert len((await stack.kube.get(CLUSTERS, "beta"))["status"]["agent"]["keys"]) == 1
    async with httpx.AsyncClient() as client:
        metrics = (await client.get(f"{stack.operator.url}/metrics")).text
    assert 'bursar_operator_enrolments_total{cluster="beta",outcome="used"} 1.0' in metrics


async def test_an_expired_token_and_an_unknown_cluster_are_refused(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("late"))
    secret = await lay_token(stack, "late", seconds=-1)
    state, message = await ask(stack, eventually, "late", secret)
    assert (state, "expired" in message) == ("Refused", True)
    assert (await ask(stack, eventually, "nowhere", secret))[0] == "Refused"


async def test_a_grant_is_published_signed_and_complete(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("gamma"))
    allocation = await granted(stack, eventually, "quarks", "gamma")
    await stack.apply(manifests.member("quarks", "bob"), manifests.member("quarks", "vera", "Viewer"))
    delta = await published(stack, eventually, "gamma", "quarks")
    public = await stack.kube.get(CONFIGMAPS, "bursar-signing-key", "bursar-system")
    root = keys.verify(delta.root, public["data"]["fingerprint"])
    assert root.cluster == "gamma"
    assert root.valid_until > time.time() + 30 * 86_400

    async def with_bob() -> Any:
        entry = next(e for e in (await published(stack, eventually, "gamma", "quarks")).entries if e.account == "quarks")
        return entry if "bob" in entry.members else None

    entry = await eventually(with_bob)
    assert entry.members == ("alice", "bob")
    (item,) = entry.allocations
    assert (item.uid, item.granted) == (allocation["metadata"]["uid"], {"cpu": 100})
    assert item.grant_revision == allocation["status"]["grantRevision"]
    (window,) = item.windows
    assert [step.granted for step in window.steps] == [{"cpu": 100 * 3600}]
    assert (window.start, window.end) == (item.start, item.end)
    assert item.start == START


async def test_an_acknowledged_generation_is_signed(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("brakes"))
    await granted(stack, eventually, "slow", "brakes")
    await published(stack, eventually, "brakes", "slow")
    await stack.kubectl("annotate", "cluster", "brakes", "bursar.dev/acknowledged-generation=1")

    async def signed() -> bool:
        delta = await stack.ledger.desired("brakes", 0)
        return delta is not None and delta.root.root.acknowledged == 1

    await eventually(signed)


async def test_status_and_use_come_back(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("delta", capacity=128))
    now = int(time.time())
    await stack.ledger.record_hello("delta", hello(), now)
    allocation = await granted(stack, eventually, "muons", "delta")
    await stack.apply(manifests.member("muons", "ghost"))
    delta = await published(stack, eventually, "delta", "muons")
    uid, revision = allocation["metadata"]["uid"], allocation["status"]["grantRevision"]
    state = AccountState(account="muons", state="Enforced", users_missing=("ghost",))
    told = report(delta.root.root.generation, accounts=(state,), acknowledgements={uid: revision}, revision_times={uid: now})
    await stack.ledger.record_status("delta", told, now)

    async def enforced() -> bool:
        found = await stack.kube.get(ALLOCATIONS, "main", "project-muons")
        return condition(found, "Enforced") == "True/Enforced"

    async def missing() -> bool:
        found = await stack.kube.get(MEMBERSHIPS, "ghost", "project-muons")
        return condition(found, "AccountReady") == "False/UserMissing"

    async def known() -> bool:
        found = await stack.kube.get(MEMBERSHIPS, "alice", "project-muons")
        return condition(found, "AccountReady") == "True/AccountReady"

    await eventually(enforced)
    await eventually(missing)
    await eventually(known)
    hour = now // 3600 * 3600 - 7200
    rows = (UsageRow(user="alice", resource="cpu", allocated=(90_000, 90_000, 90_000, 90_000)),)
    slots = (SlotReport(account="muons", hour=hour, epoch=1, seq=1, rows=rows),)
    await stack.ledger.put_usage("delta", UsageReport(report_id="u1", session="s1", slots=slots, watermark=now), now)

    async def used() -> bool:
        found = await stack.kube.get(ALLOCATIONS, "main", "project-muons")
        figures = [found["status"].get(name) for name in ("used", "available", "usedPercent")]
        wanted = [[{"name": "cpu", "hours": 100}], [{"name": "cpu", "hours": 0}], 100]
        return figures == wanted and condition(found, "Exhausted") == "True/Exhausted"

    async def has_use() -> bool:
        return bool((await stack.kube.get(PROJECTS, "muons"))["status"]["hasUse"])

    await eventually(used)
    await eventually(has_use)


async def test_deleting_a_project_closes_its_account_after_its_allocations(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("epsilon"))
    await granted(stack, eventually, "fading", "epsilon")
    await published(stack, eventually, "epsilon", "fading")
    await stack.kubectl("delete", "project", "fading", "--timeout=28s")
    delta = await stack.ledger.desired("epsilon", 0)
    assert delta is not None
    entry = next(item for item in delta.entries if item.account == "fading")
    assert (entry.closed, entry.members, entry.allocations) == (True, (), ())


async def test_a_cluster_stays_while_something_refers_to_it(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("zeta"), manifests.pool("zeta-pool", "zeta", 10))
    await eventually(lambda: cluster_says(stack, "zeta", "Ready", "False/AgentNeverEnrolled"))
    await stack.kubectl("delete", "cluster", "zeta", "--wait=false")
    found = await eventually(lambda: cluster_says(stack, "zeta", "Ready", "False/Deleting"))
    said = find_condition(found["status"]["conditions"], "Ready")
    assert said is not None
    assert "1 pools refer to this cluster" in said["message"]
    await stack.kubectl("delete", "quotapool", "zeta-pool", "--timeout=25s")
    await stack.kubectl("wait", "--for=delete", "cluster/zeta", "--timeout=25s")


async def test_a_killed_operator_changes_nothing_that_was_right(stack: Stack, eventually: Eventually) -> None:
    await stack.apply(manifests.cluster("eta"))
    await granted(stack, eventually, "steady", "eta")
    await published(stack, eventually, "eta", "steady")

    async def quiet() -> bool:
        before = await everything(stack)
        return before == await everything(stack)

    await eventually(quiet)
    before, generations = await everything(stack), await stack.ledger.desired_generations()
    await stack.operator.kill()
    await stack.restart()
    # Something new, so that the new one has certainly looked at everything it found.
    await stack.apply(manifests.project("newcomer", "alice"))

    async def settled() -> bool:
        return bool((await stack.kube.get(PROJECTS, "newcomer")).get("status", {}).get("account"))

    await eventually(settled)
    after = await everything(stack)
    assert {key: value for key, value in after.items() if key in before} == before
    assert await stack.ledger.desired_generations() == generations

    async def signed_anew() -> bool:
        delta = await stack.ledger.desired("eta", 0)
        return delta is not None and delta.root.root.epoch >= 2

    await eventually(signed_anew)
    assert await stack.ledger.desired_generations() == generations


async def everything(stack: Stack) -> dict[tuple[str, str, str], tuple[Any, Any]]:
    """Spec and status of every object whose status does not follow an agent's clock, in namespaces that stay."""
    found = {}
    namespaces = await stack.kube.list(NAMESPACES)
    leaving = {item["metadata"]["name"] for item in namespaces if "deletionTimestamp" in item["metadata"]}
    for kind in (PROJECTS, MEMBERSHIPS, ALLOCATIONS):
        for item in await stack.kube.list(kind):
            key = (kind.kind, item["metadata"].get("namespace", ""), item["metadata"]["name"])
            if key[1] not in leaving:
                found[key] = (item["spec"], item.get("status"))
    return found


async def test_the_webhook_gets_its_certificate_and_the_configuration_its_authority(
    stack: Stack, eventually: Eventually
) -> None:
    secret = await eventually(lambda: stack.kube.get(SECRETS, "bursar-webhook-tls", "bursar-system"))
    assert set(secret["data"]) == {"ca.crt", "tls.crt", "tls.key"}
    # Last in the file's use of it: with a configuration in place nothing of ours can be written while no webhook runs.
    await stack.kubectl("apply", "-f", "-", input=WEBHOOK)

    async def injected() -> bool:
        answer = await stack.kubectl(
            "get", "validatingwebhookconfiguration", "bursar", "-o", "jsonpath={.webhooks[0].clientConfig.caBundle}"
        )
        return bool(answer.stdout == secret["data"]["ca.crt"])

    await eventually(injected)
    await stack.kubectl("delete", "validatingwebhookconfiguration", "bursar")


WEBHOOK = """
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: bursar}
webhooks:
- name: validate.bursar.dev
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Ignore
  clientConfig: {service: {namespace: bursar-system, name: bursar-webhooks, path: /validate}}
  rules: [{apiGroups: [bursar.dev], apiVersions: [v1alpha1], operations: [CREATE], resources: [nothings]}]
"""

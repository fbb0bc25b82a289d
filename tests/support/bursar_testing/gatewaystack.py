"""The gateway's application in the test's own process: a real API server that trusts a real issuer, a real ledger.

The test plays the operator: it makes objects and their status, and publishes. People ask with tokens of their own.
"""

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import uvicorn
import yaml
from starlette.types import ASGIApp

import bursar_local
from bursar_api.access import Access
from bursar_api.app import create_app
from bursar_api.identity.dev import DevIssuer
from bursar_api.identity.tokens import KeySource, Verifier
from bursar_api.state import Caches, Gateway
from bursar_client.connection import tls
from bursar_crds.names import GROUP
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, ClusterSettings
from bursar_kube import resources
from bursar_kube.client import Kube
from bursar_kube.resources import ResourceType
from bursar_ledger import Ledger
from bursar_local.authentication import AuthenticationIssuer
from bursar_local.certificates import Authority
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.identity import wait_until_accepted
from bursar_local.kubectl import Kubectl
from bursar_local.parts import SYSTEM_NAMESPACE
from bursar_testing import manifests as make
from bursar_testing.agentgateway import Server

Obj = dict[str, Any]
SECRET = "s" * 40
ADMINS, AUDITORS = "bursar-admins", "bursar-auditors"
USERS: Mapping[str, Obj] = {
    "alice": {},
    "bob": {},
    "carol": {},
    "dana": {"groups": ["bursar-allocators"]},
    "erin": {"groups": [ADMINS]},
    "frank": {"groups": [AUDITORS]},
}


@dataclass
class GatewayStack:
    """What runs, and the few things that tests do with it."""

    plane: ControlPlane
    kube: Kube
    ledger: Ledger
    issuer: DevIssuer
    gateway: Gateway
    client: httpx.AsyncClient
    signer: Signer = field(default_factory=Signer.generate)

    async def get(self, path: str, user: str = "erin", /, **parameters: Any) -> httpx.Response:
        """GET as a person."""
        return await self.ask("GET", path, user, params=parameters or None)

    async def ask(self, method: str, path: str, user: str = "erin", **more: Any) -> httpx.Response:
        """Any call as a person."""
        token = self.issuer.token(user, int(time.time()))
        return await self.client.request(method, f"/api/v1/{path}", headers={"Authorization": f"Bearer {token}"}, **more)

    async def items(self, path: str, user: str = "erin", /, **parameters: Any) -> list[Obj]:
        """`items` of an answer that must be good."""
        answer = await self.get(path, user, **parameters)
        assert answer.status_code == 200, answer.text
        found: list[Obj] = answer.json()["items"]
        return found

    async def apply(self, *documents: Obj) -> None:
        """`kubectl apply` as the administrator."""
        await self.plane.kubectl("apply", "-f", "-", input=yaml.safe_dump_all(documents))

    async def project(self, name: str, *members: str) -> None:
        """A project with its namespace, memberships and the rights that come with them."""
        namespace = f"project-{name}"
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "members", "namespace": namespace},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "bursar-project-member"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": f"oidc:{user}"} for user in members],
        }
        place = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
        project = make.project(name, members[0] if members else "nobody")
        await self.apply(place, project, binding, *(make.member(name, user) for user in members))
        await self.seen(resources.PROJECTS, None, name)
        for user in members:
            await self.seen(resources.MEMBERSHIPS, namespace, user)
            await self._may_list(user, namespace)

    async def allocation(self, project: str, name: str, cluster: str, status: Obj | None = None, **spec: Any) -> str:
        """An allocation with a status as the operator would write it; its uid."""
        document = make.allocation(project, name, "pool", 100, cluster)
        document["spec"] |= spec
        await self.apply(document)
        namespace = f"project-{project}"
        stored = await self.kube.get(resources.ALLOCATIONS, name, namespace)
        if status is not None:
            stored = await self.kube.replace_status(resources.ALLOCATIONS, stored | {"status": status})
        version = stored["metadata"]["resourceVersion"]
        await self.seen(resources.ALLOCATIONS, namespace, name, lambda obj: obj["metadata"]["resourceVersion"] == version)
        return str(stored["metadata"]["uid"])

    async def _may_list(self, user: str, namespace: str) -> None:
        """Wait until the API server's authorizer knows the binding: the gateway remembers a no for seconds."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"oidc:{user}",
                "resourceAttributes": {
                    "group": GROUP,
                    "resource": "allocations",
                    "verb": "list",
                    "namespace": namespace,
                },
            },
        }
        for _ in range(600):
            answer = await self.kube.raw("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", review)
            if answer["status"]["allowed"]:
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{user} never came to list allocations of {namespace}")

    async def seen(
        self, kind: ResourceType, namespace: str | None, name: str, wanted: Callable[[Obj], bool] = lambda _: True
    ) -> None:
        """Wait until the gateway's copy has it."""
        copies = {copy.rt.kind: copy for copy in self.gateway.caches.all()}
        found: Obj | None = None
        for _ in range(600):
            found = copies[kind.kind].get(namespace, name)
            if found is not None and wanted(found):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"the gateway never saw {kind.kind} {name}: {json.dumps(found)}")

    async def publish(self, settings: ClusterSettings, entries: Sequence[AccountEntry]) -> None:
        """Publish as the operator does."""
        await self.ledger.publish(
            settings, entries, epoch=1, acknowledged=0, now=int(time.time()), valid_seconds=86_400, sign=self.signer.sign
        )


@contextlib.asynccontextmanager
async def running_gateway(folder: Path, ledger_url: str | None = None) -> AsyncIterator[GatewayStack]:
    """Start, hand out, end."""
    async with contextlib.AsyncExitStack() as stack:
        authority = Authority.load_or_create(folder, "ca")
        issuer = await stack.enter_async_context(_issuer(folder, authority))
        trusted = AuthenticationIssuer(issuer.issuer, authority.certificate_file.read_text())
        plane = await ControlPlane.start(folder / "plane", authentication=trusted)
        stack.push_async_callback(plane.stop)
        await apply_definitions(plane.kubectl, share("crds"))
        await _apply_rights(plane.kubectl)
        await wait_until_accepted(issuer.issuer, authority.certificate_file, plane, "erin", SECRET)
        kube = await Kube.connect(str(plane.kubeconfig))
        stack.push_async_callback(kube.close)
        ledger = await Ledger.connect(ledger_url or f"sqlite:///{folder}/ledger.db")
        stack.push_async_callback(ledger.close)
        caches = Caches.over(kube)
        stack.push_async_callback(caches.stop)
        await caches.start()
        keys = await stack.enter_async_context(httpx.AsyncClient(verify=tls(authority.certificate_file)))
        verifier = Verifier(KeySource(issuer.issuer, keys), issuer=issuer.issuer, audience="bursar", clients=("bursar-cli",))
        gateway = Gateway(kube, caches, ledger, verifier, Access(kube))
        app: ASGIApp = create_app(gateway)
        transport = httpx.ASGITransport(app=app)
        client = await stack.enter_async_context(httpx.AsyncClient(transport=transport, base_url="https://gateway"))
        yield GatewayStack(plane, kube, ledger, issuer, gateway, client)


async def _apply_rights(kubectl: Kubectl) -> None:
    """The roles, and the platform roles for the groups of the development users; nobody plays the webhook here."""
    await kubectl("create", "namespace", SYSTEM_NAMESPACE)
    await kubectl("apply", "--recursive", f"--filename={share('rbac')}")
    bindings = Path(bursar_local.__file__).with_name("dev-bindings.yaml")
    await kubectl("apply", f"--filename={bindings}")


@contextlib.asynccontextmanager
async def _issuer(folder: Path, authority: Authority) -> AsyncIterator[DevIssuer]:
    """The development issuer over TLS."""
    secret, users = folder / "secret", folder / "users.yaml"
    secret.write_text(SECRET)
    users.write_text(yaml.safe_dump(dict(USERS)))
    pair = authority.issue_server("issuer")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        issuer = DevIssuer.load(issuer=url, audience="bursar", secret_file=secret, users_file=users)
        config = uvicorn.Config(
            issuer.app(), log_level="warning", ssl_certfile=str(pair.certificate), ssl_keyfile=str(pair.key)
        )
        server = Server(config)
        task = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            yield issuer
        finally:
            server.should_exit = True
            await task

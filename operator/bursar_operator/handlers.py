"""Kopf: runs the process and its finalizers, and says which Project or Cluster changed. The work is done elsewhere.

Its own writes (finalizers, progress) pass the same gate as ours: once another process may lead, Kopf writes nothing either.
"""

import asyncio
import logging
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp
import kopf
import yaml

from bursar_crds.names import FINALIZER, GROUP, VERSION
from bursar_kube.errors import KubeError
from bursar_kube.guard import Gate, impatient_socket

STORAGE: Final = "bursar"  # `status.bursar`, which the definitions keep whole
AGAIN_SECONDS: Final = 2.0
Obj = dict[str, Any]


class Controller(Protocol):
    """What the handlers of one kind call."""

    def touch(self, name: str) -> None:
        """The object changed."""

    async def release(self, obj: Obj) -> str | None:
        """Take it apart; what it still waits for, None when it may go."""


def registry(
    projects: Controller, clusters: Controller, kubeconfig: Path | None, gate: Gate, agent: str
) -> kopf.OperatorRegistry:
    """Handlers of Project and Cluster, and the login, as `agent` (the User-Agent) whose writes pass the gate."""
    made = kopf.OperatorRegistry()
    for plural, controller in (("projects", projects), ("clusters", clusters)):
        _handle(made, plural, controller)

    @kopf.on.login(registry=made)
    async def login(**kwargs: Any) -> kopf.AiohttpSession | None:
        found = _connection(kubeconfig) if kubeconfig else kopf.login_with_service_account(**kwargs)
        return None if found is None else _session(found, gate, agent)

    return made


def _handle(made: kopf.OperatorRegistry, plural: str, controller: Controller) -> None:
    @kopf.on.event(GROUP, VERSION, plural, registry=made)
    async def changed(name: str | None, **_: Any) -> None:
        if name is not None:
            controller.touch(name)

    @kopf.on.delete(GROUP, VERSION, plural, registry=made)
    async def deleting(body: kopf.Body, **_: Any) -> None:
        try:
            waiting = await controller.release(dict(body))
        except KubeError as error:
            raise kopf.TemporaryError(str(error), delay=AGAIN_SECONDS) from error
        if waiting:
            raise kopf.TemporaryError(waiting, delay=AGAIN_SECONDS)


def operate(made: kopf.OperatorRegistry, ready: asyncio.Event) -> Coroutine[Any, Any, None]:
    """Kopf at work; `ready` is set once it watches."""
    return kopf.operator(registry=made, settings=settings(), standalone=True, clusterwide=True, ready_flag=ready)


def settings() -> kopf.OperatorSettings:
    """Kopf's settings: leadership comes from the Lease, progress is kept in the status, nothing waits for ever."""
    made = kopf.OperatorSettings()
    made.process.ultimate_exiting_timeout = None
    made.peering.standalone = True
    made.scanning.disabled = True
    made.posting.level = logging.WARNING
    made.queueing.worker_limit = None
    made.queueing.idle_timeout = 1.0
    made.queueing.error_delays = (1, 2, 5, 10, 30, 60)
    made.queueing.exit_timeout = 0.2
    made.execution.max_workers = 4
    made.execution.default_backoff = 5
    made.networking.request_timeout = 15
    made.networking.connect_timeout = 5
    made.networking.error_backoffs = (0.2, 0.5, 1, 2, 5)
    made.networking.enforce_retry_after = True
    made.watching.server_timeout = 300
    made.watching.client_timeout = 330
    made.watching.connect_timeout = 5
    made.watching.inactivity_timeout = 70
    made.watching.chunk_size = 500
    made.persistence.consistency_timeout = 10
    made.persistence.finalizer = FINALIZER
    made.persistence.progress_storage = kopf.StatusProgressStorage(name=STORAGE)
    made.persistence.diffbase_storage = kopf.StatusDiffBaseStorage(name=STORAGE)
    return made


def _connection(kubeconfig: Path) -> kopf.ConnectionInfo:
    """The current context of the kubeconfig: a token or a client certificate, as the parts' own kubeconfigs have them."""
    document = yaml.safe_load(kubeconfig.read_text())
    context = _named(document, "contexts", document["current-context"])["context"]
    cluster = _named(document, "clusters", context["cluster"])["cluster"]
    user = _named(document, "users", context["user"])["user"]
    return kopf.ConnectionInfo(
        server=cluster["server"],
        ca_path=cluster.get("certificate-authority"),
        ca_data=cluster.get("certificate-authority-data"),
        insecure=cluster.get("insecure-skip-tls-verify"),
        token=user.get("token"),
        certificate_path=user.get("client-certificate"),
        certificate_data=user.get("client-certificate-data"),
        private_key_path=user.get("client-key"),
        private_key_data=user.get("client-key-data"),
    )


def _session(found: kopf.ConnectionInfo, gate: Gate, agent: str) -> kopf.AiohttpSession:
    """Kopf closes it."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=found.as_ssl_context(), socket_factory=impatient_socket),
        headers={**found.as_http_headers(), "User-Agent": agent},
        trust_env=found.trust_env,
        request_class=gate.request_class,
        middlewares=(gate.pass_through,),
    )
    return kopf.AiohttpSession(aiohttp_session=session, server=found.server, default_namespace=found.default_namespace)


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    found = next((item for item in document.get(section) or () if item["name"] == name), None)
    if found is None:
        raise kopf.PermanentError(f"the kubeconfig has no {section[:-1]} {name}; write it anew")
    return dict(found)

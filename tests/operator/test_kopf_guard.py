"""Kopf's own writes pass the guard: what Kopf sends goes out through the session that the login handler makes."""

import socket
from pathlib import Path

import kopf
import pytest

from bursar_kube.client import Kube
from bursar_kube.errors import NotFound, NotLeading
from bursar_kube.guard import UNACKNOWLEDGED_SECONDS, Gate
from bursar_kube.resources import CLUSTERS, NAMESPACES
from bursar_local.controlplane import ControlPlane
from bursar_operator import handlers
from bursar_testing import manifests


def nobody_leads() -> None:
    raise NotLeading("nobody leads here")


def session(kubeconfig: Path) -> kopf.AiohttpSession:
    return handlers._session(handlers._connection(kubeconfig), Gate(nobody_leads), "test")


@pytest.mark.parametrize("verb", ["post", "patch", "delete"])
async def test_nothing_is_written_and_reads_go_on(controlplane: ControlPlane, verb: str) -> None:
    made = session(controlplane.kubeconfig)
    at = f"{made.server}{CLUSTERS.path(None if verb == 'post' else 'guarded')}"
    body = None if verb == "delete" else manifests.cluster("guarded")
    async with made.aiohttp_session as client:
        with pytest.raises(NotLeading):
            await client.request(verb, at, json=body)
        async with client.get(f"{made.server}{NAMESPACES.path(None)}?watch=true") as answer:
            assert answer.status == 200
            assert answer.connection is not None
            assert answer.connection.transport is not None
            found: socket.socket = answer.connection.transport.get_extra_info("socket")
            assert found.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_SECONDS * 1000
    kube = await Kube.connect(str(controlplane.kubeconfig))
    with pytest.raises(NotFound):
        await kube.get(CLUSTERS, "guarded")
    await kube.close()

"""Runs the gateway: caches, ledger, token check, one or two listeners, until it is told to stop."""

import asyncio
import contextlib
import gc
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import uvicorn
from fastapi import FastAPI

from bursar_api.access import Access
from bursar_api.app import create_app
from bursar_api.identity.dev import DevIssuer
from bursar_api.identity.tokens import KeySource, Verifier
from bursar_api.settings import Settings
from bursar_api.state import Caches, Gateway
from bursar_kube.client import Kube
from bursar_ledger import Ledger

YOUNG_OBJECTS = 20_000


def collect_less() -> None:
    """Look for garbage less often: reports come as thousands of small objects, none of them in a cycle."""
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. The development issuer is up first: the caches need nothing of it, people do."""
    collect_less()
    context = ssl.create_default_context(cafile=str(settings.issuer_ca)) if settings.issuer_ca else ssl.create_default_context()
    async with contextlib.AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(development_issuer(settings))
        client = await stack.enter_async_context(httpx.AsyncClient(verify=context))
        kube = await Kube.connect(str(settings.kubeconfig) if settings.kubeconfig else None)
        stack.push_async_callback(kube.close)
        ledger = await Ledger.connect(settings.ledger_url)
        stack.push_async_callback(ledger.close)
        caches = Caches.over(kube)
        stack.push_async_callback(caches.stop)
        await caches.start()
        source = KeySource(settings.issuer, client)
        verifier = Verifier(source, issuer=settings.issuer, audience=settings.audience, clients=settings.clients)
        gateway = Gateway(kube, caches, ledger, verifier, Access(kube), development=issuer)
        app = create_app(gateway)
        await MainServer(config(app, settings), app.state.agents.drain).serve()


class MainServer(uvicorn.Server):
    """The main listener: when it stops, agents that wait in a long poll are sent away first."""

    def __init__(self, config: uvicorn.Config, drain: Callable[[], None]) -> None:
        super().__init__(config)
        self._drain = drain

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then wait for what is under way."""
        self._drain()
        await super().shutdown(sockets)


def config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """The main listener's configuration, TLS always."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        ssl_certfile=str(settings.tls_certificate),
        ssl_keyfile=str(settings.tls_key),
        access_log=False,
        log_level="warning",
        timeout_graceful_shutdown=3,
        h11_max_incomplete_event_size=64 * 1024,
    )


class SecondServer(uvicorn.Server):
    """A listener beside the main one, which alone handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the process's signal handlers as they are."""
        yield


@contextlib.asynccontextmanager
async def development_issuer(settings: Settings) -> AsyncIterator[bool]:
    """Serve the development issuer on its own port while the block runs; yields whether there is one."""
    if not settings.dev_identity:
        yield False
        return
    files = (settings.dev_identity_secret_file, settings.dev_identity_users_file)
    secret, users = files
    assert secret is not None  # noqa: S101 - the settings say so
    assert users is not None  # noqa: S101 - the settings say so
    issuer = DevIssuer.load(issuer=settings.issuer, audience=settings.audience, secret_file=secret, users_file=users)
    options = uvicorn.Config(
        issuer.app(),
        host="127.0.0.1",
        port=settings.dev_identity_port,
        ssl_certfile=str(settings.dev_identity_certificate),
        ssl_keyfile=str(settings.dev_identity_key),
        access_log=False,
        log_level="warning",
    )
    server = SecondServer(options)
    task = asyncio.create_task(server.serve())
    try:
        yield True
    finally:
        server.should_exit = True
        await task

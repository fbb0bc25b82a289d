"""A TLS server that ends when told to, and names the port that it cannot have."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import uvicorn
from starlette.types import ASGIApp

from bursar_webhooks.settings import BadSetting
from bursar_webhooks.tls import ServingCertificate

# Longer than the 90 s after which the API server drops an idle connection, so that we never drop one under its feet.
KEEP_ALIVE_SECONDS = 120
GRACE_SECONDS = 5


def listen(address: str, port: int) -> socket.socket:
    """The listening socket; BadSetting where it cannot be had."""
    try:
        return socket.create_server((address, port), family=_family(address), backlog=1024)
    except OSError as error:
        raise BadSetting(f"cannot listen on {address} port {port}: {error}; choose another address or port") from error


async def serve(app: ASGIApp, listener: socket.socket, certificate: ServingCertificate, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, then answer what is in flight."""
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        ssl_context_factory=lambda *_: certificate.context,
    )
    server = _Server(config)
    watcher = asyncio.create_task(_stop_when(server, stop))
    try:
        await server.serve(sockets=[listener])
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


class _Server(uvicorn.Server):
    """Signals are the process's, not the server's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _stop_when(server: uvicorn.Server, stop: asyncio.Event) -> None:
    await stop.wait()
    server.should_exit = True


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET

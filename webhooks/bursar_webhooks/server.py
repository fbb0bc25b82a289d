"""A TLS server that names the port that it cannot have, and ends without dropping a question."""

import asyncio
import socket

from aiohttp import web

from bursar_webhooks.settings import BadSetting
from bursar_webhooks.tls import ServingCertificate

# Longer than the 90 s after which the API server drops an idle connection, so that we never drop one under its feet.
KEEP_ALIVE_SECONDS = 120
DRAIN_SECONDS = 1.0
GRACE_SECONDS = 5
BACKLOG = 1024


def listen(address: str, port: int) -> socket.socket:
    """The listening socket; BadSetting where it cannot be had."""
    try:
        return socket.create_server((address, port), family=_family(address), backlog=BACKLOG)
    except OSError as error:
        raise BadSetting(f"cannot listen on {address} port {port}: {error}; choose another address or port") from error


async def serve(app: web.Application, listener: socket.socket, certificate: ServingCertificate, stop: asyncio.Event) -> None:
    """Serve until `stop` is set; then take no new connections, let go of the open ones and answer what is in flight."""

    async def let_go(request: web.Request, response: web.StreamResponse) -> None:
        if stop.is_set():  # said, not just done: a question must not be on its way when the connection closes
            response.headers["Connection"] = "close"
            response.force_close()

    app.on_response_prepare.append(let_go)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=KEEP_ALIVE_SECONDS, shutdown_timeout=GRACE_SECONDS)
    await runner.setup()
    try:
        site = web.SockSite(runner, listener, ssl_context=certificate.context, backlog=BACKLOG)
        await site.start()
        await stop.wait()
        await site.stop()
        await asyncio.sleep(DRAIN_SECONDS)
    finally:
        await runner.cleanup()


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET

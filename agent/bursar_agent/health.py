"""Health, readiness and metrics over plain HTTP on loopback; small, for the agent carries no web framework."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, generate_latest

LONGEST_REQUEST = 8192
PATIENCE_SECONDS = 5.0


class Metrics:
    """What the agent counts of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.generation = self._gauge("generation", "Generation of the desired state in force.")
        self.accounts = self._gauge("accounts", "Accounts in the desired state.")
        self.pending = self._gauge("accounts_pending", "Accounts that are not as desired.")
        self.brake = self._gauge("brake_engaged", "Whether a plan was stopped before its first command.")
        self.unsent = self._gauge("usage_slots_unsent", "Usage slots that the gateway has not taken yet.")
        self.watermark = self._gauge("usage_watermark_seconds", "Second up to which use is complete, scheduler's clock.")
        self.cycle_seconds = self._gauge("cycle_seconds", "How long the last cycle took.")
        self.reachable = self._gauge("scheduler_reachable", "Whether the last cycle could read the scheduler.")
        self.refused = Counter(
            "bursar_agent_usage_slots_refused",
            "Usage slots that the gateway refused, by reason; each version of a slot once.",
            ["reason"],
            registry=self.registry,
        )

    def _gauge(self, name: str, words: str) -> Gauge:
        return Gauge(f"bursar_agent_{name}", words, registry=self.registry)


@contextlib.asynccontextmanager
async def served(metrics: Metrics, not_ready: Callable[[], str], port: int | None) -> AsyncIterator[int]:
    """Answer while the block runs; the port (0: none was asked for). ``not_ready`` says why, or ""."""
    if port is None:
        yield 0
        return

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(TimeoutError, ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(respond(head, metrics, not_ready()))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, limit=LONGEST_REQUEST)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def respond(head: bytes, metrics: Metrics, not_ready: str) -> bytes:
    """The whole answer to a request."""
    method, _, rest = head.partition(b" ")
    path = rest.partition(b" ")[0].partition(b"?")[0]
    if method not in (b"GET", b"HEAD"):
        return _response("405 Method Not Allowed", b"only GET is answered here\n")
    match path:
        case b"/healthz":
            return _response("200 OK", b"ok\n")
        case b"/readyz":
            return _response("503 Service Unavailable" if not_ready else "200 OK", f"{not_ready or 'ready'}\n".encode())
        case b"/metrics":
            return _response("200 OK", generate_latest(metrics.registry), CONTENT_TYPE_LATEST)
    return _response("404 Not Found", b"there is /healthz, /readyz and /metrics\n")


def _response(status: str, body: bytes, content_type: str = "text/plain; charset=utf-8") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body

"""What every write passes on its last step before the socket: whoever may not write any more writes nothing.

A process that was stopped for a while goes on where it stood, perhaps between a check and the write that it was for. So the
check stands where the bytes are handed over: after the connection was waited for, and once more before the body.
"""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import AddrInfoType, Connection

Guard = Callable[[], None]
"""Raises where nothing may be written."""

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
UNACKNOWLEDGED_SECONDS: Final = 3
"""How long the kernel keeps sending what the other side does not acknowledge: what was sent at the last moment of a leader (7 s
after its renewal) is given up before another one may lead (10 s)."""


class Gate:
    """The way out for the writes of one process; reads always go.

    `aiohttp.ClientSession(request_class=gate.request_class, middlewares=(gate.pass_through,))` sends through it, best with
    `impatient_socket` as the connector's `socket_factory`.
    """

    def __init__(self, guard: Guard) -> None:
        self.request_class = _guarded(guard)
        self._guard = guard
        self._closed = False
        self.under_way = 0
        """Writes without an answer."""
        self._empty = asyncio.Event()

    async def pass_through(self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send the request, counted while there is no answer."""
        if request.method in READS:
            return await handler(request)
        if self._closed:
            await asyncio.Event().wait()
        self._guard()
        self.under_way += 1
        try:
            return await handler(request)
        finally:
            self.under_way -= 1
            if self._closed and not self.under_way:
                self._empty.set()

    async def close(self, seconds: float) -> None:
        """Let no more writes begin (whoever tries waits until it is cancelled), and wait for the answers to the others."""
        self._closed = True
        if self.under_way:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._empty.wait()


def impatient_socket(address: AddrInfoType) -> socket.socket:
    """A socket whose kernel gives up after `UNACKNOWLEDGED_SECONDS`: a write that no network took is not delivered later."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_SECONDS * 1000)
    return made


def _guarded(guard: Guard) -> type[aiohttp.ClientRequest]:
    class GuardedRequest(aiohttp.ClientRequest):
        async def send(self, conn: Connection) -> aiohttp.ClientResponse:
            if self.method not in READS:
                guard()
            return await super().send(conn)

        async def write_bytes(self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None) -> None:
            try:
                if self.method not in READS:
                    guard()
            except Exception as error:
                # The head waits for the body, so nothing was sent; whoever awaits the answer gets the reason.
                if conn.protocol is not None:
                    conn.protocol.set_exception(error)
                return
            await super().write_bytes(writer, conn, content_length)

    return GuardedRequest

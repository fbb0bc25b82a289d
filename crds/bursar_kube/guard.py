"""What every write passes on its last step before the socket: whoever may not write any more writes nothing.

A process that was stopped for a while goes on where it stood, perhaps between a check and the write that it was for. So the
check stands where the bytes are handed over: after the connection was waited for, and once more before the body.
"""

from collections.abc import Callable
from typing import Final

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.connector import Connection

Guard = Callable[[], None]
"""Raises where nothing may be written."""

READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def guarded(guard: Guard) -> type[aiohttp.ClientRequest]:
    """The kind of request whose writes pass `guard`, for `aiohttp.ClientSession(request_class=…)`; reads always go."""

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

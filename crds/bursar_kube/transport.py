"""HTTP to one API server: pooled connections, a limit on every wait, bytes in and bytes out."""

import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

import aiohttp

from bursar_kube.errors import ServerTimeout, Unavailable, from_response
from bursar_kube.guard import Gate, impatient_socket

CONNECT_SECONDS = 5.0
_READ_BUFFER = 2**21  # events can be larger than aiohttp's own buffer, and fewer wake-ups load faster


class Transport:
    """A pool of connections that show (or do not show) a client certificate; writes pass the gate where there is one."""

    def __init__(
        self,
        server: str,
        tls: ssl.SSLContext | None,
        server_name: str | None,
        proxy: str | None,
        gate: Gate | None = None,
    ) -> None:
        self._server = server
        self._server_name = server_name
        self._proxy = proxy
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=256,
                ssl=tls if tls is not None else True,
                socket_factory=impatient_socket if gate is not None else None,
            ),
            read_bufsize=_READ_BUFFER,
            cookie_jar=aiohttp.DummyCookieJar(),
            request_class=gate.request_class if gate is not None else aiohttp.ClientRequest,
            middlewares=(gate.pass_through,) if gate is not None else (),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def send(
        self, method: str, path: str, query: Mapping[str, str], body: bytes | None, headers: Mapping[str, str], seconds: float
    ) -> bytes:
        """One call, answered in full within `seconds`; raises a KubeError for anything but success."""
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=min(CONNECT_SECONDS, seconds))
        async with self._open(method, path, query, body, headers, timeout) as response:
            return await response.read()

    async def stream(
        self, path: str, query: Mapping[str, str], headers: Mapping[str, str], silence_seconds: float
    ) -> AsyncGenerator[list[bytes], None]:
        """The lines of a long answer, in batches as they come; ServerTimeout after `silence_seconds` without a byte."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=silence_seconds)
        async with self._open("GET", path, query, None, headers, timeout) as response:
            yield []  # the server has taken the call
            rest = b""
            async for chunk in response.content.iter_any():
                lines = (rest + chunk).split(b"\n") if rest else chunk.split(b"\n")
                rest = lines.pop()
                if lines:
                    yield lines

    @asynccontextmanager
    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes | None,
        headers: Mapping[str, str],
        timeout: aiohttp.ClientTimeout,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        call = f"{method} {path}"
        if self._session.closed:
            raise Unavailable("the client is closed", reason="Closed", call=call)
        try:
            async with self._session.request(
                method,
                self._server + path,
                params=query,
                data=body,
                headers=headers,
                timeout=timeout,
                proxy=self._proxy,
                server_hostname=self._server_name,
                allow_redirects=False,
            ) as response:
                if response.status >= 300:
                    raise from_response(response.status, await response.read(), response.headers, call)
                yield response
        except TimeoutError as error:
            raise ServerTimeout("the API server did not answer in time", reason="Timeout", call=call) from error
        except (aiohttp.ClientError, OSError) as error:
            message = f"the API server cannot be reached: {type(error).__name__}: {error}"
            raise Unavailable(message, reason="Unavailable", call=call) from error

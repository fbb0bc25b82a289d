"""What the HTTP client sends by itself passes the guard too: a write whose connection was dropped is sent once more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from bursar_kube.errors import NotLeading, Unavailable
from bursar_kube.guard import Gate
from bursar_kube.transport import Transport

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


class Dropping:
    """A server that answers reads and hangs up on every write that it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.writes: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one connection."""
        try:
            while line := await reader.readline():
                method, length = line.decode().split()[0], 0
                while (header := await reader.readline()).strip():
                    name, _, text = header.decode().partition(":")
                    length = int(text) if name.lower() == "content-length" else length
                await reader.readexactly(length)
                if method != "GET":
                    self.writes.append(method)
                    return
                writer.write(ANSWER)
                await writer.drain()
        finally:
            writer.close()


@pytest.fixture
async def dropping() -> AsyncIterator[Dropping]:
    """The server on a free port."""
    made = Dropping()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    await server.wait_closed()


async def written(transport: Transport, method: str) -> None:
    """A read, which leaves a connection open, and then a write over it."""
    await transport.send("GET", "/", {}, None, {}, 10)
    await transport.send(method, "/", {}, b"{}", {}, 10)


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_dropped_write_passes_the_guard_before_it_is_sent_again(dropping: Dropping, method: str) -> None:
    def leads_until_the_first_has_come() -> None:
        if dropping.writes:
            raise NotLeading("the term ended meanwhile")

    late = Transport(dropping.url, None, None, None, Gate(leads_until_the_first_has_come))
    with pytest.raises(NotLeading):
        await written(late, method)
    assert dropping.writes == [method]
    await late.close()
    leading = Transport(dropping.url, None, None, None, Gate(lambda: None))
    with pytest.raises(Unavailable):
        await written(leading, method)
    assert dropping.writes == [method] * 3, "who leads sends it a second time"
    await leading.close()

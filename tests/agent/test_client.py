"""The agent's client: whatever something between it and the gateway answers, it counts as away or refused and ends nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from bursar_agent.client import MAX_RETRY_AFTER_SECONDS, Gateway, GatewayAway, GatewayRefused


@asynccontextmanager
async def answering(*head: str, body: bytes = b"") -> AsyncIterator[Gateway]:
    """A gateway behind something that gives every call this answer."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = [*head, f"Content-Length: {len(body)}", "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    gateway = Gateway(f"http://127.0.0.1:{port}", None)
    try:
        yield gateway
    finally:
        await gateway.close()
        server.close()
        await server.wait_closed()


async def test_an_answer_that_can_not_be_unpacked_is_a_gateway_away() -> None:
    async with answering("HTTP/1.1 200 OK", "Content-Encoding: gzip", body=b"no gzip at all") as gateway:
        with pytest.raises(GatewayAway, match="does not answer"):
            await gateway.enrolment("x")


async def test_a_page_in_the_gateway_s_place_is_a_refusal() -> None:
    async with answering("HTTP/1.1 200 OK", "Content-Type: text/html", body=b"<html>log in</html>") as gateway:
        with pytest.raises(GatewayRefused, match="no EnrolReply"):
            await gateway.enrolment("x")


@pytest.mark.parametrize(
    ("said", "waits"), [("7", 7.0), ("99999999", MAX_RETRY_AFTER_SECONDS), ("9" * 5000, None), ("²", None)]
)
async def test_nobody_sends_the_agent_away_for_long(said: str, waits: float | None) -> None:
    async with answering("HTTP/1.1 503 Away", f"Retry-After: {said}", f"Bursar-Clock: {'9' * 5000}") as gateway:
        with pytest.raises(GatewayAway) as away:
            await gateway.enrolment("x")
        assert away.value.retry_after == waits
        assert gateway.skew_seconds is None

"""Asks a webhook over TLS as the API server does, with as many connections as clients, and takes the time."""

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Any

import orjson


def review_of(obj: Mapping[str, Any]) -> bytes:
    """The API server's question about a create."""
    version = {"group": "bursar.dev", "version": "v1alpha1"}
    request: dict[str, Any] = {
        "uid": "b9e0a4a8-2f4d-4b0e-a8b5-2f7a3a1c9d11",
        "kind": version | {"kind": obj["kind"]},
        "resource": version | {"resource": "allocations"},
    }
    metadata = obj["metadata"]
    request |= {"name": metadata["name"], "namespace": metadata.get("namespace"), "operation": "CREATE", "object": obj}
    request |= {"userInfo": {"username": "bursar-admin", "groups": ["system:masters"]}, "dryRun": False}
    return orjson.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request})


class ReviewLoad:
    """Sends one body again and again to a server on 127.0.0.1."""

    def __init__(self, port: int, authority: bytes, body: bytes, path: str = "/validate") -> None:
        self._port = port
        self._context = ssl.create_default_context(cadata=authority.decode())
        head = f"POST {path}?timeout=3s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self._request = f"{head}Accept: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body

    async def ask(self, times: int, width: int) -> float:
        """Seconds for so many answers, all of them 200 and allowed, over `width` connections that are open already."""
        links = await asyncio.gather(*(self._connect() for _ in range(width)))
        try:
            await asyncio.gather(*(self._repeat(*link, 1) for link in links))
            began = time.perf_counter()
            await asyncio.gather(*(self._repeat(*link, times // width) for link in links))
            return time.perf_counter() - began
        finally:
            for _, writer in links:
                writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context, server_hostname="localhost")

    async def _repeat(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, times: int) -> None:
        for _ in range(times):
            writer.write(self._request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            if b" 200 " not in head[:16] or b'"allowed":true' not in answer.replace(b" ", b""):
                raise RuntimeError(f"not allowed: {head.decode()}{answer.decode()}")

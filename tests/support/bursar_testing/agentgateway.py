"""A real server on loopback around the agents' router, over a real ledger."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

import httpx
import uvicorn
from fastapi import FastAPI

from bursar_api.agents import router
from bursar_domain.keys import Signer
from bursar_ledger import Ledger
from bursar_testing.agentcalls import AgentCaller
from bursar_testing.wires import hello, new_ledger


class Server(uvicorn.Server):
    """A server that leaves the test process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing to capture."""
        yield


@dataclass
class Gateway:
    """The running server: its ledger, which keys each cluster has, and why slots were refused."""

    ledger: Ledger
    client: httpx.AsyncClient
    drain: Callable[[], None]
    keys: dict[str, list[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    def agent(self, cluster: str | None = None, session: str = "s1") -> AgentCaller:
        """An agent whose key is enrolled; of a cluster of its own unless told."""
        signer = Signer.generate()
        caller = AgentCaller(self.client, cluster or f"c{uuid4().hex[:12]}", session=session, signer=signer)
        self.keys.setdefault(caller.cluster, []).append(caller.key)
        return caller

    async def greeted(self, session: str = "s1") -> AgentCaller:
        """An agent that has said hello."""
        agent = self.agent(session=session)
        reply = await agent.call("POST", "hello", hello(session).canonical())
        assert reply.json()["accepted"] is True
        return agent


@contextlib.asynccontextmanager
async def running_gateway() -> AsyncIterator[Gateway]:
    """Serve while the block runs."""
    async with new_ledger() as ledger, httpx.AsyncClient(timeout=30) as client:
        keys: dict[str, list[str]] = {}

        def found(cluster: str) -> Sequence[str]:
            return keys.get(cluster, ())

        app = FastAPI()
        refused: list[str] = []
        routes = router(ledger, found, refused=refused.append)
        app.include_router(routes)
        server = Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=2))
        with socket.create_server(("127.0.0.1", 0)) as listener:  # clients queue here until it serves
            task = asyncio.create_task(server.serve(sockets=[listener]))
            client.base_url = httpx.URL(f"http://127.0.0.1:{listener.getsockname()[1]}")
            try:
                yield Gateway(ledger, client, routes.drain, keys, refused)
            finally:
                routes.drain()
                server.should_exit = True
                await task

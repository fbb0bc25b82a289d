"""What a Service is to replicas, on one loopback port: a connection goes to the next one in it, and stays there."""

import asyncio
from contextlib import suppress


class Replicas:
    """Made by `start`; `ports` may change at any time, as the endpoints of a Service do when a replica is not ready."""

    def __init__(self, *ports: int) -> None:
        self.ports = list(ports)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def start(cls, *ports: int) -> "Replicas":
        """Listen on a free port."""
        made = cls(*ports)
        made._server = await asyncio.start_server(made._accept, "127.0.0.1", 0)
        made.port = made._server.sockets[0].getsockname()[1]
        return made

    async def stop(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._server is not None:
            self._server.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sides = [writer]
        try:
            up_reader, up_writer = await self._connect()
            sides.append(up_writer)
            pumps = [asyncio.ensure_future(_pump(reader, up_writer)), asyncio.ensure_future(_pump(up_reader, writer))]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
        except ConnectionError:
            return
        finally:
            for side in sides:
                side.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The next one that takes connections."""
        for port in list(self.ports):
            self.ports.append(self.ports.pop(0))
            with suppress(ConnectionError):
                return await asyncio.open_connection("127.0.0.1", port)
        raise ConnectionRefusedError("no replica takes connections")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()

"""Two webhook replicas behind one address, as a Service has them: only those that are ready are called."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import httpx

from bursar_local.ports import free_ports
from bursar_testing.operatorprocess import clean_environment

LOOK_SECONDS = 0.2


class Balancer:
    """Relays each connection to one of the ports that are in service, in turn."""

    def __init__(self) -> None:
        self.ports: set[int] = set()
        self.port = 0
        self._turn = 0
        self._server: asyncio.Server | None = None
        self._relays: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self._relays:
            task.cancel()
        await asyncio.gather(*self._relays, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._relays.add(task)
        task.add_done_callback(self._relays.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._turn += 1
        ports = sorted(self.ports)
        ports = ports[self._turn % len(ports) :] + ports[: self._turn % len(ports)] if ports else []
        for port in ports:
            with suppress(OSError):
                upstream = await asyncio.open_connection("127.0.0.1", port)
                await _join((reader, writer), upstream)
                return
        writer.close()


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _join(one: Streams, other: Streams) -> None:
    pumps = [asyncio.ensure_future(_pump(one[0], other[1])), asyncio.ensure_future(_pump(other[0], one[1]))]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        one[1].close()
        other[1].close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()


class Webhooks:
    """The replicas. `watch` starts each one again that has ended, and puts those that are ready into service."""

    def __init__(self, kubeconfigs: Mapping[str, Path], folder: Path) -> None:
        self.balancer = Balancer()
        self._kubeconfigs = kubeconfigs
        self._folder = folder
        self._ports = dict(zip(kubeconfigs, free_ports(len(kubeconfigs)), strict=True))
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._client = httpx.AsyncClient(timeout=1, trust_env=False, verify=False)  # noqa: S501 - asked only whether it is ready

    @property
    def names(self) -> list[str]:
        """Of the replicas."""
        return list(self._kubeconfigs)

    async def start(self) -> None:
        """Start them all."""
        for name in self._kubeconfigs:
            await self._spawn(name)

    async def stop(self) -> None:
        """End them all."""
        await self._client.aclose()
        await self.balancer.stop()
        for child in self._running.values():
            if child.returncode is None:
                child.kill()
            await child.wait()

    async def watch(self) -> None:
        """Until cancelled."""
        while True:
            for name, port in self._ports.items():
                if self._running[name].returncode is not None:
                    self.balancer.ports.discard(port)
                    await self._spawn(name)
                elif await self._is_ready(port):
                    self.balancer.ports.add(port)
                else:
                    self.balancer.ports.discard(port)
            await asyncio.sleep(LOOK_SECONDS)

    async def served(self, seconds: float = 60.0) -> None:
        """Wait until all are in service."""
        async with asyncio.timeout(seconds):
            while len(self.balancer.ports) < len(self._ports):  # noqa: ASYNC110 - `watch` fills it
                await asyncio.sleep(0.05)

    def kill(self, name: str) -> None:
        """At once."""
        if self._running[name].returncode is None:
            self._running[name].kill()

    async def pause(self, name: str, seconds: float) -> None:
        """It accepts connections and says nothing."""
        child = self._running[name]
        with suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            os.kill(child.pid, signal.SIGCONT)

    async def _is_ready(self, port: int) -> bool:
        try:
            return (await self._client.get(f"https://127.0.0.1:{port}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def _spawn(self, name: str) -> None:
        settings = {"KUBECONFIG": str(self._kubeconfigs[name]), "PORT": str(self._ports[name])}
        environment = clean_environment() | {f"BURSAR_WEBHOOKS_{key}": value for key, value in settings.items()}
        with (self._folder / f"{name}.log").open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bursar_webhooks", stdout=log, stderr=log, env=environment
            )

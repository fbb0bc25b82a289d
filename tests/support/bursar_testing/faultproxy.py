"""A proxy before a real API server that fails as real ones do, and that acts beside a certain write.

```python
proxy = await FaultProxy.start(plane.kubeconfig)
leader = proxy.kubeconfig(folder / "leader.kubeconfig", operators_kubeconfig, "leader")
proxy.faults.chances[Fault.LOST_AFTER] = 0.02
proxy.on_write(3, Moment.AFTER, operator.child.kill, client="leader")
```
It speaks plain HTTP on the loopback. Tokens are passed on; where a kubeconfig shows a client certificate, the proxy shows it.
"""

import asyncio
import inspect
import re
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Final

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from bursar_testing.faultplan import EXPIRED_EVENT, REFUSALS, Call, Fault, Faults
from bursar_testing.proxyidentities import connections, parts, trust

Callback = Callable[[], Awaitable[object] | object]
_HOP: Final = frozenset({"connection", "content-length", "expect", "host", "keep-alive", "te", "transfer-encoding", "upgrade"})
_PREFIX: Final = re.compile(r"^/-/([^/]+)(/.*)$")
_LONGEST_BODY: Final = 2**26
_JSON: Final = {"Content-Type": "application/json"}


class Moment(StrEnum):
    """When to act at a write: it is not forwarded then, or it took effect and its answer is not given."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, slots=True)
class Written:
    """A write that the API server answered."""

    client: str
    method: str
    path: str
    status: int


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    torn: bool = False


@dataclass(slots=True)
class _Trap:
    left: int
    moment: Moment
    callback: Callback
    client: str
    matching: str

    def springs(self, call: Call) -> bool:
        if self.left <= 0 or self.client not in ("", call.client) or not re.search(self.matching, call.path):
            return False
        self.left -= 1
        return self.left == 0


@dataclass
class FaultProxy:
    """See the module. `rules` are asked in order, the first that concerns a call counts; `faults` is the last of them."""

    server: str
    url: str = ""
    active: bool = True
    """Whether faults are injected; traps of `on_write` work all the same."""
    faults: Faults = field(default_factory=Faults)
    rules: list[Faults] = field(default_factory=list)
    written: list[Written] = field(default_factory=list)
    injected: Counter[tuple[Fault, str, str]] = field(default_factory=Counter)
    """By fault, client and method."""
    _sessions: dict[str, aiohttp.ClientSession] = field(default_factory=dict)
    _traps: list[_Trap] = field(default_factory=list)
    _seen: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    _calls: set[asyncio.Task[_Answer | None]] = field(default_factory=set)
    _watches: dict[int, web.Request] = field(default_factory=dict)
    _runner: web.AppRunner | None = None

    @classmethod
    async def start(cls, kubeconfig: Path) -> "FaultProxy":
        """Listen on a free loopback port, before the API server of this kubeconfig."""
        cluster, _ = parts(kubeconfig)
        proxy = cls(server=str(cluster["server"]).rstrip("/"))
        proxy._sessions[""] = connections(trust(cluster, kubeconfig))
        application = web.Application(client_max_size=_LONGEST_BODY)
        application.router.add_route("*", "/{path:.*}", proxy._handle)
        runner = web.AppRunner(application, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        proxy._runner = runner
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            await web.SockSite(runner, listener.dup()).start()
            proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        return proxy

    async def stop(self) -> None:
        """Close everything; writes that are under way are finished first."""
        self.cut_watches()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._calls:
            await asyncio.wait(self._calls, timeout=10)
        for opened in self._sessions.values():
            await opened.close()

    def kubeconfig(self, path: Path, of: Path, client: str) -> Path:
        """Write to `path` the kubeconfig `of` an identity so that it leads through here; `client` is its name in faults."""
        cluster, user = parts(of)
        if "client-certificate" in user or "client-certificate-data" in user:
            self._sessions[client] = connections(trust(cluster, of, user, path))
            user = {}
        names = {"cluster": "proxy", "user": client}
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": f"{self.url}/-/{client}"}}],
            "users": [{"name": client, "user": user}],
            "contexts": [{"name": "proxy", "context": names}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(document))
        path.chmod(0o600)
        return path

    def on_write(self, number: int, moment: Moment, callback: Callback, *, client: str = "", matching: str = "") -> None:
        """Call back at the `number`-th write from now of this client (whose path has `matching`); it gets no answer."""
        self._traps.append(_Trap(number, moment, callback, client, matching))

    def forget_traps(self) -> None:
        """Take back what `on_write` asked for."""
        self._traps.clear()

    def counted(self, *faults: Fault, client: str = "", method: str = "") -> int:
        """How many of these faults (all of them where none is named) were injected."""
        return sum(
            number
            for (fault, who, how), number in self.injected.items()
            if (not faults or fault in faults) and client in ("", who) and method in ("", how)
        )

    def cut_watches(self) -> None:
        """Reset the connection of every watch that is open now."""
        for request in list(self._watches.values()):
            _reset(request)

    # calls

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        flight = self._flight(request, await request.read())
        if flight.call.is_watch:
            return await self._watch(request, flight)
        # A write that has been read is finished even where the client goes away meanwhile.
        task = asyncio.create_task(self._serve(flight))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await self._give(request, await asyncio.shield(task))

    def _flight(self, request: web.Request, body: bytes) -> "_Flight":
        path, query = request.rel_url.raw_path, request.rel_url.raw_query_string
        found = _PREFIX.match(path)
        client, path = (found[1], found[2]) if found else ("", path)
        call = Call(client, request.method, path, request.query, request.headers.get("User-Agent", ""), body)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _HOP}
        target = URL(self.server + path + (f"?{query}" if query else ""), encoded=True)
        faults = next((rule for rule in self.rules if rule.concerns(call)), self.faults)
        like = call.client, call.method, call.path
        self._seen[like] += 1
        draw = faults.draw(call, self._seen[like])
        fault = faults.choose(call, draw) if self.active and faults.concerns(call) else None
        return _Flight(call, target, headers, faults, draw, fault)

    def _count(self, flight: "_Flight") -> None:
        if flight.fault is not None:
            self.injected[flight.fault, flight.call.client, flight.call.method] += 1

    async def _serve(self, flight: "_Flight") -> _Answer | None:
        """The answer, None where there is none."""
        sprung = [trap for trap in list(self._traps) if flight.call.is_write and trap.springs(flight.call)]
        if any(trap.moment is Moment.BEFORE for trap in sprung):
            await _act(sprung)
            return None
        if not sprung:
            self._count(flight)
            return await self._fail(flight) if flight.fault else await self._forward(flight)
        await self._forward(flight)
        await _act(sprung)
        return None

    async def _fail(self, flight: "_Flight") -> _Answer | None:
        fault, draw, faults = flight.fault, flight.draw, flight.faults
        if fault is Fault.LOST_BEFORE:
            return await flight.lose()
        if (refusal := flight.refusal()) is not None:
            return refusal
        answer = await self._forward(flight)
        if fault is Fault.RESENT:
            return await self._forward(flight)
        if fault is Fault.LOST_AFTER:
            return await flight.lose()
        if fault is Fault.SLOW:
            await asyncio.sleep(draw.uniform(0, faults.slow_seconds))
        return replace(answer, torn=fault is Fault.RESET) if answer else None

    async def _forward(self, flight: "_Flight") -> _Answer | None:
        call, headers = flight.call, flight.headers
        try:
            async with self._session(call, headers).request(
                call.method, flight.target, data=call.body or None, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
        except aiohttp.ClientError:
            return None
        if call.is_write:
            self.written.append(Written(call.client, call.method, call.path, response.status))
        return _Answer(response.status, _passed(response), body)

    def _session(self, call: Call, headers: Mapping[str, str]) -> aiohttp.ClientSession:
        """A token goes over connections that show no certificate: that would win."""
        return self._sessions.get("" if "Authorization" in headers else call.client, self._sessions[""])

    async def _give(self, request: web.Request, answer: _Answer | None) -> web.StreamResponse:
        if answer is None:
            _reset(request)
            return web.Response()
        if not answer.torn:
            return web.Response(status=answer.status, headers=answer.headers, body=answer.body)
        torn = web.StreamResponse(status=answer.status, headers=answer.headers)
        torn.content_length = len(answer.body)
        await torn.prepare(request)
        await torn.write(answer.body[: len(answer.body) // 2])
        await asyncio.sleep(0.01)
        _reset(request)
        return torn

    # watches

    async def _watch(self, request: web.Request, flight: "_Flight") -> web.StreamResponse:
        self._count(flight)
        if (refusal := flight.refusal()) is not None:
            return await self._give(request, refusal)
        if flight.fault is Fault.EXPIRED:
            return web.Response(headers=_JSON, body=EXPIRED_EVENT)
        self._watches[id(request)] = request
        try:
            session, timeout = self._session(flight.call, flight.headers), aiohttp.ClientTimeout(total=None)
            async with session.get(flight.target, headers=flight.headers, timeout=timeout) as upstream:
                stream = web.StreamResponse(status=upstream.status, headers=_passed(upstream))
                await stream.prepare(request)
                if not await _relay(stream, upstream, flight):
                    _reset(request)
                return stream
        except aiohttp.ClientError:
            return await self._give(request, None)
        finally:
            self._watches.pop(id(request), None)


@dataclass(frozen=True, slots=True)
class _Flight:
    """A call on its way, and what is to happen to it."""

    call: Call
    target: URL
    headers: Mapping[str, str]
    faults: Faults
    draw: Random
    fault: Fault | None

    def refusal(self) -> _Answer | None:
        """What is answered instead of the API server."""
        if self.fault is Fault.TOO_MANY:
            return _Answer(429, {**_JSON, "Retry-After": str(self.faults.retry_after_seconds)}, REFUSALS[429])
        code = self.draw.choice((500, 503)) if self.fault is Fault.FAILING else 409
        return _Answer(code, _JSON, REFUSALS[code]) if self.fault in (Fault.FAILING, Fault.CONFLICT) else None

    async def lose(self) -> _Answer | None:
        """Time passes, then the API server says that it did, or the connection ends."""
        await asyncio.sleep(self.draw.uniform(0, self.faults.silence_seconds))
        return _Answer(504, _JSON, REFUSALS[504]) if self.draw.random() < 0.5 else None


async def _relay(stream: web.StreamResponse, upstream: aiohttp.ClientResponse, flight: _Flight) -> bool:
    """Pass events on; whether the server ended the watch, and not the network."""
    faults, draw, fault = flight.faults, flight.draw, flight.fault
    life = draw.uniform(0, faults.life_seconds) if fault is Fault.CUT else None
    with suppress(TimeoutError):
        async with asyncio.timeout(life):
            while chunk := await upstream.content.readany():
                if fault is Fault.LATE:
                    await asyncio.sleep(draw.uniform(0, faults.late_seconds))
                await stream.write(chunk)
            return True
    with suppress(TimeoutError):
        async with asyncio.timeout(faults.silence_seconds):
            chunk = await upstream.content.readany()
            await stream.write(chunk[: len(chunk) // 2])
            await asyncio.sleep(0.01)
    return False


async def _act(sprung: list[_Trap]) -> None:
    for trap in sprung:
        result = trap.callback()
        if inspect.isawaitable(result):
            await result


def _reset(request: web.Request) -> None:
    """Close the connection as a crash does: with RST, and without what is still to be sent."""
    transport = request.transport
    if transport is None:
        return
    peer = transport.get_extra_info("socket")
    if peer is not None:
        with suppress(OSError):
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _passed(response: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in response.headers.items() if name.lower() not in _HOP}

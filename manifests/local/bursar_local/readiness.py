"""Waits until a part answers its health path, and notices at once when it ends instead."""

import asyncio
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from bursar_local.certificates import KeyPair
from bursar_local.errors import NotReady
from bursar_local.process import Process
from bursar_local.state import PartState, Report, State

_PAUSE_SECONDS = 0.1
_WATCH_SECONDS = 5.0


@dataclass(frozen=True)
class Probe:
    """A health URL, the authority to trust, and the client certificate to show where one is asked for."""

    url: str
    authority_file: Path | None = None
    client: KeyPair | None = None


async def report_ready(process: Process, probe: Probe, seconds: float, report: Report) -> None:
    """`wait_ready`, reported before and after."""
    address = probe.url.rpartition("/")[0]
    report(PartState(process.name, State.STARTING, address, process.log, process.pid))
    await wait_ready(process, probe, seconds)
    report(PartState(process.name, State.READY, address, process.log, process.pid))


async def keep_reporting(watched: Sequence[tuple[Process, Probe]], report: Report) -> None:
    """Ask every part again and again, and report each change between ready and not ready; ends by cancellation only."""
    ready = dict.fromkeys((process.name for process, _ in watched), True)
    while True:
        await asyncio.sleep(_WATCH_SECONDS)
        for process, probe in watched:
            async with _client(probe) as client:
                answers = not await _ask(client, probe.url)
            if process.return_code is None and answers != ready[process.name]:
                ready[process.name] = answers
                report(PartState(process.name, State.READY if answers else State.NOT_READY))


async def wait_ready(process: Process, probe: Probe, seconds: float, others: Sequence[Process] = ()) -> None:
    """Return once `probe` answers 2xx; PartDied (PortTaken) when it or one of `others` ends, NotReady after `seconds`."""
    deadline = time.monotonic() + seconds
    reason = "no answer yet"
    async with _client(probe) as client:
        while time.monotonic() < deadline:
            if dead := next((one for one in (process, *others) if one.return_code is not None), None):
                raise dead.death()
            reason = await _ask(client, probe.url)
            if not reason:
                return
            await asyncio.sleep(_PAUSE_SECONDS)
    raise NotReady(process.name, seconds, reason, process.log)


def _client(probe: Probe) -> httpx.AsyncClient:
    if probe.authority_file is None:
        return httpx.AsyncClient(timeout=5, trust_env=False)
    context = ssl.create_default_context(cafile=str(probe.authority_file))
    if probe.client:
        context.load_cert_chain(probe.client.certificate, probe.client.key)
    # trust_env off: a proxy of the environment has no business on loopback.
    return httpx.AsyncClient(verify=context, timeout=5, trust_env=False)


async def _ask(client: httpx.AsyncClient, url: str) -> str:
    try:
        answer = await client.get(url)
    except (httpx.HTTPError, OSError) as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else f"{url} answered {answer.status_code}: {answer.text[:300]}"

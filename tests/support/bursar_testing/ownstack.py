"""A whole stack in the test's own process, without a supervisor: parts can be killed and started again one by one."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from bursar_kube.client import Kube
from bursar_local.build import ensure_binary
from bursar_local.layout import Layout
from bursar_local.process import Process
from bursar_local.readiness import Probe, wait_ready
from bursar_local.stack import Stack
from bursar_testing.fullstack import Site

READY_SECONDS = 60.0


class OwnStack:
    """The running stack: `kill` ends a part as a crash would, `start` brings it back."""

    def __init__(self, stack: Stack, site: Site) -> None:
        self._stack, self.site = stack, site

    def _process(self, name: str) -> Process:
        return next(process for process in reversed(self._stack.processes) if process.name == name)

    async def kill(self, *names: str) -> None:
        """`kill -9`, and wait until it is gone."""
        for name in names:
            self._process(name).kill()
        for name in names:
            await asyncio.wait_for(self._process(name).wait(), 10)
            assert self._process(name).return_code == -signal.SIGKILL

    async def start(self, *names: str) -> None:
        """Start parts that were killed, with the same command line, and wait until they are ready."""
        for name in names:
            old = self._process(name)
            fresh = await Process.start(old.command, self._stack.layout.directory)
            self._stack._own[self._stack._own.index(old)] = fresh
        for name in names:
            await wait_ready(self._process(name), self._probe(name), READY_SECONDS, self._stack.processes)

    def _probe(self, name: str) -> Probe:
        return next(probe for process, probe in self._stack._probes if process.name == name)


@contextlib.asynccontextmanager
async def own_stack(directory: Path, folder: Path) -> AsyncIterator[OwnStack]:
    """Start, hand out, end."""
    binary = await asyncio.to_thread(ensure_binary, lambda _: None)
    stack = Stack(Layout.prepare(directory), binary, kubeconfig=None, report=lambda _: None, echo=lambda _: None)
    endpoints = await stack.start(0)
    try:
        endpoints.write()
        kube = await Kube.connect(str(endpoints.kubeconfig))
        try:
            yield OwnStack(stack, Site(endpoints, folder, kube))
        finally:
            await kube.close()
    finally:
        await stack.stop()

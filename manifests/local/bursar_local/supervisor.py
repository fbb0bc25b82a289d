"""`bursar up` and `bursar down`: one launcher per directory, in the terminal or detached."""

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.text import Text

from bursar_local.board import Board
from bursar_local.build import ensure_binary
from bursar_local.detached import start_detached
from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError, PartDied
from bursar_local.files import private_directory
from bursar_local.layout import Layout
from bursar_local.leftovers import DirectoryLock, end, end_leftovers, forget, read_record, record_path, remember
from bursar_local.stack import Stack

DEFAULT_DIRECTORY = Path("build/local")
_NAME = "supervisor"
_STOP_SECONDS = 90.0
_Result = TypeVar("_Result")


def up(directory: Path, *, detach: bool = False, kubeconfig: Path | None = None, console: Console | None = None) -> int:
    """Start the stack in `directory`; the exit code.

    In the terminal: returns when Ctrl-C ended it (0) or a part died (1). Detached: returns 0 when everything is ready and
    `endpoints.json` is written, 1 when it failed; nothing is left running then. `kubeconfig` (or $KUBECONFIG) names another
    cluster to use instead of an own control plane.
    """
    console = console or Console()
    try:
        directory = private_directory(directory)
        DirectoryLock(directory).release()
        chosen = kubeconfig.absolute() if kubeconfig else kubeconfig_of_environment(directory)
        binary = ensure_binary(lambda line: _say(console, line))
        if detach:
            endpoints = start_detached(directory, chosen, lambda line: _say(console, line))
            _say(console, f"End it with: bursar down --dir {endpoints.directory}")
            return 0
        return asyncio.run(_run(directory, binary, chosen, console))
    except LocalStackError as error:
        _say(console, f"bursar up: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def down(directory: Path, *, console: Console | None = None) -> int:
    """End the stack in `directory`, however it was started or left behind; the exit code. Idempotent."""
    console = console or Console()
    directory = directory.absolute()
    try:
        ended = _end(directory) if directory.is_dir() else []
    except LocalStackError as error:
        _say(console, f"bursar down: {error}")
        return 1
    _say(console, f"Ended {', '.join(ended)} in {directory}" if ended else f"Nothing runs in {directory}")
    return 0


def kubeconfig_of_environment(directory: Path) -> Path | None:
    """The file that $KUBECONFIG names, unless it is the one of this very stack (set by whoever followed our hint)."""
    value = os.environ.get("KUBECONFIG")
    if not value:
        return None
    if os.pathsep in value:
        raise LocalStackError(
            f"KUBECONFIG names several files ({value}); unset it to start an own cluster, or name one with --kubeconfig"
        )
    path = Path(value).absolute()
    return None if path == Layout(directory).control_plane / "kubeconfig" else path


def _end(directory: Path) -> list[str]:
    """End the launcher, which ends its parts; then whatever a killed launcher left. The names of what was ended."""
    record = read_record(record_path(directory, _NAME))
    ended = []
    if record and record.alive:
        end(record, _STOP_SECONDS)
        ended.append("the stack")
    lock = DirectoryLock(directory)
    try:
        ended += [name for folder in (directory, Layout(directory).control_plane) for name in end_leftovers(folder)]
        Endpoints.path(directory).unlink(missing_ok=True)
    finally:
        lock.release()
    return ended


async def _run(directory: Path, binary: Path, kubeconfig: Path | None, console: Console) -> int:
    lock = DirectoryLock(directory)
    try:
        await asyncio.to_thread(end_leftovers, directory)
        record = remember(directory, _NAME, os.getpid())
        Endpoints.path(directory).unlink(missing_ok=True)
        board = Board(console, directory)
        stack = Stack(Layout.prepare(directory), binary, kubeconfig=kubeconfig, report=board.report, echo=board.say)
        try:
            with board.shown():
                death = await _supervise(stack, board)
        finally:
            forget(record)
    finally:
        lock.release()
    if death:
        _say(console, f"bursar up: {death}")
    return 1 if death else 0


async def _supervise(stack: Stack, board: Board) -> PartDied | None:
    """Start, then wait for a signal (None) or a death; everything is ended when this returns."""
    asked = _stop_signal()
    try:
        endpoints = await _unless(asked, stack.start(os.getpid()))
        if endpoints is None:
            return None
        board.hint(*_hints(endpoints))
        # Last, since scripts take the file for the sign that all has been said and done.
        endpoints.write()
        watch = asyncio.create_task(stack.keep_reporting())
        try:
            return await _unless(asked, stack.first_death())
        finally:
            watch.cancel()
    finally:
        await stack.stop()


async def _unless(asked: asyncio.Event, work: Coroutine[object, object, _Result]) -> _Result | None:
    """The result of `work`, or None when `asked` was set first (`work` is cancelled and has ended then)."""
    task, stop = asyncio.create_task(work), asyncio.create_task(asked.wait())
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        stop.cancel()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError, LocalStackError):
            await task


def _hints(endpoints: Endpoints) -> tuple[str, ...]:
    return (
        "",
        f"Everything is ready. Logs and endpoints.json are in {endpoints.directory}",
        f"  export KUBECONFIG={endpoints.kubeconfig}",
        f"  export PATH={Path(endpoints.kubectl[0]).parent}:$PATH   # the kubectl of this stack",
        f"Development users: {', '.join(endpoints.users)}. Ctrl-C (detached: bursar down) ends it all.",
    )


def _stop_signal() -> asyncio.Event:
    """An event that SIGINT, SIGTERM and SIGHUP set."""
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(which, asked.set)
    return asked


def _say(console: Console, line: str) -> None:
    console.print(Text(line), soft_wrap=True)

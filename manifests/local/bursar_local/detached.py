"""Starts the launcher detached from the terminal and follows its log until the stack is ready or has failed."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bursar_local import detach
from bursar_local.endpoints import Endpoints
from bursar_local.errors import LocalStackError
from bursar_local.leftovers import ProcessRecord, end, start_time

_START_SECONDS = 600.0
_STOP_SECONDS = 90.0
_PAUSE_SECONDS = 0.2


def start_detached(directory: Path, kubeconfig: Path | None, echo: Callable[[str], None]) -> Endpoints:
    """Start the launcher for `directory` and return when all is ready; its log lines go to `echo` meanwhile.

    Raises LocalStackError when it failed; nothing is left running then.
    """
    log = directory / "logs" / "supervisor.log"
    log.parent.mkdir(exist_ok=True)
    launcher = _launch(directory, kubeconfig, log)
    try:
        return _follow(directory, launcher, log, echo)
    except BaseException:
        end(launcher, _STOP_SECONDS)
        raise


def _launch(directory: Path, kubeconfig: Path | None, log: Path) -> ProcessRecord:
    argv = [sys.executable, "-P", "-m", "bursar_local", "up", "--dir", str(directory)]
    argv += ["--kubeconfig", str(kubeconfig)] if kubeconfig else []
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    helper = [sys.executable, "-I", "-S", detach.__file__, str(log), *argv]
    done = subprocess.run(helper, check=True, capture_output=True, text=True, timeout=30, env=environment, cwd=directory)
    pid = int(done.stdout)
    return ProcessRecord("supervisor", pid, start_time(pid) or 0)


def _follow(directory: Path, launcher: ProcessRecord, log: Path, echo: Callable[[str], None]) -> Endpoints:
    shown = 0
    deadline = time.monotonic() + _START_SECONDS
    while True:
        alive, ready = launcher.alive, _ready(directory, launcher.pid)
        shown = _show(log, shown, echo)
        if ready:
            return ready
        if not alive:
            raise LocalStackError(f"the stack did not start; what happened stands above and in {log}")
        if time.monotonic() > deadline:
            raise LocalStackError(f"the stack was not ready within {_START_SECONDS:.0f} s; see {log}")
        time.sleep(_PAUSE_SECONDS)


def _ready(directory: Path, launcher: int) -> Endpoints | None:
    """The endpoints, if this very launcher wrote them."""
    if not Endpoints.path(directory).exists():
        return None
    try:
        endpoints = Endpoints.read(directory)
    except LocalStackError:
        # The launcher was just taking the file of an earlier run away.
        return None
    return endpoints if endpoints.supervisor == launcher else None


def _show(log: Path, shown: int, echo: Callable[[str], None]) -> int:
    """Echo the lines after the first `shown`; how many have been shown then."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    for line in lines[shown:]:
        echo(line)
    return len(lines)

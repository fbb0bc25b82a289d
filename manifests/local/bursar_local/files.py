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
    """The folder of shared files called `name`: in a clone the one of the repository, otherwise the one in the wheel."""
    package = Path(__file__).resolve().parent
    in_wheel = package / "share" / name
    in_clone = package.parents[2] / _IN_CLONE.get(name, name)
    for candidate in (in_wheel, in_clone):
        if candidate.is_dir():
            return candidate
    raise LocalStackError(
        f"the shared files {name!r} are missing: neither {in_clone} nor {in_wheel} is there; reinstall Bursar"
    )


def cache_directory() -> Path:
    """`$BURSAR_CACHE`, else `$XDG_CACHE_HOME/bursar`, else `~/.cache/bursar`."""
    if chosen := os.environ.get("BURSAR_CACHE"):
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "bursar"


def private_directory(path: Path) -> Path:
    """Create `path` (with parents) readable by its owner alone, and return it as an absolute path."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path.absolute()


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

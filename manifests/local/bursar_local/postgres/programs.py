"""The programs: the machine's own, on the PATH or not, else Debian's packages unpacked into a private folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from bursar_local import packages
from bursar_local.packages import Bundle, PackagesUnavailable, Progress
from bursar_local.postgres.errors import PostgresUnavailable

NEEDED = ("postgres", "initdb", "createdb", "dropdb", "pg_isready")
OLDEST = 13
DEFAULT_CACHE = Path("/var/cache/bursar/postgresql")
PACKAGES = ("postgresql",)


@dataclass(frozen=True)
class Programs:
    """The folder of the programs, and where their libraries are if not in the machine's own places."""

    bin: Path
    library_path: str | None = None


def present(cache: Path = DEFAULT_CACHE) -> Programs | None:
    """The newest programs that are there already: the machine's own before those unpacked earlier."""
    if (own := _newest(Path("/"))) is not None:
        return Programs(own)
    if (unpacked := _newest(cache / "root")) is None:
        return None
    libraries = sorted({str(path.parent) for path in (cache / "root").glob("usr/lib/*-linux-gnu/*.so*")})
    return Programs(unpacked, ":".join(libraries) or None)


def why_not(cache: Path = DEFAULT_CACHE) -> str | None:
    """Why the programs can't be had on this machine, or None when they can."""
    if shutil.which("setpriv") is None:
        return "setpriv not found: install util-linux"
    if present(cache) is None and (absent := packages.absent_tools()):
        return f"{', '.join(absent)} not found: needs Debian or Ubuntu, or PostgreSQL {OLDEST} or newer there"
    return None


async def obtain(cache: Path = DEFAULT_CACHE, progress: Progress = lambda line: None) -> Programs:
    """The programs, unpacked first where they are missing. Several processes may ask at once; one unpacks."""
    if reason := why_not(cache):
        raise PostgresUnavailable(reason)
    if (programs := present(cache)) is not None:
        return programs
    try:
        await packages.unpack_once(cache, Bundle(PACKAGES), lambda: present(cache) is not None, progress)
    except PackagesUnavailable as error:
        raise PostgresUnavailable(str(error)) from error
    if (programs := present(cache)) is None:
        raise PostgresUnavailable(f"the packages {', '.join(PACKAGES)} lack {', '.join(NEEDED)}: this release is not supported")
    return programs


def _newest(root: Path) -> Path | None:
    folders = [path for path in root.glob("usr/lib/postgresql/*/bin") if path.parent.name.isdigit()]
    fitting = [path for path in folders if int(path.parent.name) >= OLDEST and _whole(path)]
    return max(fitting, key=lambda path: int(path.parent.name), default=None)


def _whole(folder: Path) -> bool:
    return all((folder / name).is_file() for name in NEEDED)

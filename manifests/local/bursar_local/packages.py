"""Programs of the distribution, unpacked into a private folder.

Packages are never installed: `apt-get download` and `dpkg -x` run no maintainer script, so no service starts, no user is made.
"""

import asyncio
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

APT_TOOLS = ("apt-get", "dpkg")
Progress = Callable[[str], None]


class PackagesUnavailable(Exception):
    """Packages that can't be had here; the text says which step failed and what to look at."""


@dataclass(frozen=True)
class Bundle:
    """Packages that belong together: `also` are some that apt may think are there, `finish` makes the unpacked tree usable."""

    packages: tuple[str, ...]
    also: tuple[str, ...] = ()
    finish: Callable[[Path], None] = lambda root: None


def absent_tools() -> list[str]:
    """What is missing to unpack packages at all."""
    return [tool for tool in APT_TOOLS if shutil.which(tool) is None]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time unpacks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


async def unpack_once(cache: Path, bundle: Bundle, is_there: Callable[[], bool], progress: Progress) -> None:
    """Unpack unless another process did meanwhile. The lock blocks, so this runs in a thread of its own."""

    async def once() -> None:
        with locked(cache / "lock"):
            if not is_there():
                await unpack(cache, bundle, progress)

    await asyncio.to_thread(lambda: asyncio.run(once()))


async def unpack(cache: Path, bundle: Bundle, progress: Progress) -> None:
    """Download the packages and those they need, and unpack them to `cache/root`."""
    downloads, fresh = cache / "packages", cache / "root.new"
    for folder in (downloads, fresh, cache / "root"):
        shutil.rmtree(folder, ignore_errors=True)
    downloads.mkdir()
    fresh.mkdir()
    progress("reading the package lists")
    await _apt("update", cwd=downloads, required=False)
    names = await _needed(bundle, downloads)
    progress(f"downloading {len(names)} packages")
    await _apt("download", *names, cwd=downloads)
    for package in sorted(downloads.glob("*.deb")):
        await _command(["dpkg", "-x", str(package), str(fresh)], cwd=downloads, timeout_seconds=120)
    bundle.finish(fresh)
    fresh.rename(cache / "root")
    shutil.rmtree(downloads, ignore_errors=True)


async def _needed(bundle: Bundle, folder: Path) -> list[str]:
    """Ours and those they need that the machine lacks; a line with a bracketed version is an upgrade, which we leave alone."""
    plan = await _apt("install", "--simulate", "--yes", "--no-install-recommends", *bundle.packages, cwd=folder)
    rows = [line.split() for line in plan.splitlines() if line.startswith("Inst ")]
    lacking = {row[1] for row in rows if len(row) > 2 and not row[2].startswith("[")}
    # A machine that has some of them installed still needs its own copy of ours, since all are looked for in one place.
    return sorted(lacking | set(bundle.packages) | set(bundle.also))


async def _apt(verb: str, *arguments: str, cwd: Path, required: bool = True) -> str:
    options = ["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30"]
    try:
        return await _command(["apt-get", *options, verb, *arguments], cwd=cwd, timeout_seconds=300)
    except PackagesUnavailable:
        if required:
            raise
        return ""  # lists from an earlier update may do


async def _command(argv: Sequence[str], *, cwd: Path, timeout_seconds: float) -> str:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), timeout_seconds)
    except TimeoutError as error:
        process.kill()
        await process.wait()
        raise PackagesUnavailable(
            f"`{' '.join(argv[:8])}` took over {timeout_seconds:.0f} s: check the network and apt's sources"
        ) from error
    text = output.decode(errors="replace")
    if process.returncode != 0:
        tail = " | ".join(text.strip().splitlines()[-3:])
        raise PackagesUnavailable(
            f"`{' '.join(argv)}` ended with {process.returncode}: {tail}. Check the network and apt's sources"
        )
    return text

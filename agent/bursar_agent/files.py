"""Files that survive a crash: replaced whole, or lines appended and on disk before the caller goes on."""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import orjson


class StateInUse(Exception):
    """Another agent works with this state directory."""


class DamagedFile(Exception):
    """A file of the state directory that is not what was written to it."""


def replace(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o600, durable: bool = True) -> None:
    """Write a file, in one piece or several, so that readers, and a restart after a crash, see the old or the new one."""
    write_beside(path, data, mode=mode, durable=durable)
    put_in_place(path, durable=durable)


def write_beside(path: Path, data: bytes | Iterable[bytes], *, mode: int = 0o600, durable: bool = True) -> None:
    """Write what is to take the file's place; nobody sees it yet."""
    descriptor = os.open(_beside(path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.writelines((data,) if isinstance(data, bytes) else data)
        if durable:
            stream.flush()
            os.fsync(stream.fileno())


def put_in_place(path: Path, *, tail_from: int | None = None, durable: bool = True) -> None:
    """Let what was written beside the file take its place. ``tail_from``: with the file's bytes from there on at its end."""
    temporary = _beside(path)
    if tail_from is not None:
        with path.open("rb") as old, temporary.open("ab") as new:
            old.seek(tail_from)
            shutil.copyfileobj(old, new)
            new.flush()
            os.fsync(new.fileno())
    temporary.replace(path)
    if durable:
        sync_directory(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def sync_directory(path: Path) -> None:
    """Make a rename or a new file in it last."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append_durably(path: Path, lines: Iterable[Mapping[str, object]]) -> None:
    """Add JSON lines and wait until they are on disk. A torn last line of an earlier crash is closed off first."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as stream:
        size = stream.seek(0, os.SEEK_END)
        torn = b""
        if size:
            stream.seek(size - 1)
            torn = b"" if stream.read(1) == b"\n" else b"\n"
        stream.write(torn + b"".join(orjson.dumps(line) + b"\n" for line in lines))
        os.fsync(stream.fileno())
    if is_new:
        sync_directory(path.parent)


def read_lines(path: Path, size: int | None = None, but: bytes | None = None) -> Iterator[dict[str, object]]:
    """JSON lines of the first ``size`` bytes, oldest first, without those that begin with ``but``.

    Torn ones (a crash while writing, never acted upon) are dropped.
    """
    return (line for _, line in read_places(path, 0, size, but))


def read_places(
    path: Path, begin: int, size: int | None = None, but: bytes | None = None
) -> Iterator[tuple[int, dict[str, object]]]:
    """The same from byte ``begin`` on, each line with the byte that it begins at."""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as stream:
        at = stream.seek(begin)
        for line in stream:
            if size is not None and at >= size:
                return
            if but is None or not line.startswith(but):
                with contextlib.suppress(orjson.JSONDecodeError):
                    yield at, orjson.loads(line)
            at += len(line)


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """One writer at a time; StateInUse where there is another one."""
    descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StateInUse(f"{directory}: another agent works with this state directory; stop it first") from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)

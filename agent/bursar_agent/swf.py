"""Reader of the Standard Workload Format: one job a line, 18 fields, -1 for unknown, comments behind `;`.

Strict: a line that is not exactly that is reported with its number and skipped, never guessed at. A log whose compressed
data breaks off is reported the same way; what came before it stands.
"""

import gzip
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

FIELDS: Final = 18
LONGEST: Final = 2**31 - 1  # seconds or processors; anything above is no measurement
_MAGIC: Final = b"\x1f\x8b"
_SHOWN: Final = 60
_LONGEST_LINE: Final = 4096
_INTEGER: Final = re.compile(rb"-?[0-9]{1,18}")
_DECIMAL: Final = re.compile(rb"-?[0-9]{1,18}(\.[0-9]{1,18})?")
_AVERAGES: Final = frozenset({5, 6, 9})  # CPU time and memory are averages: archives write some with decimals
_LINE: Final = re.compile(
    rb"\s+".join((_DECIMAL if index in _AVERAGES else _INTEGER).pattern for index in range(FIELDS)).replace(b"(\\.", b"(?:\\.")
)
_HEADER: Final = re.compile(rb";\s*([A-Za-z]+):\s*(.*)")


class UnreadableLog(Exception):
    """The log can't be opened, or is nothing that can be read."""


class LogJob(NamedTuple):
    """One job. Times are seconds since the log's start; ``limit`` is None where the log has no time limits."""

    line: int
    number: int
    start: int
    seconds: int
    processors: int
    user: str
    group: str
    limit: int | None = None

    @property
    def bookable(self) -> bool:
        """Whether it says how long it ran on how much; zero seconds count."""
        return self.seconds >= 0 and self.processors > 0


@dataclass(frozen=True, slots=True)
class Fault:
    """A line that is no job: its number and what is wrong with it."""

    line: int
    problem: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.problem}"


@dataclass(slots=True)
class Log:
    """What a log says beside its jobs, as far as it was read: `header` fields, garbled lines, jobs that can't be booked.

    ``truncated``: its data breaks off.
    """

    header: dict[str, str] = field(default_factory=dict)
    faults: int = 0
    unbookable: int = 0
    truncated: bool = False

    @property
    def unix_start(self) -> int:
        """Epoch seconds of the log's second 0."""
        text = self.header.get("UnixStartTime", "").strip()
        return int(text) if re.fullmatch(r"[0-9]{1,10}", text) else 0

    @property
    def skipped(self) -> int:
        """Lines that were not booked: faults and jobs without run time or processors."""
        return self.faults + self.unbookable


def read(path: Path, log: Log, report: Callable[[Fault], None] = lambda fault: None) -> Iterator[LogJob]:
    """Jobs that can be booked, one by one, gzip or plain; ``log`` is filled meanwhile and each fault reported as it is met.

    UnreadableLog where there is nothing to read.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(len(_MAGIC)) == _MAGIC
            raw.seek(0)
            for number, line in enumerate(_lines(gzip.GzipFile(fileobj=raw) if is_gzip else raw, log), 1):
                job = _take(log, number, line, report)
                if job is not None:
                    yield job
    except OSError as error:
        raise UnreadableLog(f"{path}: {error.strerror or error}") from error


def _lines(stream: BinaryIO | gzip.GzipFile, log: Log) -> Iterator[bytes]:
    """Lines until the end, or until the compressed data breaks off; a last piece of a line is yielded as it stands."""
    while True:
        try:
            line = stream.readline(_LONGEST_LINE)
        except (EOFError, zlib.error, gzip.BadGzipFile):
            log.truncated = True
            return
        if not line:
            return
        yield line


def _take(log: Log, number: int, line: bytes, report: Callable[[Fault], None]) -> LogJob | None:
    text = line.strip()
    if not text:
        return None
    if text.startswith(b";"):
        match = _HEADER.fullmatch(text)
        if match:
            log.header.setdefault(match[1].decode(), match[2].decode(errors="replace"))
        return None
    try:
        job = _job(number, text)
    except ValueError as error:
        log.faults += 1
        report(Fault(number, str(error)))
        return None
    if job.bookable:
        return job
    log.unbookable += 1
    return None


def _job(number: int, text: bytes) -> LogJob:
    """The job of one line; ValueError says what is wrong with it."""
    parts = text.split()
    if not _LINE.fullmatch(text):
        raise ValueError(_problem(text, parts))
    submit, wait, seconds, processors = (int(parts[index]) for index in (1, 2, 3, 4))
    limit = int(parts[8])
    if max(submit, wait, seconds, processors) > LONGEST:
        names = {"submit time": submit, "wait time": wait, "run time": seconds, "processors": processors}
        name, value = next((name, value) for name, value in names.items() if value > LONGEST)
        raise ValueError(f"{name} {value} is more than any machine has seen")
    return LogJob(
        line=number,
        number=int(parts[0]),
        start=max(0, submit) + max(0, wait),
        seconds=seconds,
        processors=processors,
        user=sys.intern(str(int(parts[11]))),
        group=sys.intern(str(int(parts[12]))),
        limit=limit if limit > 0 else None,
    )


def _problem(text: bytes, parts: list[bytes]) -> str:
    """Why a line is no job."""
    if len(parts) != FIELDS:
        return f"{len(parts)} fields where a job has {FIELDS}: {_show(text)}"
    for index, part in enumerate(parts):
        if not (_DECIMAL if index in _AVERAGES else _INTEGER).fullmatch(part):
            return f"field {index + 1} is {_show(part)}, not a number"
    return f"no line of a job: {_show(text)}"


def _show(text: bytes) -> str:
    shown = text[:_SHOWN].decode("ascii", errors="backslashreplace")
    return repr(shown if len(text) <= _SHOWN else shown + "…")

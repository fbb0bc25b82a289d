"""The sweep: old job records are read again, a slice at a time, so that each day is looked at within a day.

Records that come or change days after the job, when somebody mended runaway jobs or a database was restored, are seen by no
other read. The sweep goes backwards from where the ordinary reads begin, and over again from there. It never touches the
watermark; what it finds replaces slots, and where these were closed the ledger makes corrections of the difference.

Where records show less than was counted they may have been purged. Slurm purges those that ended first, so less is believed
only where records of jobs that ended even earlier are still there.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
import structlog

from bursar_agent import files
from bursar_agent.schedulers.base import Scheduler, SchedulerError
from bursar_agent.slices import DistrustedRead, IsOurs, Slice, Slices, Trust
from bursar_agent.usagebook import UsageBook
from bursar_agent.usagereader import UsageReader
from bursar_domain.units import DAY, HOUR

MOST_HOURS: Final = 24
RETRY_SECONDS: Final = 300
LOOKS_FOR_EARLIER: Final = 5

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Position:
    """``until``: end of the next slice (None: where ordinary reads begin). ``due``: second of the scheduler's clock."""

    until: int | None = None
    due: int = 0


class Sweep:
    """Of one cluster, over so many days; 0 for none. Its position lies in `usage-sweep.json` of the state directory."""

    def __init__(self, book: UsageBook, reader: UsageReader, directory: Path, days: int) -> None:
        """Go on where an earlier run was."""
        self._book, self._reader, self._days = book, reader, days
        self._path = directory / "usage-sweep.json"
        self._position = _load(self._path)
        self._slices, self._trust = Slices(book), Trust()

    async def step(self, scheduler: Scheduler, is_ours: IsOurs, now: int) -> int:
        """Read the next slice if it is time; how many slots changed. Meant to run beside the cycles."""
        span = self._span(now)
        if span is None or self._position.due > now:
            return 0
        bottom, top = span
        until = min(top, top if self._position.until is None else self._position.until)
        until = until if until > bottom else top
        before = self._reader.wide_reads
        try:
            part = await self._slices.read(scheduler, is_ours, until, bottom, MOST_HOURS)
            is_purged = await self._is_purged(scheduler, part)
            if self._reader.wide_reads != before:
                return 0  # an ordinary read went so far back meanwhile: which of the two is newer can't be told
            changed = 0 if is_purged else self._count(part)
        except (SchedulerError, DistrustedRead) as error:
            log.info("old job records are read again later", reason=str(error))
            self._move(Position(until, now + RETRY_SECONDS))
            return 0
        self._move(Position(part.since, now + (until - part.since) // self._days))
        return changed

    def _span(self, now: int) -> tuple[int, int] | None:
        """The hours to be swept; None where there are none yet, or older ones are being read anyway."""
        top, covered = self._reader.old_until, self._book.covered_from
        if not self._days or top is None or covered is None or not self._reader.is_at_rest:
            return None
        bottom = max(covered, (now - self._days * DAY) // HOUR * HOUR)
        return (bottom, top) if bottom < top else None

    async def _is_purged(self, scheduler: Scheduler, part: Slice) -> bool:
        before, now = self._book.allocated(part.slots, part.since, part.until)
        if now >= before or await self._is_anything_earlier(scheduler, part):
            return False
        log.warning(
            "old job records are gone, and nothing older is there: taken for purged, what was counted stays",
            since=part.since,
            until=part.until,
            missing=before - now,
        )
        return True

    def _count(self, part: Slice) -> int:
        changed = self._slices.count(part, self._trust)
        self._trust.done()
        if changed:
            log.warning("old job records changed", since=part.since, until=part.until, slots=changed)
        return changed

    async def _is_anything_earlier(self, scheduler: Scheduler, part: Slice) -> bool:
        """Whether there are records of jobs that ended before the slice; looked for further back each time."""
        since = part.since
        for look in range(LOOKS_FOR_EARLIER):
            since, until = max(0, since - (part.until - part.since) * 2**look), since
            found = await scheduler.usage(since, until)
            if any(not job.running and job.end + job.suspended_seconds <= part.since for job in found.jobs):
                return True
        return False

    def _move(self, to: Position) -> None:
        files.replace(self._path, orjson.dumps({"until": to.until, "due": to.due}))
        self._position = to


def _load(path: Path) -> Position:
    """Where there is none, or none that can be read, the sweep begins anew: that takes nothing but time."""
    try:
        found = orjson.loads(path.read_bytes())
        return Position(int(found["until"]), int(found["due"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return Position()

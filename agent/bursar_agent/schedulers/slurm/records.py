"""Job records: what each attempt of each job held and for how long; a strict parser of `sacct`. Pure.

Allocated amounts count, never requested ones. A job covers `[start, start + elapsed)`: time in suspension is not use.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from bursar_agent.schedulers.base import UNKNOWN_USER
from bursar_agent.schedulers.slurm import tres
from bursar_agent.schedulers.slurm.factors import FactorAt
from bursar_domain.buckets import JobUse
from bursar_domain.units import HOUR, MINUTE

FIELDS: Final = (
    "dbindex",
    "jobidraw",
    "account",
    "user",
    "qos",
    "start",
    "end",
    "elapsedraw",
    "state",
    "alloctres",
    "timelimitraw",
)
NO_TIME: Final = frozenset({"", "Unknown", "None", "0"})
ACTIVE: Final = frozenset({"RUNNING", "SUSPENDED", "COMPLETING", "STOPPED", "RESIZING", "SIGNALING", "STAGE_OUT"})
WAITING: Final = frozenset({"PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT"})
MOST_WINDOWS: Final = 400
HANDOVER_SECONDS: Final = 15

Trackables = Mapping[str, str]
"""Bursar's resource to Slurm's TRES."""


@dataclass(frozen=True, slots=True)
class Record:
    """One attempt; `end` is None while it runs."""

    key: str
    job_id: str
    account: str
    user: str
    start: int
    end: int | None
    elapsed: int
    state: str
    held: Mapping[str, int]
    factor_thousandths: int
    limit_seconds: int | None


def arguments(cluster: str, since: int, until: int | None) -> tuple[str, ...]:
    """Arguments of sacct for one window; without `until` it ends now. Times are UTC, since TZ is."""
    end = () if until is None else ("--endtime", _instant(until))
    shape = ("--clusters", cluster, "--allusers", "--duplicates", "--allocations", "--noheader", "--parsable2", "--noconvert")
    return (*shape, "--starttime", _instant(since), *end, f"--format={','.join(FIELDS)}")


def windows(since: int, until: int | None, now: int, hours: int) -> list[tuple[int, int | None]]:
    """Consecutive windows from `since`, longer ones where it would take very many; the last is open unless `until` is given."""
    last = now if until is None else until
    step = max(hours * HOUR, (last - since) // MOST_WINDOWS)
    starts = range(since, max(last, since + 1), step)
    return [(start, start + step if start + step < last else until) for start in starts]


@dataclass(frozen=True, slots=True)
class Listed:
    """A job as the controller has it: when its present attempt began, and ended; None for what has not happened."""

    start: int | None
    end: int | None


def listing_arguments() -> tuple[str, ...]:
    """Arguments of squeue for `parse_listing`."""
    return ("--noheader", "--all", "--states=all", "--format=%A|%T|%S|%e")


def parse_listing(text: str) -> dict[str, Listed]:
    """The controller's jobs by number, those that ended a moment ago among them."""
    rows = (line.strip().split("|") for line in text.splitlines() if line.count("|") == 3)
    return {job: _listed(state, start, end) for job, state, start, end in rows}


def _listed(state: str, start: str, end: str) -> Listed:
    if state in WAITING or not start.isdecimal():
        return Listed(None, None)
    # The end of a running job is its time limit's.
    return Listed(int(start), int(end) if state not in ACTIVE and end.isdecimal() else None)


def complete_until(found: Iterable[Record], listed: Mapping[str, Listed], since: int, read_at: int) -> int:
    """The second up to which records from `since` on are complete, given that slurmdbd had been told everything.

    slurmctld hands over a new job's record some seconds late, outside of the queue that sdiag shows, and after a restart it
    may count a job that ended long before its record is there (both seen on 22.05). So an attempt that it lists and that has
    no record holds the second back to its start, unless it runs and has just begun: the next read has it.
    """
    recorded: dict[str, int] = {}
    for record in found:
        recorded[record.job_id] = max(record.start, recorded.get(record.job_id, 0))
    late = [
        job.start
        for name, job in listed.items()
        if job.start is not None
        and recorded.get(name, 0) < job.start - HANDOVER_SECONDS
        and (job.start < read_at - HANDOVER_SECONDS if job.end is None else max(since, job.start) < job.end)
    ]
    return max(since, min(late, default=read_at))


def ended_at(record: Record, listed: Mapping[str, Listed]) -> int | None:
    """When the controller knows the attempt of an open record to have ended, though the record does not say so yet."""
    job = listed.get(record.job_id)
    if job is None or job.start is None:
        return None
    return job.start if job.start > record.start else job.end


def parse(text: str, cluster: str, factor_at: FactorAt) -> tuple[list[Record], int]:
    """Attempts that began, and how many rows could not be read (they are skipped and counted)."""
    records: list[Record] = []
    bad = 0
    seen: dict[str, Mapping[str, int]] = {}  # most jobs look like others
    for line in text.splitlines():
        try:
            record = _record(line, cluster, factor_at, seen)
        except ValueError:
            bad += 1
            continue
        if record is not None:
            records.append(record)
    return records, bad


def _record(line: str, cluster: str, factor_at: FactorAt, seen: dict[str, Mapping[str, int]]) -> Record | None:
    values = line.split("|")
    if len(values) != len(FIELDS):
        raise ValueError(f"{len(values)} fields, not {len(FIELDS)}")
    index, job_id, account, user, qos, start, end, elapsed, state, held, limit = values
    if start in NO_TIME or not held:
        return None  # waits, or was ended before it began
    if held not in seen:
        seen[held] = tres.parse(held)
    began, lasted = _natural(start), _natural(elapsed)
    ended = None if end in NO_TIME else _natural(end)
    if ended is not None and lasted > max(0, ended - began):
        raise ValueError(f"{lasted} s between {began} and {ended}")
    return Record(
        key=f"{cluster}:{_natural(index)}",
        job_id=str(_natural(job_id)),
        account=account,
        user=user or UNKNOWN_USER,
        start=began,
        end=ended,
        elapsed=lasted,
        state=state.split(" ")[0],
        held=seen[held],
        factor_thousandths=factor_at(qos, began),
        limit_seconds=_natural(limit) * MINUTE if limit.isdecimal() else None,
    )


def _natural(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"{text!r} is not a whole number")
    return int(text)


def newest(batches: Iterable[Sequence[Record]]) -> dict[str, Record]:
    """One record per attempt; a later read of the same attempt replaces the earlier."""
    return {record.key: record for batch in batches for record in batch}


def use(record: Record, trackables: Trackables, asked_at: int, ended: int | None = None) -> JobUse:
    """What an attempt used. `ended`: when the attempt of an open record ended, as far as the controller tells.

    One whose job the controller forgot lasts at most as long as its time limit. `asked_at`: a second that slurmdbd's answer
    is no older than; what an open record lacks up to it, it spent in suspension.
    """
    end = record.start + record.elapsed
    running = record.end is None and ended is None
    if record.end is None and ended is not None:
        limit = record.elapsed if record.limit_seconds is None else record.limit_seconds
        end = min(end, max(record.start, ended), record.start + limit)
    return JobUse(
        key=record.key,
        account=record.account,
        user=record.user,
        start=record.start,
        end=end,
        allocated=_allocated(record.held, trackables),
        state=record.state,
        factor_thousandths=record.factor_thousandths,
        running=running,
        limit_seconds=record.limit_seconds,
        suspended_seconds=max(0, (asked_at if record.end is None else record.end) - record.start - record.elapsed),
    )


def _allocated(held: Mapping[str, int], trackables: Trackables) -> dict[str, int]:
    amounts = {resource: tres.amount_of(held, trackable) for resource, trackable in trackables.items()}
    return {resource: amount for resource, amount in amounts.items() if amount}


def _instant(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")

"""Accounts of the simulated scheduler: limits, counters, and the question whether a job may start.

As Slurm does with `AccountingStorageEnforce=safe`: a job starts only if its time limit times its TRES, and what running jobs
may still use, fit below the limit. What a job has used and may still use adds up to TRES × time limit from start to end, so
the answer needs no clock; only the wall of running remainders (`GrpTRESRunMins`) does.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from bursar_agent.schedulers.base import AccountChange, AccountView, Reading
from bursar_agent.schedulers.simulator.jobs import (
    HELD,
    Attempt,
    Job,
    concurrent_reason,
    minutes_reason,
    run_minutes_reason,
)
from bursar_domain.units import MINUTE

UNLIMITED = -1


def _counts() -> defaultdict[str, int]:
    return defaultdict(int)


@dataclass(slots=True)
class Account:
    """One association. `done`: unit-seconds of ended jobs; the sums over running jobs are kept as they start and end."""

    name: str
    description: str = ""
    parent: str = ""
    limits: dict[str, int] = field(default_factory=dict)
    run_minutes: dict[str, int] = field(default_factory=dict)
    concurrent: dict[str, int] = field(default_factory=dict)
    held: bool = False
    blocked: bool = False
    qos: str = ""
    members: set[str] = field(default_factory=set)
    done: defaultdict[str, int] = field(default_factory=_counts)
    running: dict[int, Attempt] = field(default_factory=dict)
    promised: defaultdict[str, int] = field(default_factory=_counts)  # Σ units × time limit
    in_use: defaultdict[str, int] = field(default_factory=_counts)  # Σ units
    counting: defaultdict[str, int] = field(default_factory=_counts)  # Σ units that count
    deadlines: defaultdict[str, int] = field(default_factory=_counts)  # Σ units × (start + time limit)

    def refuses(self, job: Job, tick: int) -> str:
        """Why the job may not start, in Slurm's words, or ""; ``tick`` is when the counters were last brought up to date."""
        if self.held:
            return HELD
        for name in job.held:
            limit = self.limits.get(name)
            if job.free and limit != 0:
                continue  # it costs nothing; only a limit of 0 stops it, as Slurm has it
            if limit is not None and self.done[name] + self.promised[name] + job.needs(name) > limit * MINUTE:
                return minutes_reason(name)
            wall = self.run_minutes.get(name)
            if wall is not None and self.remainder(name, tick) + job.needs(name) > wall * MINUTE:
                return run_minutes_reason(name)
        for name in job.held:
            most = self.concurrent.get(name)
            if most is not None and self.in_use[name] + job.held[name] > most:
                return concurrent_reason(name)
        return ""

    def remainder(self, name: str, tick: int) -> int:
        """Unit-seconds that running jobs may still use, as of ``tick``; a job that started since counts whole."""
        younger = takewhile(lambda attempt: attempt.start > tick, reversed(self.running.values()))
        late = sum(attempt.job.counts(name) * (attempt.start - tick) for attempt in younger)
        return self.deadlines[name] - tick * self.counting[name] - late

    def begin(self, attempt: Attempt) -> None:
        """Count a job that starts."""
        self.running[attempt.job.number] = attempt
        self._count(attempt, 1)

    def finish(self, attempt: Attempt) -> None:
        """Count a job that ended."""
        del self.running[attempt.job.number]
        self._count(attempt, -1)
        for name in attempt.job.held:
            self.done[name] += attempt.job.counts(name) * attempt.job.seconds

    def _count(self, attempt: Attempt, sign: int) -> None:
        for name, units in attempt.job.held.items():
            self.promised[name] += sign * attempt.job.needs(name)
            self.in_use[name] += sign * units
            counting = sign * attempt.job.counts(name)
            self.counting[name] += counting
            self.deadlines[name] += counting * (attempt.start + attempt.job.limit)

    def change(self, change: AccountChange) -> None:
        """Write absolute values; -1 takes a limit off."""
        _write(self.limits, change.limits)
        _write(self.run_minutes, change.run_minutes)
        _write(self.concurrent, change.concurrent)
        self.held = self.held if change.held is None else change.held
        self.blocked = self.blocked if change.blocked is None else change.blocked
        self.qos = self.qos if change.qos is None else change.qos
        self.members |= change.add_members
        self.members -= change.remove_members

    def view(self, tick: int, names: Iterable[str], mark: str) -> AccountView:
        """The account as `sshare` and `list assoc` would show it."""
        return AccountView(
            account=self.name,
            owned=self.description.startswith(mark),
            parent=self.parent,
            readings={name: self._reading(name, tick) for name in {*names, *self.limits, *self.done}},
            members=frozenset(self.members),
            held=self.held,
            blocked=self.blocked,
            qos=self.qos,
        )

    def _reading(self, name: str, tick: int) -> Reading:
        remainder = self.remainder(name, tick)
        used = self.done[name] + self.promised[name] - remainder
        return Reading(
            limit=self.limits.get(name),
            run_minutes_limit=self.run_minutes.get(name),
            counter=used // MINUTE,
            running=remainder // MINUTE,
            concurrent_limit=self.concurrent.get(name),
        )


def _write(target: dict[str, int], values: Mapping[str, int]) -> None:
    for name, value in values.items():
        if value == UNLIMITED:
            target.pop(name, None)
        else:
            target[name] = value

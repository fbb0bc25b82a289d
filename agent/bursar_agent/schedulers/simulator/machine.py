"""The simulated machine: a clock, a queue, nodes and accounts. Deterministic: same jobs and same changes, same result.

Time moves from event to event (a job is submitted, a job ends), so it makes no difference in how many steps `advance` is
called. Accounts queue first in, first out. A job that waits for nodes lets nobody past (there is no backfill); one that waits
for a limit of its account stops that account alone.
"""

import heapq
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator.accounts import Account
from bursar_agent.schedulers.simulator.jobs import INVALID_ACCOUNT, PRIORITY, RESOURCES, TOO_LARGE, Attempt, Job, Refusal


class Machine:
    """A cluster of ``processors`` whose counters are brought up to date every ``counter_period`` seconds (0: always)."""

    def __init__(self, jobs: Iterable[Job], *, start: int, processors: int, counter_period: int = 0) -> None:
        self.now = start
        self.accounts: dict[str, Account] = {}
        self.root = ""
        self.processors = processors
        self.finished: list[Attempt] = []
        self.started = 0
        self.refusals: dict[int, Refusal] = {}
        self.reasons: dict[int, str] = {}
        self._period = counter_period
        self._free = processors
        self._coming = deque(sorted(jobs))
        self._stranded: list[Job] = []
        self._queues: dict[str, deque[Job]] = {}
        self._ends: list[tuple[int, int, Attempt]] = []

    @property
    def tick(self) -> int:
        """When the counters were last brought up to date."""
        return self.now - self.now % self._period if self._period else self.now

    @property
    def coming(self) -> int:
        """Jobs that are not submitted yet."""
        return len(self._coming)

    @property
    def pending(self) -> int:
        """Jobs that wait."""
        return sum(len(queue) for queue in self._queues.values()) + len(self._stranded)

    @property
    def running(self) -> int:
        """Jobs that run."""
        return len(self._ends)

    @property
    def next_event(self) -> int | None:
        """When something happens next, if anything does."""
        submits = [self._coming[0].submit] if self._coming else []
        ends = [self._ends[0][0]] if self._ends else []
        return min(submits + ends, default=None)

    @property
    def submitted(self) -> int:
        """Jobs that ever came in."""
        return self.pending + self.running + len(self.finished) + self.coming

    @property
    def last_submit(self) -> int:
        """When the last job comes in of those that are still to come."""
        return self._coming[-1].submit if self._coming else self.now

    @property
    def last_end(self) -> int:
        """When the last job ends of those that run."""
        return max((end for end, _, _ in self._ends), default=self.now)

    def advance(self, to: int) -> None:
        """Let the clock run to ``to``."""
        while (at := self.next_event) is not None and at <= to:
            self.now = max(self.now, at)
            self._end_jobs()
            self._take_jobs()
            self.schedule()
        self.now = max(self.now, to)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs beside those of the log."""
        self._coming = deque(sorted([*self._coming, *jobs]))
        self.advance(self.now)

    def change(self, change: AccountChange, tracked: Sequence[str]) -> None:
        """Carry out one change; a new account begins with limit 1 on everything tracked. Nothing starts before `schedule`."""
        account = self.accounts.get(change.account)
        if account is None:
            account = Account(change.account, change.description, change.parent, limits=dict.fromkeys(tracked, 1))
            self.accounts[change.account] = account
        account.change(change)
        stranded, self._stranded = self._stranded, []
        for job in stranded:
            self._queue(job)

    def schedule(self) -> None:
        """Start whatever may start now, first come, first served."""
        blocked: set[str] = set()
        for job in self._candidates(blocked):
            reason = self._refuses(job)
            if not reason and job.held.get("cpu", 0) > self._free:
                self._wait(RESOURCES, job)
                break
            if reason:
                blocked.add(job.account)
                self._refuse(job, reason)
            else:
                self._start(job)

    def _candidates(self, blocked: set[str]) -> Iterator[Job]:
        """Jobs in order of submission over all accounts that are not blocked."""
        heads = [queue[0] for queue in self._queues.values() if queue]
        heapq.heapify(heads)
        while heads:
            job = heapq.heappop(heads)
            if impossible := self._impossible(job):
                self._strand(job, impossible)
            else:
                yield job
            queue = self._queues[job.account]
            if job.account not in blocked and queue:
                heapq.heappush(heads, queue[0])

    def _queue(self, job: Job) -> None:
        """Put a job in its account's queue, or aside while nobody may run it."""
        queue = self._queues.setdefault(job.account, deque())
        insort(queue, job)
        if impossible := self._impossible(job):
            self._strand(job, impossible)

    def _strand(self, job: Job, reason: str) -> None:
        self._queues[job.account].remove(job)
        self._stranded.append(job)
        self._refuse(job, reason)

    def _impossible(self, job: Job) -> str:
        account = self.accounts.get(job.account)
        if account is None or job.user not in account.members:
            return INVALID_ACCOUNT
        return TOO_LARGE if job.held.get("cpu", 0) > self.processors else ""

    def _refuses(self, job: Job) -> str:
        own = self.accounts[job.account].refuses(job, self.tick)
        root = self.accounts.get(self.root)
        return own or (root.refuses(job, self.tick) if root else "")

    def _start(self, job: Job) -> None:
        attempt = Attempt(job, self.now)
        self._queues[job.account].remove(job)
        self._free -= job.held.get("cpu", 0)
        heapq.heappush(self._ends, (attempt.end, job.number, attempt))
        for account in self._chain(job.account):
            account.begin(attempt)
        self.started += 1
        self.reasons.pop(job.number, None)
        refusal = self.refusals.get(job.number)
        if refusal is not None:
            refusal.started = self.now

    def _end_jobs(self) -> None:
        while self._ends and self._ends[0][0] <= self.now:
            _, _, attempt = heapq.heappop(self._ends)
            self._free += attempt.job.held.get("cpu", 0)
            for account in self._chain(attempt.job.account):
                account.finish(attempt)
            self.finished.append(attempt)

    def _take_jobs(self) -> None:
        while self._coming and self._coming[0].submit <= self.now:
            self._queue(self._coming.popleft())

    def _chain(self, name: str) -> list[Account]:
        """The account and the root account above it."""
        names = [name] if name == self.root else [name, self.root]
        return [self.accounts[item] for item in names if item in self.accounts]

    def _refuse(self, job: Job, reason: str) -> None:
        self._wait(reason, job)
        if job.number not in self.refusals:
            self.refusals[job.number] = Refusal(job.number, job.account, job.user, reason, self.now)

    def _wait(self, reason: str, job: Job) -> None:
        self.reasons[job.number] = reason

    def waiting(self) -> Iterator[tuple[Job, str]]:
        """Every job that waits, and why, as `squeue` would show it."""
        for queue in (*self._queues.values(), self._stranded):
            for job in queue:
                yield job, self.reasons.get(job.number, PRIORITY)

    def overlapping(self, since: int) -> Iterator[Attempt]:
        """Attempts that overlap [since, now); those that took no time as well."""
        yield from self.finished[bisect_left(self.finished, since, key=lambda attempt: attempt.end) :]
        yield from (attempt for _, _, attempt in sorted(self._ends, key=lambda item: item[:2]))

    def lose_counters(self) -> None:
        """Forget all counters, as when slurmctld loses its state files; running jobs go on counting."""
        for account in self.accounts.values():
            account.done.clear()

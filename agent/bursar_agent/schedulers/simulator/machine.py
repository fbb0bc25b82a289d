"""The simulated machine: a clock, a queue, nodes and accounts. Deterministic: same jobs and same changes, same result.

Time moves from event to event (a job is submitted, a job ends), so it makes no difference in how many steps `advance` is
called. Accounts queue first in, first out. A job that waits for nodes lets nobody past (there is no backfill); one that waits
for a limit of its account stops that account alone.

Work per event does not grow with the number of accounts: an account that a limit stopped is asked again when something about
it changed; only where the passing of time or the root account may decide otherwise it is asked at each event.
"""

import heapq
from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator.accounts import Account
from bursar_agent.schedulers.simulator.jobs import (
    BLOCKED,
    INVALID_ACCOUNT,
    OTHER_QOS,
    PRIORITY,
    RESOURCES,
    TOO_LARGE,
    Attempt,
    Job,
    Refusal,
    is_timeless,
)


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
        self._coming = deque(sorted(jobs, key=_place))
        self.submitted = len(self._coming)  # jobs that ever came in
        self._stranded: defaultdict[str, list[Job]] = defaultdict(list)
        self._queues: defaultdict[str, deque[Job]] = defaultdict(deque)
        self._heads: list[tuple[int, int, str]] = []  # (submit, number, account), stale ones among them
        self._stopped: set[str] = set()  # accounts whose head a limit stopped; they have no entry that counts
        self._restless: list[str] = []  # those of them that are asked again at each event
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
        return self.submitted - len(self._coming) - len(self._ends) - len(self.finished)

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
    def last_submit(self) -> int:
        """When the last job comes in of those that are still to come."""
        return self._coming[-1].submit if self._coming else self.now

    @property
    def last_end(self) -> int:
        """When the last job ends of those that run."""
        return max((end for end, _, _ in self._ends), default=self.now)

    def advance(self, to: int) -> None:
        """Let the clock run to ``to``."""
        self._ask_all_again()
        while (at := self.next_event) is not None and at <= to:
            self.now = max(self.now, at)
            self._end_jobs()
            self._take_jobs()
            self._start_jobs()
        self.now = max(self.now, to)

    def submit(self, jobs: Iterable[Job]) -> None:
        """Queue jobs beside those of the log."""
        fresh = sorted(jobs, key=_place)
        self.submitted += len(fresh)
        if fresh and self._coming and _place(fresh[-1]) > _place(self._coming[0]):
            self._coming = deque(sorted([*self._coming, *fresh], key=_place))
        else:
            self._coming.extendleft(reversed(fresh))
        self.advance(self.now)

    def change(self, change: AccountChange, tracked: Sequence[str]) -> None:
        """Carry out one change; a new account begins with limit 1 on everything tracked. Nothing starts before `schedule`."""
        account = self.accounts.get(change.account)
        if account is None:
            account = Account(change.account, change.description, change.parent, limits=dict.fromkeys(tracked, 1))
            self.accounts[change.account] = account
        account.change(change)
        for job in self._stranded.pop(change.account, ()):
            self._queue(job)

    def schedule(self) -> None:
        """Start whatever may start now, first come, first served; whatever was changed meanwhile."""
        self._ask_all_again()
        self._start_jobs()

    def _ask_all_again(self) -> None:
        for name in [*self._stopped]:
            self._ask_again(name)

    def _ask_again(self, name: str) -> None:
        """Something about an account changed: its head may start now."""
        if name in self._stopped:
            self._stopped.remove(name)
            self._offer(name)

    def _offer(self, name: str) -> None:
        """Give the account's head its place among those that are asked; every account that is not stopped has one."""
        queue = self._queues[name]
        if queue and name not in self._stopped:
            heapq.heappush(self._heads, (*_place(queue[0]), name))

    def _start_jobs(self) -> None:
        restless, self._restless = self._restless, []
        for name in restless:
            self._ask_again(name)
        while self._heads:
            _, number, name = self._heads[0]
            queue = self._queues[name]
            if name in self._stopped or not queue or queue[0].number != number:
                heapq.heappop(self._heads)
                continue
            if not self._lets_others_past(queue[0]):
                break
            heapq.heappop(self._heads)
            self._offer(name)

    def _lets_others_past(self, job: Job) -> bool:
        """Start an account's head or set it, or the account, aside; False where it waits for nodes and so do all behind it."""
        if impossible := self._impossible(job):
            self._queues[job.account].popleft()
            self._strand(job, impossible)
            return True
        reason, is_timeless = self._refuses(job)
        if reason:
            self._stopped.add(job.account)
            if not is_timeless:
                self._restless.append(job.account)
            self._refuse(job, reason)
            return True
        if job.held.get("cpu", 0) > self._free:
            self._wait(RESOURCES, job)
            return False
        self._start(job)
        return True

    def _queue(self, job: Job) -> None:
        """Put a job in its account's queue, or aside while nobody may run it."""
        if impossible := self._impossible(job) or (BLOCKED if self.accounts[job.account].blocked else ""):
            self._strand(job, impossible)
            return
        queue = self._queues[job.account]
        if not queue or _place(queue[-1]) < _place(job):
            queue.append(job)
        else:
            insort(queue, job, key=_place)
        if queue[0] is job:
            self._offer(job.account)

    def _strand(self, job: Job, reason: str) -> None:
        self._stranded[job.account].append(job)
        self._refuse(job, reason)

    def _impossible(self, job: Job) -> str:
        account = self.accounts.get(job.account)
        if account is None or job.user not in account.members:
            return INVALID_ACCOUNT
        if account.qos and job.qos != account.qos:
            return OTHER_QOS
        return TOO_LARGE if job.held.get("cpu", 0) > self.processors else ""

    def _refuses(self, job: Job) -> tuple[str, bool]:
        """Why a limit keeps it, or ""; and whether nothing but a change of its own account can alter that."""
        own = self.accounts[job.account].refuses(job, self.tick)
        root = self.accounts.get(self.root)
        return own or (root.refuses(job, self.tick) if root else ""), is_timeless(own)

    def _start(self, job: Job) -> None:
        attempt = Attempt(job, self.now)
        self._queues[job.account].popleft()
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
            self._ask_again(attempt.job.account)
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
        for queue in (*self._queues.values(), *self._stranded.values()):
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


def _place(job: Job) -> tuple[int, int]:
    """Where a job stands in a queue."""
    return job.submit, job.number

"""The simulator behind the scheduler interface: a machine, a clock that runs faster, and files that outlive a restart."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import orjson

from bursar_agent.schedulers.base import MARK, AccountChange, Observation, Outcome, Readiness, UsageRead
from bursar_agent.schedulers.simulator import jobtrace, store
from bursar_agent.schedulers.simulator.jobs import Attempt, Job
from bursar_agent.schedulers.simulator.machine import Machine
from bursar_agent.schedulers.simulator.settings import SimulatorSettings, read_users
from bursar_agent.schedulers.simulator.status import status
from bursar_crds.reasons import Reason
from bursar_domain.buckets import JobUse
from bursar_domain.units import DEFAULT_TRACKABLE
from bursar_domain.wire import ClusterSettings, Miss

CAPABILITIES = ("limits", "runMinutes", "concurrent", "hold", "block", "softLand", "members", "usage", "simulatedTime")
RESOURCES = {tres: name for name, tres in DEFAULT_TRACKABLE.items()}
SUBMITTED_FROM = 1_000_000_000  # numbers of jobs that were handed in beside the log


class SimulatedScheduler:
    """A machine in this process. The clock moves when it is looked at (`observe`) and by `advance`; nothing else moves it."""

    def __init__(
        self,
        settings: SimulatorSettings,
        directory: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._store = store.Store(directory)
        self._inbox = directory / "submit.jsonl"
        self._status = directory / "status.json"
        self._clock, self._wall = clock, wall
        self._looked: float | None = None
        self._owed = 0.0
        trace = jobtrace.load(settings)
        self._skipped = trace.skipped
        self._members = frozenset(read_users(settings.users_table).values()) if settings.users_table else frozenset()
        self._tracked: tuple[str, ...] = ("cpu",)
        self._inbox_read = 0
        self.machine = self._resume(trace)

    # Inputs, kept before they act

    def _resume(self, trace: jobtrace.Trace) -> Machine:
        """The machine as it was: the same inputs again, each at its second."""
        events = list(self._store.events())
        if not events:
            start = self._first_second(trace.seconds)
            self._store.record("start", start)
            events = [{"kind": "start", "at": start}]
        start = _number(events[0]["at"])
        settings = self._settings
        jobs = trace.jobs(start)
        machine = Machine(jobs, start=start, processors=settings.processors, counter_period=settings.counter_period_seconds)
        for event in events[1:]:
            machine.advance(_number(event["at"]))
            self._replay(machine, event)
        machine.advance(self._store.clock)
        return machine

    def _first_second(self, log_seconds: int) -> int:
        ends_at = int(self._wall()) if self._settings.ends_at == "now" else self._settings.ends_at
        return ends_at - log_seconds

    def _replay(self, machine: Machine, event: Mapping[str, object]) -> None:
        if event["kind"] == "apply":
            tracked = tuple(_strings(event["tracked"]))
            changes = [store.change_from_json(orjson.dumps(item)) for item in _items(event["changes"])]
            _carry_out(machine, str(event["root"]), changes, tracked)
        elif event["kind"] == "submit":
            self._inbox_read = _number(event["inbox"])
            machine.submit([store.job_from_json(orjson.dumps(item)) for item in _items(event["jobs"])])

    # The clock

    def advance(self, to: int) -> None:
        """Run to a simulated second, at once."""
        self.machine.advance(to)
        self._store.clock = self.machine.now

    def _look(self) -> None:
        """Let the clock make up for the time since the last look; it stands still once nothing is left to happen."""
        now, last = self._clock(), self._looked
        self._looked = now
        self._take_submissions()
        if last is None or not self._may_run():
            return
        self._owed += min(now - last, self._settings.longest_look_seconds) * self._settings.speed
        step = int(self._owed) if self._settings.speed else self._settings.step_seconds
        self._owed -= int(self._owed)
        self.advance(min(self.machine.now + step, max(self.machine.now, self._horizon())))

    def _horizon(self) -> int:
        """Never past now, unless the machine still has work that ends later."""
        return max(int(self._wall()), self.machine.last_end, self.machine.last_submit)

    def _may_run(self) -> bool:
        return self._settings.start_when == "Immediately" or not self.missing_associations()

    def missing_associations(self) -> list[tuple[str, str]]:
        """(user, account) of the table that are not there yet."""
        accounts = self.machine.accounts
        return sorted(
            (user, name) for user, name in self._members if name not in accounts or user not in accounts[name].members
        )

    def submit(
        self, user: str, account: str, seconds: int, held: Mapping[str, int], limit: int | None = None, qos: str = ""
    ) -> int:
        """Hand a job in now; its number."""
        number = SUBMITTED_FROM + self.machine.submitted
        self._hand_in([self._job(number, user, account, dict(held), seconds, max(seconds, limit or 0), qos)])
        return number

    def _job(self, number: int, user: str, account: str, held: Mapping[str, int], seconds: int, limit: int, qos: str) -> Job:
        is_free = bool(qos) and qos == self._settings.soft_land_qos
        return Job(self.machine.now, number, user, account, held, seconds, limit, qos, is_free)

    def _hand_in(self, jobs: Sequence[Job]) -> None:
        items = [store.job_to_json(job) for job in jobs]
        self._store.record("submit", self.machine.now, jobs=items, inbox=self._inbox_read)
        self.machine.submit(jobs)

    def _take_submissions(self) -> None:
        """Jobs that somebody appended to `submit.jsonl`: {user, account, cpu, seconds, limit?, qos?}."""
        lines = self._inbox.read_bytes().splitlines() if self._inbox.exists() else []
        fresh, self._inbox_read = lines[self._inbox_read :], len(lines)
        jobs: list[Job] = []
        for line in fresh:
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                jobs.append(self._submitted(orjson.loads(line), len(jobs)))
        if fresh:
            self._hand_in(jobs)

    def _submitted(self, row: Mapping[str, object], index: int) -> Job:
        seconds = _number(row["seconds"])
        limit = max(seconds, _number(row.get("limit", seconds)))
        held = {"cpu": _number(row["cpu"])}
        number = SUBMITTED_FROM + self.machine.submitted + index
        return self._job(number, str(row["user"]), str(row["account"]), held, seconds, limit, str(row.get("qos", "")))

    # The scheduler interface

    async def capabilities(self, settings: ClusterSettings) -> Readiness:
        """It can do everything but count what its jobs do not hold."""
        misses = tuple(
            Miss(
                reason=Reason.TRACKABLE_MISSING,
                message=f"the simulated machine has no {resource.trackable}",
                remedy=f"take {resource.name} out of spec.resources of the Cluster",
            )
            for resource in settings.resources
            if resource.trackable != "cpu"
        )
        return Readiness("simulator", _version(), CAPABILITIES, misses + _mode_misses(settings))

    async def observe(self, settings: ClusterSettings) -> Observation:
        """Every account, after the clock has moved."""
        self._tracked = tuple(resource.trackable for resource in settings.resources)
        self._look()
        tick = self.machine.tick
        views = {name: account.view(tick, self._tracked, MARK) for name, account in self.machine.accounts.items()}
        self.write_status()
        root = views.pop(settings.root_account, None)
        return Observation(self.machine.now, views, root, soft_land_qos=self._settings.soft_land_qos)

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """Complete up to now, always."""
        now = self.machine.now
        attempts = self.machine.overlapping(since)
        jobs = [_use(attempt, now) for attempt in attempts if until is None or attempt.start < until]
        # Skipped lines of the log never became jobs of this machine: nothing of them is missing in its records.
        return UsageRead(now, since, jobs, now)

    async def apply(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[Outcome]:
        """Write, start what may start now, read back."""
        if not changes:
            return []
        refused = {change.account: why for change in changes if (why := self._refusal(settings, change))}
        allowed = [change for change in changes if change.account not in refused]
        tracked = [resource.trackable for resource in settings.resources]
        items = [store.change_to_json(change) for change in allowed]
        self._store.record("apply", self.machine.now, root=settings.root_account, tracked=tracked, changes=items)
        _carry_out(self.machine, settings.root_account, allowed, tracked)
        self.write_status()
        return [Outcome(change.account, change.account not in refused, refused.get(change.account, "")) for change in changes]

    def _refusal(self, settings: ClusterSettings, change: AccountChange) -> str:
        account = self.machine.accounts.get(change.account)
        if account is None:
            return "" if change.create else f"account {change.account} is not there: it has to be created first"
        if change.account != settings.root_account and not account.description.startswith(MARK):
            return f"account {change.account} is not ours (no mark {MARK}…): it is left alone"
        return ""

    def render(self, settings: ClusterSettings, changes: Sequence[AccountChange]) -> Sequence[str]:
        """The changes as lines of text."""
        return [_line(change) for change in changes]

    async def close(self) -> None:
        """Leave the status behind."""
        self.write_status()

    def write_status(self) -> None:
        """Write `status.json`."""
        store.write_status(self._status, {**status(self.machine, self.missing_associations()), "skipped": self._skipped})


def _carry_out(machine: Machine, root: str, changes: Iterable[AccountChange], tracked: Sequence[str]) -> None:
    machine.root = root
    for change in changes:
        machine.change(change, tracked)
    machine.schedule()


def _use(attempt: Attempt, now: int) -> JobUse:
    job = attempt.job
    running = attempt.end > now
    return JobUse(
        key=str(job.number),
        account=job.account,
        user=job.user,
        start=attempt.start,
        end=now if running else attempt.end,
        allocated={RESOURCES.get(name, name.removeprefix("gres/")): units for name, units in job.held.items()},
        state="RUNNING" if running else "COMPLETED",
        running=running,
        limit_seconds=job.limit,
        factor_thousandths=0 if job.free else 1000,
    )


def _line(change: AccountChange) -> str:
    words = ["simulator", "create" if change.create else "modify", f"account={change.account}"]
    groups = {"GrpTRESMins": change.limits, "GrpTRESRunMins": change.run_minutes, "GrpTRES": change.concurrent}
    for name, amounts in groups.items():
        if amounts:
            words.append(f"{name}={','.join(f'{tres}={amount}' for tres, amount in sorted(amounts.items()))}")
    if change.held is not None:
        words.append(f"GrpJobs={0 if change.held else -1}")
    if change.blocked is not None:
        words.append(f"GrpSubmitJobs={0 if change.blocked else -1}")
    if change.qos is not None:
        words.append(f"QOS={change.qos or '(as before)'}")
    words += [f"+{user}" for user in sorted(change.add_members)] + [f"-{user}" for user in sorted(change.remove_members)]
    return " ".join(words)


def _mode_misses(settings: ClusterSettings) -> tuple[Miss, ...]:
    if settings.limit_mode == "Account":
        return ()
    message = "limitMode QOS: the simulator has no QOS that could carry a ceiling, so nothing is written"
    return (Miss(reason=Reason.LIMITS_MISSING, message=message, remedy="spec.limitMode: Account"),)


def _version() -> str:
    try:
        return version("bursar")
    except PackageNotFoundError:
        return "unknown"


def _number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{value!r} is not a whole number")
    return value


def _items(value: object) -> Iterable[object]:
    return value if isinstance(value, list) else []


def _strings(value: object) -> Iterable[str]:
    return (str(item) for item in _items(value))

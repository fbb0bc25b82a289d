"""A mix of real jobs whatever becomes of them, and what they used by the hand: as submitted, and as slurmctld logged them.

Amounts are what was asked for (a whole node where a job takes one), times come from slurmctld's own log of ended attempts, so
nothing here depends on slurmdbd, sacct or the plug-in.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bursar_local.slurm import Slurm
from bursar_testing.slurm_accounts import until, until_job

ATTEMPT = re.compile(
    r"JobId=(?P<job>\d+) UserId=(?P<user>\w+)\(.*?JobState=(?P<state>\w+) "
    r".*?StartTime=(?P<start>\S+) EndTime=(?P<end>\S+) NodeList=(?P<nodes>\S+) ",
    re.DOTALL,
)
MIB_PER_CPU = 1024
GPU_WEIGHT = 16
ODD_TEXT = "a|b\nc\"d'e üñí; $(rm x) |||||||||||"
NODE_CPUS = 512


@dataclass(frozen=True, slots=True)
class Asked:
    """What one job was submitted with."""

    user: str
    cpus: int
    gpus: int = 0
    memory: int | None = None
    factor_thousandths: int = 1000

    def held(self) -> Mapping[str, int]:
        """What it holds while it runs, by resource."""
        memory = self.cpus * MIB_PER_CPU if self.memory is None else self.memory
        billing = self.cpus + GPU_WEIGHT * self.gpus
        found = {"cpu": self.cpus, "gpu": self.gpus, "memory": memory, "billing": billing}
        return {name: amount for name, amount in found.items() if amount}


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt as slurmctld logged it."""

    job: int
    state: str
    start: int
    end: int


def attempts(text: str) -> list[Attempt]:
    """All attempts in slurmctld's log that ran."""
    return [
        Attempt(int(match["job"]), match["state"], _seconds(match["start"]), _seconds(match["end"]))
        for match in ATTEMPT.finditer(text)
        if match["nodes"] != "(null)"
    ]


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


@dataclass
class Mix:
    """Submits jobs to one account and keeps the list.

    ``suspended``: seconds of a job's suspensions; ``killed_stopped``: seconds from the last suspension to the kill.
    """

    slurm: Slurm
    account: str
    asked: dict[int, Asked] = field(default_factory=dict)
    suspended: Counter[int] = field(default_factory=Counter)
    killed_stopped: dict[int, int] = field(default_factory=dict)

    async def submit(self, asked: Asked, what: float | str, *extra: str, minutes: int = 5, tasks: int | None = None) -> int:
        """A job that sleeps for so many seconds, or runs a command; `tasks` where it asks for less than it will hold."""
        does = {"command": what} if isinstance(what, str) else {"seconds": what}
        cpus = tasks or asked.cpus
        job = await self.slurm.submit(self.account, asked.user, cpus=cpus, minutes=minutes, extra=extra, **does)
        self.asked[job] = asked
        return job

    async def note_parts(self, job: int, asked: Asked, *more: Asked) -> None:
        """Puts the tasks of an array, or the components of a heterogeneous job, on the list by their own numbers."""
        parts: list[int] = []

        async def shown() -> bool:
            text = await self.slurm.run("squeue", "-h", "-r", "-a", "--states=all", f"--jobs={job}", "--format=%A", check=False)
            parts[:] = sorted({int(line) for line in text.split() if line.isdigit()})
            return len(parts) == 1 + len(more)

        await until(shown, f"{1 + len(more)} parts of job {job}")
        self.asked |= dict(zip(parts, (asked, *more), strict=True))

    async def suspend(self, job: int) -> None:
        """Stops a job."""
        await self.slurm.run("scontrol", "suspend", str(job))
        await until_job(self.slurm, job, "SUSPENDED")

    async def note_run_time(self, job: int) -> None:
        """How long a job ran without its suspensions, by slurmctld."""
        text = await self.slurm.run("scontrol", "show", "job", str(job))
        match = re.search(r"RunTime=(\d+):(\d+):(\d+)", text)
        assert match is not None
        hours, minutes, seconds = map(int, match.groups())
        (attempt,) = [each for each in attempts(self.slurm.ended_jobs()) if each.job == job]
        self.suspended[job] = attempt.end - attempt.start - (hours * 3600 + minutes * 60 + seconds)

    async def run_again(self, job: int) -> None:
        """Waits until a requeued job runs its second time; Slurm would have it wait two minutes."""

        async def runs() -> bool:
            # A node is back a moment after it was told so; a job held by an earlier refusal is let go.
            text = await self.slurm.run("scontrol", "show", "job", str(job))
            if "JobState=PENDING" in text:
                await self.slurm.run("scontrol", "update", f"jobid={job}", "starttime=now", check=False)
            return "Restarts=1" in text and "JobState=RUNNING" in text

        await until(runs, f"job {job} runs again")

    async def ended(self, *jobs: int, attempts: int = 1) -> None:
        """Waits until slurmctld logged so many attempts of each job."""

        async def logged() -> bool:
            counts = Counter(attempt.job for attempt in self.attempts())
            return all(counts[job] >= attempts for job in jobs)

        await until(logged, f"{attempts} attempts of each of {jobs} ended", seconds=120)

    def attempts(self) -> list[Attempt]:
        """Attempts of jobs on the list."""
        return [attempt for attempt in attempts(self.slurm.ended_jobs()) if attempt.job in self.asked]

    def seconds(self, attempt: Attempt) -> int:
        """How long it ran."""
        return attempt.end - attempt.start - self.suspended[attempt.job]

    def killed_while_stopped(self) -> Counter[tuple[str, str]]:
        """What jobs that were killed while they were stopped would have used from then on, by user and resource."""
        total: Counter[tuple[str, str]] = Counter()
        for job, seconds in self.killed_stopped.items():
            asked = self.asked[job]
            for resource, units in asked.held().items():
                total[asked.user, resource] += units * seconds
        return total

    def sums(self, *, with_factor: bool = True, suspended: Collection[str] = (), only: str = "") -> Counter[tuple[str, str]]:
        """Unit-seconds by user and resource; `only` attempts that ended in a state; `suspended`: what counts in suspension."""
        total: Counter[tuple[str, str]] = Counter()
        for attempt in self.attempts():
            if only and attempt.state != only:
                continue
            asked = self.asked[attempt.job]
            factor = asked.factor_thousandths if with_factor else 1000
            for resource, units in asked.held().items():
                seconds = self.seconds(attempt) + (self.suspended[attempt.job] if resource in suspended else 0)
                total[asked.user, resource] += units * seconds * factor // 1000
        return +total

"""What the simulated machine works on: jobs that wait, run and have ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

INVALID_ACCOUNT: Final = "InvalidAccount"
TOO_LARGE: Final = "PartitionNodeLimit"
RESOURCES: Final = "Resources"
PRIORITY: Final = "Priority"
HELD: Final = "AssocGrpJobsLimit"
BLOCKED: Final = "AssocGrpSubmitJobsLimit"
OTHER_QOS: Final = "InvalidQOS"
_WORDS: Final = {"cpu": "CPU", "mem": "Mem", "node": "Node", "billing": "Billing"}


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """A job as submitted. Times are epoch seconds of the simulated clock; order is that of the queue."""

    submit: int
    number: int
    user: str
    account: str
    held: Mapping[str, int]  # TRES -> units
    seconds: int  # how long it runs
    limit: int  # time limit in seconds, at least `seconds`
    qos: str = ""
    free: bool = False  # of a QOS whose usage factor is 0

    def counts(self, name: str) -> int:
        """Units of a TRES that count against limits."""
        return 0 if self.free else self.held.get(name, 0)

    def needs(self, name: str) -> int:
        """Unit-seconds of a TRES up to its time limit, as they count."""
        return self.counts(name) * self.limit


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job that started."""

    job: Job
    start: int

    @property
    def end(self) -> int:
        """When it ends by itself."""
        return self.start + self.job.seconds


@dataclass(slots=True)
class Refusal:
    """A job that limits kept from starting: why, since when, and when it started after all."""

    job: int
    account: str
    user: str
    reason: str
    since: int
    started: int | None = None


def minutes_reason(name: str) -> str:
    """Slurm's word for a reached GrpTRESMins."""
    return f"AssocGrp{_word(name)}MinutesLimit"


def run_minutes_reason(name: str) -> str:
    """Slurm's word for a reached GrpTRESRunMins."""
    return f"AssocGrp{_word(name)}RunMinutesLimit"


def concurrent_reason(name: str) -> str:
    """Slurm's word for a reached GrpTRES."""
    return "AssocGrpCpuLimit" if name == "cpu" else f"AssocGrp{_word(name)}Limit"


def is_timeless(reason: str) -> bool:
    """Whether a limit of the account gave this reason and time alone does not end it, as it does a wall of remainders."""
    return bool(reason) and not reason.endswith("RunMinutesLimit")


def _word(name: str) -> str:
    return _WORDS.get(name, "GRES")

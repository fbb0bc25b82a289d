"""The status file: what `squeue` and a demo want to know, as one JSON object."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import islice

from bursar_agent.schedulers.simulator.jobs import PRIORITY, RESOURCES
from bursar_agent.schedulers.simulator.machine import Machine

SHOWN = 1000


def status(machine: Machine, missing: Sequence[tuple[str, str]]) -> Mapping[str, object]:
    """Counts, jobs that limits keep from starting now (`refused`), all refusals so far, and whether everything is over.

    `done`: no job is left. `stalled`: jobs are left, but only a changed limit can let one start.
    """
    refused = [(job, reason) for job, reason in machine.waiting() if reason not in (PRIORITY, RESOURCES)]
    idle = not machine.coming and not machine.running
    return {
        "time": machine.now,
        "coming": machine.coming,
        "pending": machine.pending,
        "running": machine.running,
        "started": machine.started,
        "finished": len(machine.finished),
        "refused": [
            {"job": job.number, "account": job.account, "user": job.user, "reason": reason} for job, reason in refused[:SHOWN]
        ],
        "refused_count": len(refused),
        "refusals": [asdict(refusal) for refusal in [*islice(reversed(machine.refusals.values()), SHOWN)][::-1]],
        "refusals_count": len(machine.refusals),
        "waiting_for": [{"user": user, "account": account} for user, account in missing[:SHOWN]],
        "done": idle and not machine.pending,
        "stalled": idle and machine.pending > 0,
    }

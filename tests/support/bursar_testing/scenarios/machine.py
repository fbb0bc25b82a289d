"""The simulated machine of a scenario: its jobs come when the story says, and its records can be late, changed or gone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bursar_agent.schedulers.base import UsageRead
from bursar_agent.schedulers.simulator import SimulatedScheduler, SimulatorSettings
from bursar_agent.schedulers.simulator.jobs import Job
from bursar_domain.buckets import JobUse
from bursar_domain.units import trackable
from bursar_testing.scenarios.model import JobForm, RecordOf

SOFT_LAND_QOS = "softland"


@dataclass
class Told:
    """A job of the story, its number in the machine, and what became of its record."""

    job: Job
    form: JobForm
    run: int | None = None
    changes: dict[str, object] = field(default_factory=dict)
    gone: bool = False

    def change(self, event: RecordOf) -> None:
        """Change the record; the machine itself knows nothing of it."""
        self.gone = self.gone or event.gone
        self.run = self.run if event.run is None else event.run
        if event.state is not None:
            self.changes["state"] = event.state
        if event.cpus is not None:
            self.changes["allocated"] = {**self.form.held, "cpu": event.cpus}

    def record(self, use: JobUse, now: int) -> JobUse | None:
        """The record that the accounting shows; None where there is none."""
        if self.gone or (self.form.reported or 0) > now:
            return None
        ended = {} if use.running else {"state": self.form.state, **self.changes}
        shown = replace(use, **ended)  # type: ignore[arg-type]
        return shown if self.run is None else replace(shown, end=min(shown.end, shown.start + self.run))


class ScenarioScheduler(SimulatedScheduler):
    """The simulator with the records that the story tells."""

    def __init__(self, directory: Path, start: int, processors: int, forms: Sequence[JobForm]) -> None:
        settings = {"ends_at": start, "processors": processors, "soft_land_qos": SOFT_LAND_QOS}
        super().__init__(SimulatorSettings.model_validate(settings), directory, clock=lambda: 0.0)
        self._told = {told.job.number: told for told in _jobs(forms)}
        self._coming = sorted((told.job for told in self._told.values()), key=lambda job: (job.submit, job.number))

    def run_to(self, now: int) -> None:
        """Run up to a second; jobs of that second itself come with `hand_in`, when the agent has looked."""
        self._submit([job for job in self._coming if job.submit < now])
        self.advance(now)

    def hand_in(self, now: int) -> None:
        """Jobs of this second."""
        self._submit([job for job in self._coming if job.submit <= now])

    def _submit(self, jobs: Sequence[Job]) -> None:
        self._coming = self._coming[len(jobs) :]
        if jobs:
            self.machine.submit(jobs)

    def record(self, event: RecordOf) -> None:
        """The record of a job changes after the fact."""
        for told in self._told.values():
            if told.form.name == event.job:
                told.change(event)

    async def usage(self, since: int, until: int | None = None) -> UsageRead:
        """What the machine knows, as the accounting shows it."""
        found = await super().usage(since, until)
        shown = (self._told[int(use.key)].record(use, found.time) for use in found.jobs)
        return replace(found, jobs=[use for use in shown if use is not None and use.end >= since])

    def job_states(self) -> Mapping[str, str]:
        """Of every job that has a name and was handed in."""
        done = {attempt.job.number for attempt in self.machine.finished}
        waiting = {job.number for job, _ in self.machine.waiting()} | {job.number for job in self._coming}
        found: dict[str, str] = {}
        for number, told in self._told.items():
            state = "Done" if number in done else "Pending" if number in waiting else "Running"
            known = found.get(told.form.name, state)
            found[told.form.name] = state if state == known else "Running"
        return found


def _jobs(forms: Sequence[JobForm]) -> Iterator[Told]:
    number = 0
    for form in forms:
        held = {trackable(name): units for name, units in form.held.items()}
        for index in range(form.count):
            number += 1
            submit = form.at + index * form.every
            limit = max(form.run, form.limit_seconds)
            yield Told(Job(submit, number, form.user, form.project, held, form.run, limit), form)

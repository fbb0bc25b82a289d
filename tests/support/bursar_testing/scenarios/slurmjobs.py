"""The jobs of a story on a real Slurm: handed in with sbatch, ended when the story says, read back with sacct."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from bursar_domain.buckets import JobUse
from bursar_domain.units import MINUTE
from bursar_local.slurm import Clock, Slurm
from bursar_testing.scenarios.controlplane import Impossible
from bursar_testing.scenarios.model import JobForm

PATIENCE_SECONDS = 20
FIELDS = "jobidraw,account,user,start,end,elapsedraw,state,alloctres,timelimitraw"
EXIT_CODES = {"COMPLETED": 0, "FAILED": 1}
ENDED_OTHERWISE = ("CANCELLED", "NODE_FAIL")


@dataclass
class RealJob:
    """A job of the story, its number in Slurm once it is handed in, and whether it was ended."""

    form: JobForm
    mark: Path
    number: int | None = None
    is_over: bool = False

    def is_to_run(self, now: int) -> bool:
        """Whether the story has it started by then."""
        first = self.form.first()
        return first is not None and first <= now

    def is_to_end(self, now: int) -> bool:
        """Whether the story has it ended by then."""
        first = self.form.first()
        return first is not None and first + self.form.run <= now


class SlurmJobs:
    """All jobs of the stories. One that is to fail with its node gets the second node, the others the first."""

    def __init__(self, slurm: Slurm, clock: Clock, forms: Iterable[JobForm]) -> None:
        """Hands in nothing yet."""
        self._slurm, self._clock = slurm, clock
        self._folder = slurm.layout.run / "ends"
        self._folder.mkdir(mode=0o755)
        told = [form for form in forms for _ in range(form.count)]
        self._jobs = [RealJob(_possible(form), self._folder / f"{number}") for number, form in enumerate(told)]

    async def run_to(self, now: int) -> None:
        """It is that second, or a little later: as much as jobs that are to end by then began late."""
        listed = await self._listed()
        begun = {number for number, (state, _) in listed.items() if state == "RUNNING"}
        await self._until(lambda: self._are_recorded(begun))
        self._clock.put_forward(now)
        ends = [job for job in self._jobs if job.number in listed and not job.is_over and job.is_to_end(now)]
        running = {job.number: job for job in ends if listed[job.number or 0][0] == "RUNNING"}
        self._clock.put_forward(max((listed[number or 0][1] + job.form.run for number, job in running.items()), default=0))
        for job in running.values():
            await self._end(job)
        await self._until(lambda: self._are_recorded({number for number in running if number}, ended=True))
        if any(job.form.state == "NODE_FAIL" for job in running.values()):
            await self._update_second_node("state=resume", check=False)  # it may be back by itself

    async def hand_in(self, now: int) -> bool:
        """Jobs of this second, if there are any; returns when those run that are to at once."""
        fresh = [job for job in self._jobs if job.number is None and job.form.at <= now]
        for job in fresh:
            job.number = await self._submit(job)
        await self._settled([job for job in fresh if job.form.first() == job.form.at])
        return bool(fresh)

    async def settle(self, now: int) -> None:
        """Returns when those run that are to by now."""
        await self._settled([job for job in self._jobs if job.is_to_run(now)])

    async def _settled(self, jobs: Sequence[RealJob]) -> None:
        """Waits for jobs that are to run; not for ever, since it is Slurm that decides."""

        async def run() -> bool:
            listed = await self._listed() if jobs else {}
            return not any(listed.get(job.number or 0, ("", 0))[0] == "PENDING" for job in jobs)

        await self._until(run)

    async def states(self) -> Mapping[str, str]:
        """Of every job that has a name and was handed in; Slurm forgets what ended a while ago."""
        words = {"PENDING": "Pending", "RUNNING": "Running", "COMPLETING": "Running"}
        listed = await self._listed()
        jobs = [job for job in self._jobs if job.form.name and job.number is not None]
        return {job.form.name: words.get(listed.get(job.number or 0, ("", 0))[0], "Done") for job in jobs}

    async def records(self) -> list[JobUse]:
        """What the accounting says of every attempt that began."""
        text = await self._slurm.run(
            "sacct", "-a", "-D", "-X", "-n", "-P", "--noconvert", "--starttime=1970-01-02", f"--format={FIELDS}"
        )
        return [use for line in text.splitlines() if (use := _use(line.split("|"))) is not None]

    async def close(self) -> None:
        """Nothing of the stories goes on."""
        numbers = [str(job.number) for job in self._jobs if job.number is not None]
        if numbers:
            await self._slurm.run("scancel", *numbers, check=False)

    async def _submit(self, job: RealJob) -> int:
        form, (first, second) = job.form, await self._nodes()
        node = second if form.state == "NODE_FAIL" else first
        # What ends the job needs the machine's own time: a pause must last as long as it says.
        command = f"unset LD_PRELOAD; until [ -e {job.mark} ]; do sleep 0.1; done; exit $(cat {job.mark})"
        minutes, extra = form.limit_seconds // MINUTE, [f"--nodelist={node}", "--no-requeue"]
        return await self._slurm.submit(form.project, form.user, cpus=form.cpus, minutes=minutes, command=command, extra=extra)

    async def _end(self, job: RealJob) -> None:
        job.is_over = True
        if job.form.state == "CANCELLED":
            await self._slurm.run("scancel", str(job.number))
        elif job.form.state == "NODE_FAIL":
            await self._update_second_node("state=down", "reason=story")
        else:
            fresh = job.mark.with_suffix(".new")
            fresh.write_text(f"{EXIT_CODES[job.form.state]}")
            fresh.replace(job.mark)

    async def _update_second_node(self, *words: str, check: bool = True) -> None:
        _, second = await self._nodes()
        await self._slurm.run("scontrol", "update", f"nodename={second}", *words, check=check)

    async def _nodes(self) -> Sequence[str]:
        text = await self._slurm.run("sinfo", "--noheader", "--Node", "--format=%N")
        return sorted(text.split())

    async def _listed(self) -> Mapping[int, tuple[str, int]]:
        """State and start of every job that slurmctld has."""
        text = await self._slurm.run("squeue", "--noheader", "--states=all", "--format=%A|%T|%S")
        rows = (line.split("|") for line in text.splitlines())
        return {int(number): (state, _second(start) or 0) for number, state, start in rows}

    async def _are_recorded(self, numbers: set[int], *, ended: bool = False) -> bool:
        """Slurm hands a record over some seconds after the fact, which must not be hours by the clock that is put forward."""
        if not numbers:
            return True
        return numbers <= {int(use.key.partition("@")[0]) for use in await self.records() if not (ended and use.running)}

    async def _until(self, check: Callable[[], Awaitable[bool]]) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while not await check():
            if asyncio.get_running_loop().time() > deadline:
                return  # what is expected of the job says so
            await asyncio.sleep(0.1)


def _possible(form: JobForm) -> JobForm:
    """The form, where a real Slurm can do what it says."""
    is_plain = set(form.held) == {"cpu"} and form.factor_thousandths == 1000 and form.reported is None and not form.every
    if not is_plain or form.limit_seconds % MINUTE or form.state not in (*EXIT_CODES, *ENDED_OTHERWISE):
        raise Impossible(f"job {form.name or form.at} is nothing that the runner on Slurm can bring about")
    return form


def _use(values: Sequence[str]) -> JobUse | None:
    number, account, user, start, end, elapsed, state, held, limit = values
    began = _second(start)
    if began is None or not held:
        return None
    amounts = dict(pair.split("=", 1) for pair in held.split(","))
    return JobUse(
        key=f"{number}@{began}",
        account=account,
        user=user,
        start=began,
        end=began + int(elapsed),
        allocated={"cpu": int(amounts["cpu"])},
        state=state.split(" ")[0],
        factor_thousandths=1000,
        running=_second(end) is None,
        limit_seconds=int(limit) * MINUTE,
    )


def _second(text: str) -> int | None:
    return None if not text[:1].isdigit() else int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())

"""The simulated machine: what may start and when, as Slurm with `safe` has it."""

import random
from collections.abc import Iterable

import pytest

from bursar_agent.schedulers.base import AccountChange
from bursar_agent.schedulers.simulator.jobs import Job
from bursar_agent.schedulers.simulator.machine import Machine

HOUR = 3600


def job(number: int, *, submit: int = 0, account: str = "a", user: str = "u", cpu: int = 1, seconds: int = HOUR,
        limit: int | None = None) -> Job:  # fmt: skip
    return Job(submit, number, user, account, {"cpu": cpu}, seconds, limit or seconds)


def machine(jobs: Iterable[Job], **limits: int) -> Machine:
    """A machine of 128 processors with accounts under a root account, by their cpu minutes; user u is in all."""
    built = Machine(jobs, start=0, processors=128)
    built.root = "bursar"
    change(built, "bursar", create=True, limits={"cpu": 10**9})
    for name, minutes in limits.items():
        change(built, name, create=True, limits={"cpu": minutes}, add_members=frozenset({"u"}))
    return built


def change(built: Machine, name: str, **fields: object) -> None:
    built.change(AccountChange(name, **fields), ["cpu"])  # type: ignore[arg-type]
    built.schedule()


def reasons(built: Machine) -> dict[int, str]:
    return {waiting.number: reason for waiting, reason in built.waiting()}


def test_a_job_that_fits_exactly_runs_and_the_next_waits() -> None:
    built = machine([job(1), job(2)], a=60)
    built.advance(10 * HOUR)
    assert [attempt.job.number for attempt in built.finished] == [1]
    assert reasons(built) == {2: "AssocGrpCPUMinutesLimit"}


def test_a_job_that_is_one_second_too_long_waits() -> None:
    built = machine([job(1, seconds=HOUR + 1)], a=60)
    built.advance(HOUR)
    assert reasons(built) == {1: "AssocGrpCPUMinutesLimit"}
    assert built.refusals[1].since == 0


def test_a_raise_lets_the_waiting_job_start_at_once() -> None:
    built = machine([job(1, seconds=2 * HOUR)], a=60)
    built.advance(HOUR)
    change(built, "a", limits={"cpu": 120})
    assert built.running == 1
    assert built.refusals[1].started == HOUR
    built.advance(3 * HOUR)
    assert built.finished[0].start == HOUR


def test_what_running_jobs_may_still_use_counts_until_they_end_early() -> None:
    built = machine([job(1, seconds=60, limit=HOUR), job(2, submit=30, seconds=HOUR)], a=61)
    built.advance(59)
    assert reasons(built) == {2: "AssocGrpCPUMinutesLimit"}
    built.advance(60)
    assert built.running == 1  # the first job ended after a minute of its hour


def test_a_started_job_is_never_killed() -> None:
    built = machine([job(1, seconds=5 * HOUR)], a=300)
    built.advance(HOUR)
    change(built, "a", limits={"cpu": 1}, held=True)
    built.advance(6 * HOUR)
    assert [attempt.end for attempt in built.finished] == [5 * HOUR]


def test_a_hold_keeps_the_queue() -> None:
    built = machine([job(1)], a=10**6)
    change(built, "a", held=True)
    built.advance(HOUR)
    assert reasons(built) == {1: "AssocGrpJobsLimit"}
    change(built, "a", held=False)
    assert built.running == 1


def test_the_root_account_is_a_wall() -> None:
    built = machine([job(1)], a=10**6)
    change(built, "bursar", limits={"cpu": 59})
    built.advance(HOUR)
    assert reasons(built) == {1: "AssocGrpCPUMinutesLimit"}


def test_running_remainders_and_units_at_once_have_walls_of_their_own() -> None:
    built = machine([job(1), job(2, submit=1), job(3, account="b", cpu=4)], a=10**6, b=10**6)
    change(built, "a", run_minutes={"cpu": 60})
    change(built, "b", concurrent={"cpu": 3})
    built.advance(HOUR - 1)
    assert reasons(built) == {2: "AssocGrpCPURunMinutesLimit", 3: "AssocGrpCpuLimit"}


def test_unknown_accounts_and_users_wait_and_stop_nobody_else() -> None:
    built = machine([job(1, user="x"), job(2), job(3, account="nobody")], a=10**6)
    built.advance(1)
    assert built.running == 1
    assert reasons(built) == {1: "InvalidAccount", 3: "InvalidAccount"}
    change(built, "a", add_members=frozenset({"x"}))
    assert built.running == 2


def test_accounts_are_first_in_first_out_and_nodes_are_not_overbooked() -> None:
    jobs = [job(1, cpu=100), job(2, submit=1, cpu=100, account="b"), job(3, submit=2, cpu=1, account="c")]
    built = machine(jobs, a=10**9, b=10**9, c=10**9)
    built.advance(2)
    assert reasons(built) == {2: "Resources", 3: "Priority"}
    built.advance(3 * HOUR)
    assert [attempt.start for attempt in built.finished] == [0, HOUR, HOUR]


def test_a_new_account_lets_nothing_start_before_its_limit() -> None:
    built = machine([job(1)])
    change(built, "a", create=True, add_members=frozenset({"u"}))
    built.advance(HOUR)
    assert reasons(built) == {1: "AssocGrpCPUMinutesLimit"}


def test_counters_lag_but_never_by_what_ended() -> None:
    built = Machine([job(1, seconds=500), job(2, seconds=100)], start=0, processors=128, counter_period=300)
    change(built, "a", create=True, limits={"cpu": 10**6}, add_members=frozenset({"u"}))
    built.advance(299)
    reading = built.accounts["a"].view(built.tick, ["cpu"], "").readings["cpu"]
    assert (reading.counter, reading.running) == (100 // 60, 500 // 60)
    built.advance(300)
    reading = built.accounts["a"].view(built.tick, ["cpu"], "").readings["cpu"]
    assert (reading.counter, reading.running) == (400 // 60, 200 // 60)


@pytest.mark.parametrize("seed", range(5))
def test_the_number_of_steps_makes_no_difference(seed: int) -> None:
    dice = random.Random(seed)
    jobs = [
        job(n, submit=dice.randrange(20_000), account=dice.choice("abc"), cpu=dice.randrange(1, 128),
            seconds=dice.randrange(4000), limit=4000 + dice.randrange(4000))
        for n in range(200)
    ]  # fmt: skip
    once, often = (machine(jobs, a=40_000, b=10**9, c=200) for _ in range(2))
    once.advance(10**6)
    now = 0
    while now < 10**6:
        now = min(10**6, now + dice.randrange(1, 9_000))
        often.advance(now)
    assert once.finished == often.finished
    assert reasons(once) == reasons(often)


@pytest.mark.parametrize("seed", range(5))
def test_no_limit_is_ever_passed(seed: int) -> None:
    dice = random.Random(seed)
    jobs = [job(n, submit=dice.randrange(9000), cpu=dice.randrange(1, 40), seconds=dice.randrange(900)) for n in range(300)]
    built = machine(jobs, a=2000)
    built.advance(10**6)
    assert sum(attempt.job.held["cpu"] * attempt.job.seconds for attempt in built.finished) <= 2000 * 60
    events = sorted(
        [(a.start, a.job.held["cpu"]) for a in built.finished] + [(a.end, -a.job.held["cpu"]) for a in built.finished]
    )
    busy = 0
    for _, units in events:
        busy += units
        assert busy <= 128


class AskedEachTime(Machine):
    """The same rules in their plainest form: at every event the first head of all accounts is asked, whatever was known."""

    def _start_jobs(self) -> None:
        stopped: set[str] = set()
        while heads := [queue[0] for name, queue in self._queues.items() if queue and name not in stopped]:
            head = min(heads)
            if impossible := self._impossible(head):
                self._queues[head.account].popleft()
                self._strand(head, impossible)
            elif reason := self._refuses(head)[0]:
                stopped.add(head.account)
                self._refuse(head, reason)
            elif head.held["cpu"] > self._free:
                self._wait("Resources", head)
                break
            else:
                self._start(head)


def _crowd(dice: random.Random) -> list[Job]:
    return [
        job(n, submit=dice.randrange(30_000), account=dice.choice("abcdx"), user=dice.choice("uuuuv"),
            cpu=dice.choice([1, 3, 40, 60, 128, 200]), seconds=dice.randrange(4000), limit=4000 + dice.randrange(4000))
        for n in range(250)
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_asking_only_where_something_changed_makes_no_difference(seed: int) -> None:
    """Limits, walls, holds and members come and go; both machines start every job in the same second for the same reasons."""
    dice = random.Random(seed)
    jobs, period = _crowd(dice), dice.choice([0, 300])
    built = [kind(jobs, start=0, processors=128, counter_period=period) for kind in (Machine, AskedEachTime)]
    for machine_ in built:
        machine_.root = "root"
        machine_.change(AccountChange("root", create=True, limits={"cpu": 10**9}), ["cpu"])
    now, number = 0, 1000
    while now < 200_000:
        now += dice.choice([1, 60, 900, 9_000])
        name = dice.choice("abcd")
        step = AccountChange(
            name,
            create=True,
            limits={"cpu": dice.choice([1, 50_000, 10**6, -1, -1])} if dice.random() < 0.7 else {},
            run_minutes={"cpu": dice.choice([100, 5_000, 20_000, -1, -1])} if dice.random() < 0.4 else {},
            concurrent={"cpu": dice.choice([3, 64, -1, -1])} if dice.random() < 0.2 else {},
            held=dice.choice([None, None, None, True, False, False]),
            add_members=frozenset("u" if dice.random() < 0.9 else "uv"),
            remove_members=frozenset("v" if dice.random() < 0.2 else ""),
        )
        if dice.random() < 0.1:
            step = AccountChange("root", limits={"cpu": dice.choice([10**5, 10**6, 10**9])}, run_minutes={"cpu": 50_000})
        extra = job(number, submit=dice.choice([now, 0]), account=name, seconds=50, limit=70)
        does_submit, number = dice.random() < 0.2, number + 1
        for machine_ in built:
            machine_.advance(now)
            machine_.change(step, ["cpu"])
            machine_.schedule()
            if does_submit:
                machine_.submit([extra])
    quick, plain = built
    assert quick.finished == plain.finished
    assert quick.started > 10
    assert quick.refusals == plain.refusals
    assert reasons(quick) == reasons(plain)
    assert (quick.pending, quick.running, quick.submitted) == (plain.pending, plain.running, plain.submitted)
    assert quick.pending == len(list(quick.waiting()))

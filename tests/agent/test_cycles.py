"""Cycles over the simulated machine: nothing over what was granted runs, and nothing that fits waits for long."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox
from bursar_agent.schedulers.base import AccountChange, Observation, Outcome, SchedulerError, SchedulerUnavailable
from bursar_agent.schedulers.simulator import SimulatedScheduler, SimulatorSettings
from bursar_agent.settings import AgentSettings
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountEntry, ClusterSettings, Root, ThresholdEntry
from bursar_testing.agents import account, allocation, cluster_settings, hold_at, window

HOUR = 3600
START = 470_000 * HOUR


class Site:
    """A machine, and an agent that a test lets take one cycle at a time."""

    def __init__(self, directory: Path, **simulator: Any) -> None:
        self.directory, self.generation, self.acknowledged, self.wall = directory, 0, 0, float(START)
        self.settings = AgentSettings.model_validate(
            {
                "cluster": "c",
                "gateway": "https://127.0.0.1:1",
                "state_directory": directory,
                "scheduler": "simulator",
                "usage_interval_seconds": 0.05,
                "cycle_interval_seconds": 3600,
            }
        )
        own = SimulatorSettings.model_validate({"ends_at": START} | simulator)
        self.scheduler = SimulatedScheduler(own, directory, clock=lambda: 0.0, wall=lambda: self.wall)
        self.cluster = cluster_settings("c")
        self.seconds = 0.0
        self.restart()

    def restart(self) -> None:
        """The agent dies and comes back; the machine goes on."""
        self.outbox = Outbox("session")
        clocks = Clocks(wall=lambda: self.wall, monotonic=self._seconds)
        book = UsageBook(self.directory, epoch=1)
        self.cycles = Cycles(self.settings, self.scheduler, Journal(self.directory), book, self.outbox, clocks)

    def _seconds(self) -> float:
        self.seconds += 1
        return self.seconds

    def state(self, *entries: AccountEntry, settings: ClusterSettings | None = None, **root: Any) -> DesiredState:
        self.generation += 1
        fields = {"epoch": 1, "acknowledged": self.acknowledged, "issued_at": 0, "valid_until": 2**40, "digest": "d"}
        signed = Signer(bytes(32)).sign(Root(cluster="c", generation=self.generation, **(fields | root)))
        return DesiredState(signed, settings or self.cluster, {entry.account: entry for entry in entries})

    @property
    def machine(self) -> Any:
        return self.scheduler.machine

    def limit(self, name: str) -> int | None:
        found: int | None = self.machine.accounts[name].limits.get("cpu")
        return found

    def used(self, name: str) -> int:
        """Unit-seconds that ended, running or promised jobs of the account cost at most."""
        found = self.machine.accounts[name]
        return int(found.done["cpu"] + found.promised["cpu"])

    def spent(self, name: str) -> int:
        """Unit-seconds that jobs of the account really used or may still use, whatever became of the counters."""
        ended: int = sum(a.job.held["cpu"] * a.job.seconds for a in self.machine.finished if a.job.account == name)
        return ended + int(self.machine.accounts[name].promised["cpu"])

    def advance(self, seconds: int) -> None:
        self.scheduler.advance(self.machine.now + seconds)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


async def test_from_nothing_to_enforced_and_acknowledged(site: Site) -> None:
    state = site.state(account("aa", allocation("x", 10, revision=3), members=("ann",)))
    assert await site.cycles.run(state)
    assert (site.limit("aa"), site.limit("bursar")) == (600, 600)
    (page,) = site.outbox.pages()
    assert page.acknowledgements == {"x": 3}
    assert page.revision_times == {"x": site.wall}
    assert page.full
    (told,) = page.accounts
    assert (told.state, told.limits["cpu"].limit) == ("Enforced", 600)


async def test_a_job_that_does_not_fit_starts_after_a_top_up(site: Site) -> None:
    await site.cycles.run(site.state(account("aa", allocation("x", 10), members=("ann",))))
    site.scheduler.submit("ann", "aa", 2 * HOUR, {"cpu": 6})
    assert site.machine.pending == 1
    await site.cycles.run(site.state(account("aa", allocation("x", 12, revision=2), members=("ann",))))
    assert site.machine.running == 1


async def test_an_idle_cycle_writes_nothing(site: Site) -> None:
    state = site.state(account("aa", allocation("x", 10), members=("ann",)))
    site.scheduler.submit("ann", "aa", 900, {"cpu": 4})
    await site.cycles.run(state)
    before = (site.directory / "simulator.jsonl").read_bytes()
    number = site.cycles.journal.number
    for _ in range(3):
        await site.cycles.run(state)
    assert (site.directory / "simulator.jsonl").read_bytes() == before
    assert site.cycles.journal.number == number
    site.restart()
    await site.cycles.run(state)
    assert (site.directory / "simulator.jsonl").read_bytes() == before


async def test_whoever_waits_for_a_change_does_not_wait_for_job_records(site: Site) -> None:
    flaky = Flaky(site)
    site.restart()
    await site.cycles.run(site.state(account("aa", allocation("x", 10), members=("ann",))))
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 4})
    site.advance(HOUR // 2)
    reads: list[int] = []
    flaky.on_usage = reads.append
    state = site.state(account("aa", allocation("x", 20, 2), members=("ann",)))
    await site.cycles.run(state, urgent=True)
    assert reads == []
    assert site.limit("aa") == 1200  # the counter shows the two hours that the records do not show yet
    await site.cycles.run(state)
    assert len(reads) == 1
    assert site.limit("aa") == 1200


@pytest.mark.parametrize("urgent", [False, True])
async def test_lost_counters_free_nothing(site: Site, urgent: bool) -> None:
    state = site.state(account("aa", allocation("x", 10), members=("ann",)))
    await site.cycles.run(state)
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 4})
    site.advance(2 * HOUR)
    await site.cycles.run(state)
    assert site.limit("aa") == 600
    site.machine.lose_counters()
    await site.cycles.run(state, urgent=urgent)
    assert site.limit("aa") == 360


async def test_the_brake_stops_everything_until_a_person_has_seen_it(site: Site) -> None:
    names = [f"p{n}" for n in range(5)]
    full = [account(name, allocation(f"uid-{name}", 100)) for name in names]
    await site.cycles.run(site.state(*full))
    shrunk = [account(name, allocation(f"uid-{name}", 1, revision=2)) for name in names]
    await site.cycles.run(site.state(*shrunk))
    assert [site.limit(name) for name in names] == [6_000] * 5
    assert site.outbox.cycle is not None
    assert site.outbox.cycle.brake is not None
    stopped = site.outbox.cycle.brake.generation
    assert {state.state for state in site.outbox.states.values()} == {"Pending"}
    assert {revision.number for revision in site.outbox.revisions.values()} == {1}
    site.restart()
    await site.cycles.run(site.state(*shrunk))
    assert site.limit("p0") == 6_000
    await site.cycles.run(site.state(*shrunk, acknowledged=stopped))
    assert [site.limit(name) for name in names] == [60] * 5
    assert site.outbox.cycle.brake is None


async def test_many_ends_at_once_are_dated_and_need_nobody(site: Site) -> None:
    entries = [account(f"p{n}", allocation(f"u{n}", 100, end=START + HOUR)) for n in range(5)]
    state = site.state(*entries)
    await site.cycles.run(state)
    site.advance(HOUR)
    await site.cycles.run(state)
    assert [site.limit(f"p{n}") for n in range(5)] == [1] * 5


async def test_observe_plans_and_writes_nothing(site: Site) -> None:
    watching = cluster_settings("c", enforcement="Observe")
    await site.cycles.run(site.state(account("aa", allocation("x", 10)), settings=watching))
    assert site.machine.accounts == {}
    assert site.outbox.states["aa"].state == "Observed"
    assert site.outbox.revisions == {}


async def test_a_threshold_holds_and_a_top_up_lets_go(site: Site) -> None:
    held = (hold_at(50, 40),)
    state = site.state(account("aa", allocation("x", 10, thresholds=held), members=("ann",)))
    await site.cycles.run(state)
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 5})
    site.advance(2 * HOUR)
    await site.cycles.run(state)
    assert site.machine.accounts["aa"].held
    assert site.outbox.states["aa"].enforcement == "Hold"
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 1})
    assert site.machine.pending == 1
    await site.cycles.run(site.state(account("aa", allocation("x", 20, 2, thresholds=held), members=("ann",))))
    assert not site.machine.accounts["aa"].held
    assert site.machine.running == 1


class Flaky:
    """A simulator that fails on demand."""

    def __init__(self, site: Site) -> None:
        self._site, self._inner = site, site.scheduler
        self.broken: set[str] = set()
        self.on_usage: Callable[[int], object] = lambda since: None
        site.scheduler = self  # type: ignore[assignment]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def observe(self, settings: ClusterSettings) -> Observation:
        if "observe" in self.broken:
            raise SchedulerUnavailable("sshare does not answer")
        return await self._inner.observe(settings)

    async def usage(self, since: int, until: int | None = None) -> Any:
        if "usage" in self.broken:
            raise SchedulerUnavailable("slurmdbd does not answer")
        self.on_usage(since)
        return await self._inner.usage(since, until)

    async def apply(self, settings: ClusterSettings, changes: list[AccountChange]) -> Any:
        if "apply before" in self.broken:
            raise SchedulerError("timed out")
        outcomes = await self._inner.apply(settings, changes)
        if "apply after" in self.broken:
            raise SchedulerError("timed out")
        return [Outcome(o.account, "lie" not in self.broken, "not read back") for o in outcomes]


@pytest.mark.parametrize("broken", ["observe", "usage"])
async def test_a_scheduler_that_can_not_be_read_is_not_written(site: Site, broken: str) -> None:
    flaky = Flaky(site)
    site.restart()
    await site.cycles.run(site.state(account("aa", allocation("x", 10))))
    flaky.broken = {broken}
    state = site.state(account("aa", allocation("x", 99, revision=2)))
    assert not await site.cycles.run(state)
    assert site.limit("aa") == 600
    assert site.outbox.cycle is not None
    assert [miss.reason for miss in site.outbox.cycle.misses] == ["SchedulerUnavailable"]
    flaky.broken = set()
    assert await site.cycles.run(state)
    assert site.limit("aa") == 99 * 60
    assert site.outbox.cycle.misses == ()


@pytest.mark.parametrize("broken", ["apply before", "apply after", "lie"])
@pytest.mark.parametrize("dies", [False, True])
async def test_a_write_of_unknown_effect_is_never_acknowledged_and_is_mended(site: Site, broken: str, dies: bool) -> None:
    flaky = Flaky(site)
    site.restart()
    await site.cycles.run(site.state(account("aa", allocation("x", 10))))
    flaky.broken = {broken}
    state = site.state(account("aa", allocation("x", 20, revision=2)))
    await site.cycles.run(state)
    assert site.outbox.revisions["x"].number == 1
    assert site.outbox.states["aa"].state == "Failed"
    flaky.broken = set()
    if dies:
        site.restart()
    await site.cycles.run(state)
    assert site.outbox.revisions["x"].number == 2
    assert site.outbox.states["aa"].drift == ()
    assert site.limit("aa") == 1200


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("period", [0, 300])
async def test_no_hour_is_given_away_and_none_kept_back(tmp_path: Path, seed: int, period: int) -> None:
    """Random jobs, top-ups, restarts and lost counters: after a cycle the head-room is what is left of the grant.

    Never above it by more than the documented two unit-minutes and the rounding of one; below it by the dead band at most,
    and by what a slow counter does not show yet.
    """
    dice = random.Random(seed)
    site = Site(tmp_path, counter_period_seconds=period)
    granted, revision = dict.fromkeys(("aa", "bb"), 50), 1
    for _ in range(60):
        entries = [account(n, allocation(n, hours, revision), members=("ann",)) for n, hours in granted.items()]
        state = site.state(*entries, acknowledged=10**6)
        for _ in range(dice.randrange(1, 4)):
            is_lost = dice.random() < 0.1
            if is_lost:
                site.machine.lose_counters()
            await site.cycles.run(state, urgent=not is_lost and dice.random() < 0.4)
            for name, hours in granted.items():
                assert (site.limit(name) or 0) * 60 - site.used(name) <= max(hours * HOUR - site.spent(name), 0) + 3 * 60
            await site.cycles.run(state)
            for name, hours in granted.items():
                left = hours * HOUR - site.spent(name)
                headroom = (site.limit(name) or 0) * 60 - site.used(name)
                assert headroom <= max(left, 0) + 3 * 60
                lagging = (site.machine.accounts[name].in_use["cpu"] + 16) * (period + 120) if period else 0
                assert headroom >= left - max(left, 0) // 20 - 60 * 66 - lagging
            for name in granted:
                seconds = dice.randrange(1, 2 * HOUR)
                site.scheduler.submit("ann", name, dice.randrange(1, seconds + 1), {"cpu": dice.randrange(1, 9)}, seconds)
            site.advance(dice.choice([10, 60, 900, HOUR, 5 * HOUR]))
        if dice.random() < 0.3:
            revision += 1
            granted[dice.choice(list(granted))] += dice.randrange(1, 30)
        if dice.random() < 0.2:
            site.restart()
    assert min(site.spent(name) for name in granted) > 0


LADDER = tuple(
    ThresholdEntry.model_validate({"percent": percent, "action": action, "clear_below_percent": percent - 5})
    for percent, action in ((20, "Notify"), (40, "Throttle"), (60, "SoftLand"), (80, "Hold"), (90, "Block"))
)


async def test_the_ladder_climbs_and_comes_down_by_itself(tmp_path: Path) -> None:
    """From Notify to Block with the use, and back at once with a top-up; the free QOS runs on while the account lands."""
    site = Site(tmp_path, soft_land_qos="soft")
    entry = account("aa", allocation("x", 100, thresholds=LADDER, end=START + 1000 * HOUR), members=("ann",))
    state = site.state(entry)
    await site.cycles.run(state)
    seen: list[tuple[Any, ...]] = []
    for cpus in (20, 20, 20, 20, 12):
        site.scheduler.submit("ann", "aa", HOUR, {"cpu": cpus})
        site.advance(HOUR)
        await site.cycles.run(state)
        found = site.machine.accounts["aa"]
        seen.append((site.outbox.states["aa"].enforcement, found.held, found.blocked, found.qos, dict(found.concurrent)))
        found.held, found.qos = False, ""  # somebody lets the next job through
        found.concurrent.clear()
    assert [item[0] for item in seen] == ["Notify", "Throttle", "SoftLand", "Hold", "Block"]
    assert seen[0][1:] == (False, False, "", {})
    assert seen[1][4] != {}
    assert seen[2][3] == "soft"
    assert seen[3][1:3] == (True, False)
    assert seen[4][1:3] == (True, True)
    assert site.outbox.states["aa"].actions == {"x": "Block"}
    topped_up = account("aa", allocation("x", 1000, 2, thresholds=LADDER, end=START + 1000 * HOUR), members=("ann",))
    await site.cycles.run(site.state(topped_up))
    found = site.machine.accounts["aa"]
    assert (found.held, found.blocked, found.qos, found.concurrent) == (False, False, "", {})
    assert site.outbox.states["aa"].rules == {"x": ()}


async def test_windows_roll_over_with_nobody_there(site: Site) -> None:
    """The control plane is away for two boundaries; each window begins at its second, with its debt."""
    spans = [(START + n * 10 * HOUR, START + (n + 1) * 10 * HOUR) for n in range(3)]
    windows = tuple(window(a, b, {"cpu": 10}) for a, b in spans)
    whole: dict[str, Any] = {"start": START, "end": spans[-1][1], "windows": windows, "open_until": spans[-1][1]}
    state = site.state(account("aa", allocation("x", 30, **whole), members=("ann",)))
    await site.cycles.run(state)
    site.scheduler.submit("ann", "aa", 5 * HOUR, {"cpu": 2})
    site.advance(6 * HOUR)
    await site.cycles.run(state)
    assert site.limit("aa") == 600
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 1})
    assert site.machine.pending == 1
    site.advance(4 * HOUR)
    site.restart()
    await site.cycles.run(state)
    assert site.limit("aa") == 1200
    assert site.machine.running == 1
    site.advance(10 * HOUR)
    await site.cycles.run(state)
    assert site.limit("aa") == 660 + 600
    site.advance(10 * HOUR)
    await site.cycles.run(state)
    assert site.limit("aa") == 660


async def test_cycles_wake_when_a_window_begins(site: Site) -> None:
    soon = allocation("x", 10, start=START + 900, end=START + HOUR)
    await site.cycles.run(site.state(account("aa", soon)))
    found = site.cycles.seconds_to_cut()
    assert found is not None
    assert 0 < found <= 900


async def test_a_soft_landing_that_is_a_hold_is_told(site: Site) -> None:
    lands = ThresholdEntry(percent=1, action="SoftLand")
    state = site.state(account("aa", allocation("x", 10, thresholds=(lands,)), members=("ann",)))
    await site.cycles.run(state)
    site.scheduler.submit("ann", "aa", HOUR, {"cpu": 1})
    site.advance(HOUR)
    await site.cycles.run(state)
    assert site.machine.accounts["aa"].held
    assert site.outbox.cycle is not None
    assert [miss.reason for miss in site.outbox.cycle.misses] == ["SoftLandQosMissing"]

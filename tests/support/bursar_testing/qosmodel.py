"""A model of what a scheduler has of one account in limit mode QOS: limits, counters, and who may use which QOS."""

from dataclasses import dataclass, field, replace

from bursar_agent.schedulers.base import AccountChange, AccountView, Observation, QosChange, QosView, Reading
from bursar_domain.units import MINUTE


@dataclass
class Job:
    """Work under one QOS (""  for none of ours); ``end`` as it will be, ``limit`` as it was asked for."""

    qos: str
    cpus: int
    start: int
    end: int
    limit: int

    def used(self, begin: int, until: int) -> int:
        """Unit-seconds between two times."""
        return self.cpus * max(0, min(until, self.end) - max(begin, self.start))

    def rest(self, now: int) -> int:
        """What it may still use."""
        return self.cpus * (self.limit - now) if now < self.end else 0


@dataclass
class Machine:
    """What a scheduler has of one account: limits by QOS ("" is the account itself), counters, who may use what."""

    limits: dict[str, int] = field(default_factory=dict)
    walls: dict[str, int] = field(default_factory=dict)
    lost: dict[str, int] = field(default_factory=dict)
    listed: tuple[str, ...] = ()
    exists: bool = False
    held: bool = False
    jobs: list[Job] = field(default_factory=list)

    def counter(self, name: str, now: int) -> int:
        """Unit-seconds; the account's has those of all its jobs."""
        return sum(job.used(0, now) for job in self.jobs if name in ("", job.qos)) - self.lost.get(name, 0)

    def lose(self, name: str, now: int, keep_percent: int) -> int:
        """A counter falls to a part of what it was; by how much."""
        before = self.counter(name, now)
        lost = before - before * keep_percent // 100
        self.lost[name] = self.lost.get(name, 0) + lost
        return lost

    def running(self, name: str, now: int) -> int:
        """Unit-seconds that running jobs may still use."""
        return sum(job.rest(now) for job in self.jobs if name in ("", job.qos))

    def reading(self, name: str, now: int) -> Reading:
        """As the agent sees it."""
        limit, wall = self.limits.get(name, -1), self.walls.get(name, -1)
        return Reading(
            limit=None if limit < 0 else limit,
            run_minutes_limit=None if wall < 0 else wall,
            counter=self.counter(name, now) // MINUTE,
            running=self.running(name, now) // MINUTE,
        )

    def observe(self, now: int) -> Observation:
        """The account, the root account, and the QOSes."""
        view = AccountView("aa", owned=True, parent="bursar", readings={"cpu": self.reading("", now)}, held=self.held)
        views = {"aa": replace(view, qos_list=self.listed)} if self.exists else {}
        qoses = {name: QosView(name, {"cpu": self.reading(name, now)}) for name in self.limits if name}
        return Observation(now, views, AccountView("bursar", owned=True, parent="root"), qoses=qoses)

    def write(self, change: AccountChange) -> None:
        """One phase, in the order of the real one."""
        if change.create:
            self.exists, self.limits[""] = True, 1
        for item in change.qoses:
            self._write_qos(item)
        self.limits |= {"": change.limits["cpu"]} if change.limits else {}
        self.walls |= {"": change.run_minutes["cpu"]} if change.run_minutes else {}
        self.held = self.held if change.held is None else change.held
        self.listed = self.listed if change.qos_list is None else change.qos_list

    def _write_qos(self, item: QosChange) -> None:
        if item.create:
            assert item.name not in self.limits
            self.limits[item.name] = 1
        if "cpu" in item.limits:
            if item.tightens:
                assert 0 <= item.limits["cpu"] <= self.limits[item.name] or self.limits[item.name] < 0
            self.limits[item.name] = item.limits["cpu"]
        self.walls |= {item.name: item.run_minutes["cpu"]} if item.run_minutes else {}

    def usable(self) -> tuple[str, ...]:
        """Under what jobs may start: QOSes of its list, or the account itself."""
        if not self.exists or self.held:
            return ()
        return self.listed or ("",)

    def room(self, name: str, now: int) -> float:
        """Unit-seconds between limit and counter."""
        limit = self.limits.get(name, -1)
        return float("inf") if limit < 0 else max(0, limit * MINUTE - self.counter(name, now))

    def whole_room(self, now: int) -> float:
        """Of everything that jobs may use."""
        return sum(self.room(name, now) for name in self.usable())

    def startable(self, name: str, now: int) -> float:
        """What may start now."""
        return max(0, self.room(name, now) - self.running(name, now))

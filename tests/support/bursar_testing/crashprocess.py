"""The operator as a process, killed (SIGKILL) beside its k-th write, and what the next process makes of it.

The k-th write of one operator is found by the proxy that it talks through: before it is forwarded, or after it took effect and
before the answer. What the ledger is told follows from writes of the API server and goes before others, so that a death
between the two is among these.
"""

import asyncio
import itertools
import json
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypedDict

from bursar_kube.client import Kube
from bursar_kube.errors import KubeError, NotFound
from bursar_kube.resources import ALLOCATIONS, CLUSTERS, LEASES, PROJECTS, QUOTAPOOLS, ROLEBINDINGS
from bursar_ledger.ledger import Ledger
from bursar_local.controlplane import ControlPlane
from bursar_local.crds import apply_definitions
from bursar_local.files import share
from bursar_local.kubeconfigs import service_account_kubeconfig
from bursar_testing import manifests
from bursar_testing.crash import Scenario, Stage, Story, plain
from bursar_testing.crashscenarios import SCENARIOS, asking
from bursar_testing.faultproxy import FaultProxy, Moment
from bursar_testing.grantterm import Site
from bursar_testing.operatorprocess import OperatorProcess

Obj = dict[str, Any]
OPERATOR: Final = "operator"
SYSTEM: Final = "bursar-system"
QUIET_SECONDS: Final = 0.5
BOUND_SECONDS: Final = 60.0
_NUMBERS = itertools.count(1)


class Entry(TypedDict):
    """One line of what a run of faults came to."""

    name: str
    operations: int
    violations: int
    lost: int
    stuck: int


async def _settle(site: Site) -> None:
    """A project that the operator has made ready."""
    await site.kube.create(CLUSTERS, manifests.cluster(site.name))
    await site.kube.create(PROJECTS, manifests.project(site.name, "alice"))
    async with asyncio.timeout(BOUND_SECONDS):
        while not ((await site.kube.get(PROJECTS, site.name)).get("status") or {}).get("account"):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def _nothing(site: Site) -> None:
    """Nothing comes before."""


async def _begin(site: Site) -> None:
    """Cluster, project, pool and allocation at one time."""
    await _settle(site)
    await site.pool("year", 100)
    await asking("a", 40)(site)


NEW = Scenario("project, pool and allocation from nothing", _nothing, _begin)
CHOSEN: Final = (
    "shrink",
    "delete",
    "take-over with open operations",
    "torn away and recreated",
    "raise and delete through three levels",
)


def scenarios() -> list[Scenario]:
    """Those that are played with processes."""
    return [NEW, *(item for item in SCENARIOS if item.name in CHOSEN)]


@dataclass
class Process:
    """One operator at a time on one control plane, through one proxy, over one ledger."""

    kube: Kube
    proxy: FaultProxy
    kubeconfig: Path
    ledger: Ledger
    ledger_file: Path
    folder: Path
    operator: OperatorProcess | None = None

    @classmethod
    @asynccontextmanager
    async def opened(cls, plane: ControlPlane, folder: Path) -> "AsyncIterator[Process]":
        """With an operator that leads."""
        async with AsyncExitStack() as ending:
            for name in ("namespace", "operator", "roles"):
                await plane.kubectl("apply", "-f", str(share("rbac") / f"{name}.yaml"))
            proxy = await FaultProxy.start(plane.kubeconfig)
            ending.push_async_callback(proxy.stop)
            direct = await service_account_kubeconfig(plane.kubectl, folder / "direct.kubeconfig", SYSTEM, "bursar-operator")
            kubeconfig = proxy.kubeconfig(folder / "operator.kubeconfig", direct, OPERATOR)
            kube = await Kube.connect(str(plane.kubeconfig))
            ending.push_async_callback(kube.close)
            ledger_file = folder / "ledger.db"
            ledger = await Ledger.connect(f"sqlite:///{ledger_file}")
            ending.push_async_callback(ledger.close)
            made = cls(kube, proxy, kubeconfig, ledger, ledger_file, folder)
            ending.push_async_callback(made.end)
            await made.lead()
            yield made

    async def lead(self) -> None:
        """The next operator, as soon as it may: the Lease of the one before is let go, for it is known to be dead."""
        await self.spawn()
        assert self.operator is not None
        await self.operator.ready()

    async def spawn(self) -> None:
        """Start the next operator without waiting for it."""
        await self.end()
        try:
            patch = {"spec": {"holderIdentity": "", "leaseDurationSeconds": 1}}
            await self.kube.merge_patch(LEASES, "bursar-operator", patch, SYSTEM)
        except NotFound:
            pass
        self.operator = await OperatorProcess.spawn(self.kubeconfig, self.ledger_file, self.folder)

    def kill(self) -> None:
        """SIGKILL."""
        if self.operator is not None and self.operator.child.returncode is None:
            self.operator.child.kill()

    @property
    def is_dead(self) -> bool:
        """Whether it was killed."""
        return self.operator is None or self.operator.child.returncode is not None

    async def end(self) -> None:
        """Kill it, if it is not dead."""
        if self.operator is not None:
            await self.operator.kill()

    def writes(self, site: Site) -> int:
        """How often the operators wrote what belongs to this site."""
        return sum(item.client == OPERATOR and site.name in item.path for item in self.proxy.written)

    async def play(self, scenario: Scenario, *, only: Sequence[tuple[Moment, int]] | None = None) -> Story:
        """Undisturbed once, then with a death after and before each write (or beside those that are named).

        After one and before the next differ in what the ledger was told between. Where everything begins, which is many
        writes of which few concern it, the first is enough.
        """
        story = Story(f"{scenario.name} (process)")
        async with self._site(scenario) as (site, begun):
            await scenario.act(site) if not scenario.takes_over else await self.lead()
            await self._quiet(site)
            end = await self.state(site)
            story.writes = self.writes(site) - begun
        moments = (Moment.AFTER,) if scenario is NEW else (Moment.AFTER, Moment.BEFORE)
        for moment, number in only or itertools.product(moments, range(1, story.writes + 1)):
            await self._die(scenario, number, moment, end, story)
        return story

    async def _die(self, scenario: Scenario, number: int, moment: Moment, end: str, story: Story) -> None:
        where = f"{scenario.name}, {moment} write {number}"
        async with self._site(scenario) as (site, _):
            self.proxy.on_write(number, moment, self.kill, client=OPERATOR, matching=site.name)
            go = asyncio.create_task(self.spawn() if scenario.takes_over else _started(scenario, site))
            try:
                await self._until(site, end, lambda: self.is_dead and (go.done() or not scenario.takes_over))
                self.proxy.forget_traps()
                if self.is_dead:
                    story.deaths += 1
                    await self.lead()
                if not await self._until(site, end):
                    story.wrong.append(f"{where}:\n  {await self.state(site)}\ninstead of\n  {end}\n{await site.unbalanced()}")
                    story.stuck += bool(await site.unbalanced())
            finally:
                self.proxy.forget_traps()
                go.cancel()
                await asyncio.wait({go})

    @asynccontextmanager
    async def _site(self, scenario: Scenario) -> AsyncIterator[tuple[Site, int]]:
        """A project of its own at rest after the preparations, or without its first leader, and how often it was written."""
        if self.is_dead:
            await self.lead()
        site = Site(self.kube, f"k{os.getpid() % 10_000}-{next(_NUMBERS)}")
        try:
            if scenario is not NEW:
                await _settle(site)
            await scenario.prepare(site)
            await self._quiet(site)
            if scenario.takes_over:
                self.proxy.on_write(1, Moment.AFTER, self.kill, client=OPERATOR, matching=f"/quotapools/{site.name}")
                await scenario.act(site)
                await self._until(site, "", lambda: self.is_dead)
                assert self.is_dead, "the first leader opened no operation"
            yield site, self.writes(site)
        finally:
            await self._remove(site)

    async def _quiet(self, site: Site) -> None:
        before = -1
        async with asyncio.timeout(BOUND_SECONDS):
            while before != self.writes(site) or await site.unbalanced():
                before = self.writes(site)
                await asyncio.sleep(QUIET_SECONDS)

    async def _until(self, site: Site, end: str, or_else: Callable[[], bool] = lambda: False) -> bool:
        """Wait for this end, or for something else; whether it came, within the bound."""
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                while not or_else() and (await self.state(site) != end or await site.unbalanced()):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return False
        return True

    async def state(self, site: Site) -> str:
        """What is left in the end, without times, counters and the site's own name."""
        found: Obj = {"ledger": await self._published(site)}
        for rt, names in ((PROJECTS, [site.name]), (CLUSTERS, [site.name]), (QUOTAPOOLS, site.pools)):
            for obj in await self.kube.list(rt):
                if obj["metadata"]["name"] in names:
                    found[f"{rt.kind} {obj['metadata']['name']}"] = plain(obj)
        for rt in (ALLOCATIONS, ROLEBINDINGS):
            for obj in await self.kube.list(rt, site.namespace):
                found[f"{rt.kind} {obj['metadata']['name']}"] = plain(obj) | {"subjects": obj.get("subjects")}
        return json.dumps(found, sort_keys=True, default=str).replace(site.name, "site")

    async def _published(self, site: Site) -> list[object]:
        """What the agent is told of living allocations, and that what is gone has its tombstone."""
        rows = {row.uid: row for row in (await site.rows()).values()}
        told: list[object] = []
        async for grant in self.ledger.each_grant():
            if grant.cluster == site.name:
                row = rows.get(grant.uid)
                entry = json.loads(grant.entry)
                current = row is not None and row.state.revision == grant.revision
                told.append((entry["name"], grant.tombstoned, current, sorted(entry["granted"].items())))
        delta = await self.ledger.desired(site.name, 0)
        for account in delta.entries if delta else ():
            told.append((account.account, [(item.name, sorted(item.granted.items())) for item in account.allocations]))
        return sorted(told, key=str)

    async def _remove(self, site: Site) -> None:
        """Through the operator where one lives; what it does not let go is left."""
        if self.is_dead:
            await self.lead()
        for name in await site.rows():
            await site.delete(name)
        try:
            async with asyncio.timeout(BOUND_SECONDS):
                while await site.rows():  # noqa: ASYNC110 - another process answers
                    await asyncio.sleep(0.1)
        except TimeoutError:
            return
        for rt, names in ((QUOTAPOOLS, site.pools), (PROJECTS, [site.name]), (CLUSTERS, [site.name])):
            for name in names:
                try:
                    await self.kube.delete(rt, name)
                except KubeError:
                    continue


async def _started(scenario: Scenario, site: Site) -> None:
    await scenario.act(site)


def entry(story: Story) -> Entry:
    """How a story counts: each death is an operation."""
    return Entry(
        name=f"crash: {story.scenario}",
        operations=story.deaths,
        violations=len(story.wrong) - story.stuck,
        lost=0,
        stuck=story.stuck,
    )


async def run(report: Callable[[str], None] = lambda words: None) -> list[Entry]:
    """Every scenario, with leaders of this process and with operators as processes, on a control plane of its own.

    `report` hears of each, and of what is wrong.
    """
    entries: list[Entry] = []

    def tell(story: Story) -> None:
        report(f"{story.scenario}: {story.writes} writes, {story.deaths} deaths, {len(story.wrong)} wrong")
        for words in story.wrong:
            report(words)
        entries.append(entry(story))

    with tempfile.TemporaryDirectory(prefix="bursar-crash-") as name:
        plane = await ControlPlane.start(Path(name) / "controlplane")
        try:
            await apply_definitions(plane.kubectl, share("crds"))
            async with Stage.opened(plane.kubeconfig) as stage:
                for scenario in SCENARIOS:
                    tell(await stage.play(scenario, thorough=True))
            async with Process.opened(plane, Path(name)) as process:
                for scenario in scenarios():
                    tell(await process.play(scenario))
        finally:
            await plane.stop()
    return entries

"""The operator put together: lead, read everything, then let each part run until the term is over."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from types import AsyncGeneratorType
from typing import Any, Final

import structlog

from bursar_domain.keys import Signer
from bursar_domain.units import DAY
from bursar_kube.client import Kube
from bursar_kube.errors import NotLeading
from bursar_kube.guard import Gate
from bursar_kube.lease import Leadership, default_identity
from bursar_kube.resources import QUOTAPOOLS
from bursar_ledger.errors import StaleEpoch
from bursar_ledger.ledger import Ledger
from bursar_operator import signing
from bursar_operator.allocation import Grants
from bursar_operator.books import Books
from bursar_operator.certificates import Certificates, utc_now
from bursar_operator.cluster import Clusters
from bursar_operator.crossings import Crossings
from bursar_operator.desired import DesiredState
from bursar_operator.domain.clusters import Patience
from bursar_operator.enrolment import EnrolmentDesk
from bursar_operator.feed import Feed
from bursar_operator.health import Health
from bursar_operator.informers import Informers
from bursar_operator.membership import Memberships
from bursar_operator.metrics import Metrics
from bursar_operator.pools import Fenced
from bursar_operator.project import Projects
from bursar_operator.release import Releases
from bursar_operator.settings import OperatorSettings

ANSWER_SECONDS: Final = 0.5
STOP_SECONDS: Final = 0.8
RETRY_SECONDS: Final = 5.0
ROLL_AFTER_DAYS: Final = 400
ROLL_PAUSE_SECONDS: Final = 60.0  # a start has other things to do
LEDGER_CACHE_MEBIBYTES: Final = 8  # most of what is read is read once, and kept
KOPF: Final = "kopf"
LOST: Final = "the Lease was lost; another process may lead now"
LEADERSHIP, RECOVERY, HANDLERS = "leadership", "recovery", "handlers"
LOG = structlog.get_logger("bursar.operator")


class TermOver(Exception):
    """This process no longer leads; another one does, so it ends."""


class Operator:
    """One process. `run` returns when it was asked to stop, and raises when it must not go on."""

    def __init__(self, settings: OperatorSettings) -> None:
        self._settings = settings
        self._identity = default_identity()
        self._agent = f"bursar-operator/{self._identity}"
        self._metrics = Metrics()
        self._health = Health(self._metrics.registry)
        self._stop = asyncio.Event()
        self._tasks: dict[asyncio.Task[Any], str] = {}
        self._kopf: asyncio.Task[Any] | None = None
        for part in (LEADERSHIP, RECOVERY, HANDLERS):
            self._health.missing(part, "has not begun")

    async def run(self) -> None:
        """Everything from the first look at the Lease to its release."""
        signer = signing.load_or_create(self._settings.signing_key_file)
        self._listen_for_signals()
        async with AsyncExitStack() as stack:
            await self._health.start(self._settings.health_address, self._settings.health_port)
            stack.push_async_callback(self._health.stop)
            LOG.info("health and metrics", address=f"http://{self._settings.health_address}:{self._health.port}")
            ledger = await Ledger.connect(self._settings.ledger_url, cache_mebibytes=LEDGER_CACHE_MEBIBYTES)
            stack.push_async_callback(ledger.close)
            bare = await Kube.connect(str(self._settings.kubeconfig) if self._settings.kubeconfig else None, agent=self._agent)
            stack.push_async_callback(bare.close)
            # Kopf takes long to import; meanwhile the Lease is taken and objects arrive.
            self._kopf = asyncio.create_task(asyncio.to_thread(import_handlers), name="import")
            leadership = Leadership(
                bare,
                namespace=self._settings.system_namespace,
                identity=self._identity,
                epoch_floor=lambda: highest_epoch(bare, ledger),
            )
            self._health.leader = lambda: said_of_leader(leadership)
            # Whatever is written from here on, but for the Lease, goes out only while nobody else can lead.
            ledger.guard(leadership.check)
            gate = Gate(leadership.check)
            kube = bare.guarded(gate)
            stack.push_async_callback(kube.close)
            stack.push_async_callback(self._end, leadership, gate)
            self._begin(LEADERSHIP, self._lead(leadership, gate, kube, ledger, signer))
            await self._until_over(leadership)

    async def _lead(self, leadership: Leadership, gate: Gate, kube: Kube, ledger: Ledger, signer: Signer) -> None:
        self._health.missing(LEADERSHIP, "waits for the Lease")
        epoch = await leadership.acquire()
        self._metrics.leader.set(1)
        self._metrics.epoch.set(epoch)
        self._health.ready(LEADERSHIP)
        parts = Parts(self._settings, kube, ledger, signer, self._metrics, epoch)
        self._health.missing(RECOVERY, "reads and recovers")
        self._begin("certificates", repeated("certificates", parts.certificates.run, self._metrics))
        with uncollected():
            await parts.grants.claim()  # first of all: from then on no earlier leader can grant
            await parts.load()
            self._begin("desired state", parts.desired.run())
            self._begin("feed", parts.feed.run())
            await parts.grants.start()
            parts.books.tell_again()
        self._health.ready(RECOVERY)
        self._begin("crossings", parts.crossings.run())
        self._begin("roll", repeated("roll", parts.roll, self._metrics, DAY))
        self._begin("projects", parts.projects.run())
        self._begin("memberships", parts.memberships.run())
        self._begin("clusters", parts.clusters.run())
        self._begin("releases", parts.releases.run())
        self._begin("grants", parts.guard_grants())
        await self._run_kopf(parts, gate)

    async def _run_kopf(self, parts: "Parts", gate: Gate) -> None:
        if self._kopf is not None:
            await self._kopf
        from bursar_operator import handlers

        ready = asyncio.Event()
        registry = handlers.registry(parts.projects, parts.clusters, self._settings.kubeconfig, gate, self._agent)
        kopf_task = self._begin("kopf", handlers.operate(registry, ready))
        await ready.wait()
        self._listen_for_signals()  # Kopf took the signals; it ends with the rest, not before
        self._health.ready(HANDLERS)
        LOG.info("serving")
        await kopf_task

    def _begin(self, name: str, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine, name=name)
        self._tasks[task] = name
        return task

    async def _until_over(self, leadership: Leadership) -> None:
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        lost = asyncio.create_task(leadership.lost.wait(), name="lost")
        try:
            while True:
                watched = {stop, lost, *self._tasks}
                done, _ = await asyncio.wait(watched, return_when=asyncio.FIRST_COMPLETED, timeout=1.0)
                if stop in done:
                    return
                if lost in done:
                    raise TermOver(LOST)
                for task in done:
                    self._judge_end(task, leadership)
        finally:
            stop.cancel()
            lost.cancel()

    def _judge_end(self, task: asyncio.Task[Any], leadership: Leadership) -> None:
        name = self._tasks[task]
        error = None if task.cancelled() else task.exception()
        if leadership.lost.is_set():
            raise TermOver(LOST) from error
        if stale := _find(error, (StaleEpoch, Fenced, NotLeading)):
            raise TermOver(str(stale)) from stale
        if error is not None:
            raise error
        raise RuntimeError(f"the part {name} ended by itself")

    async def _end(self, leadership: Leadership, gate: Gate) -> None:
        """Let the Lease go as soon as every write has its answer: the next one need not wait until the parts have ended."""
        LOG.info("stopping")
        self._metrics.leader.set(0)
        asyncio.get_running_loop().set_exception_handler(at_the_end)
        # A connection that is cut off while it rolls back is closed with the process, and that is all there is to say.
        logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
        if leadership.leading:
            await gate.close(ANSWER_SECONDS)
        for task in self._tasks:
            task.cancel()
        await leadership.release()
        with suppress(asyncio.CancelledError):
            await asyncio.wait(self._tasks, timeout=STOP_SECONDS)
        for task in self._tasks:
            if not task.done():
                LOG.debug("still ending", part=self._tasks[task])
            elif not task.cancelled():
                task.exception()
        LOG.debug("parts ended")
        gc.freeze()

    def _listen_for_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)


class Parts:
    """The parts of one term, wired to each other."""

    def __init__(
        self, settings: OperatorSettings, kube: Kube, ledger: Ledger, signer: Signer, metrics: Metrics, epoch: int
    ) -> None:
        self._kube = kube
        self._ledger = ledger
        self._settings = settings
        self._signer = signer
        patience = Patience(settings.agent_timeout_seconds, settings.usage_stale_seconds)
        self.informers = Informers.build(kube)
        self.books = Books(ledger, self.informers, patience, utc_now)
        self.desired = DesiredState(
            ledger,
            self.informers,
            self.books,
            signer,
            metrics,
            epoch=epoch,
            valid_days=settings.valid_days,
            now=utc_now,
            announced=self.cluster_changed,
            joined=self._joined,
        )
        self.grants = Grants(kube, self.books, self.informers, epoch=epoch, published=self.desired.touch, clock=time.time)
        deadline = settings.release_deadline_seconds
        self.projects = Projects(kube, self.informers, self.books, self.desired, settings.system_namespace, utc_now, deadline)
        self.memberships = Memberships(kube, self.informers, self.books, self.desired, settings.user_prefix, utc_now)
        self.clusters = Clusters(kube, self.informers, self.books, self.desired, patience, utc_now, deadline)
        self.certificates = Certificates(kube, settings.system_namespace, settings.webhook_configuration, utc_now)
        self.crossings = Crossings(kube, ledger, metrics, utc_now)
        self.enrolment = EnrolmentDesk(kube, ledger, settings.system_namespace, metrics, utc_now)
        self.feed = Feed(ledger, self.books, self, metrics, time.monotonic)
        self.releases = Releases(
            kube,
            ledger,
            self.informers,
            self.books,
            metrics,
            patience,
            deadline_seconds=deadline,
            statement_seconds=settings.statement_age_seconds,
            now=utc_now,
            touch=self.grants.touch,
        )
        self.grants.overdue = self.releases.verdict
        self.books.changed = self.grants.touch
        self.books.republish = self.desired.publish_now
        self.books.listener = self.crossings

    async def load(self) -> None:
        """Read everything that decisions rest on, the allocations beside the rest: the grants hold the pools already."""
        await self.informers.read_allocations()
        await signing.publish(self._kube, self._settings.system_namespace, self._signer)
        await self.feed.start()
        await self.informers.start()
        await self.desired.load()
        await self.books.load()
        await self.crossings.load()
        await self.releases.load()
        self.desired.follow()

    async def guard_grants(self) -> None:
        """Ends when the grants do: with `Fenced` where a later term has begun."""
        try:
            await self.grants.done
        finally:
            await self.grants.stop()
            await self.informers.stop()

    async def roll(self) -> None:
        """Old use is kept by days, but for days inside which some account's terms change."""
        await asyncio.sleep(ROLL_PAUSE_SECONDS)
        before = int(utc_now().timestamp()) - ROLL_AFTER_DAYS * DAY
        await self._ledger.roll(before, await self.books.accounts.all_cuts())

    def cluster_changed(self, cluster: str) -> None:
        """Its agent said something."""
        self.clusters.touch(cluster)

    def _joined(self, account: str) -> None:
        self.memberships.touch_account(account)

    def account_changed(self, cluster: str, account: str) -> None:
        """Its state at the scheduler, or its use, changed."""
        self.memberships.touch_account(account)
        self.projects.touch_account(account)

    def entries_changed(self, cluster: str, account: str) -> None:
        """Something was booked for it."""
        self.desired.touch(cluster, account)

    async def enrolment_asked(self) -> None:
        """An agent waits to be let in."""
        await self.enrolment.settle()


@contextmanager
def uncollected() -> Iterator[None]:
    """What is read inside stays: the collector need not walk it while it grows, nor ever again."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def at_the_end(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Report what nobody caught, but for Kopf's watches: asyncio closes a generator and the one inside it at the same time."""
    generator = context.get("asyncgen")
    if isinstance(generator, AsyncGeneratorType) and KOPF in Path(generator.ag_code.co_filename).parts:
        LOG.debug("a watch of Kopf was closed in the middle", error=str(context.get("exception")))
        return
    loop.default_exception_handler(context)


def said_of_leader(leadership: Leadership) -> str:
    """Who leads, for people."""
    if not leadership.holder:
        return ""
    here = " (this process)" if leadership.leading else ""
    return f"{leadership.holder}{here}, term {leadership.term}"


def import_handlers() -> None:
    """Import Kopf. It looks for the official client to recognise its objects; we have none, and it would take twice as long."""
    absent = "kubernetes" not in sys.modules
    if absent:
        sys.modules["kubernetes"] = None  # type: ignore[assignment]
    try:
        import_module("bursar_operator.handlers")
    finally:
        if absent:
            del sys.modules["kubernetes"]


async def highest_epoch(kube: Kube, ledger: Ledger) -> int:
    """The highest term that anything was written under."""
    pools = await kube.list(QUOTAPOOLS)
    return max([await ledger.highest_epoch(), *((pool.get("status") or {}).get("epoch") or 0 for pool in pools)])


async def repeated(name: str, run: Any, metrics: Metrics, pause_seconds: float = RETRY_SECONDS) -> None:
    """A part whose passes may fail: report it and go on, after a failure sooner."""
    while True:
        pause = pause_seconds
        try:
            await run()
        except Exception as error:
            metrics.failures.labels(name).inc()
            LOG.warning("a pass failed; trying again", part=name, error=str(error))
            pause = RETRY_SECONDS
        await asyncio.sleep(pause)


def _find(error: BaseException | None, kinds: tuple[type[Exception], ...]) -> BaseException | None:
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _find(inner, kinds))), None)
    return error if isinstance(error, kinds) else None

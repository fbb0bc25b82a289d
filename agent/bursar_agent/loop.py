"""The agent at work: tasks that listen for a newer state, run cycles, report, look at old records. None waits for another."""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import structlog

from bursar_agent import health, recount, verify
from bursar_agent.client import Backoff, Gateway, GatewayAway, GatewayRefused
from bursar_agent.cycle import Clocks, Cycles
from bursar_agent.desired import DesiredStore
from bursar_agent.identity import Identity
from bursar_agent.journal import Journal
from bursar_agent.outbox import Outbox, first_page, usage_pages
from bursar_agent.promises import Promises
from bursar_agent.recount import Recount
from bursar_agent.schedulers.base import Readiness, Scheduler, SchedulerError
from bursar_agent.settings import AgentSettings
from bursar_agent.tokens import CallSigner
from bursar_agent.usagebook import UsageBook
from bursar_agent.verify import DesiredState
from bursar_crds.reasons import Reason
from bursar_domain.buckets import WHOLE
from bursar_domain.wire import Hello, Miss, Refused, SlotReport, UsageReport

log = structlog.get_logger(__name__)
LONG_POLL_SECONDS = 50
HEARTBEAT_SECONDS = 10.0
CONFLICT = 409
FENCED_PAUSE_SECONDS = 2.0
READINESS_SECONDS = 300.0
AFTER_CUT_SECONDS = 0.2  # clocks that count whole seconds have certainly come to it
RECOUNT_PAUSE_SECONDS = 0.5
EPOCHS_PER_SECOND = 1000  # so that no two starts without a state get the same
LOGGED_REFUSALS = 20  # of one page


class Agent:
    """One cluster's agent. The state directory must be locked by the caller."""

    def __init__(self, settings: AgentSettings, identity: Identity, scheduler: Scheduler, clocks: Clocks | None = None) -> None:
        """Resume from the state directory; connects nothing yet."""
        self._settings, self._identity, self._scheduler = settings, identity, scheduler
        self._clocks = clocks or Clocks()
        directory = settings.state_directory
        self.session = uuid.uuid4().hex
        self._store, self._promises = DesiredStore(directory), Promises(directory)
        self.state: DesiredState | None = self._store.load(settings.cluster, identity.fingerprint)
        self.outbox = Outbox(self.session)
        self.cycles = Cycles(
            settings,
            scheduler,
            Journal(directory),
            UsageBook(directory, epoch=self._new_epoch()),
            self.outbox,
            self._clocks,
        )
        signer = CallSigner(identity, self.session)
        self._gateway = Gateway(settings.gateway, settings.gateway_ca, signer=signer, clock=self._clocks.wall)
        self._wake, self._report = asyncio.Event(), asyncio.Event()
        self._greeted, self._conflict, self._fenced = asyncio.Event(), asyncio.Event(), False
        self._asked = asyncio.Event()
        self._fetch_all = False
        self.metrics = health.Metrics()
        self._readiness_at: float | None = None
        self._largest_factor_thousandths = WHOLE

    @property
    def is_fenced(self) -> bool:
        """Whether another session holds the cluster, so that this one writes nothing."""
        return self._fenced

    async def run(self) -> None:
        """Work until cancelled."""
        log.info("agent starts", cluster=self._settings.cluster, session=self.session, scheduler=self._settings.scheduler)
        try:
            async with health.served(self.metrics, self._not_ready, self._settings.health_port), asyncio.TaskGroup() as tasks:
                tasks.create_task(self._listen())
                tasks.create_task(self._work())
                tasks.create_task(self._tell())
                tasks.create_task(self._look_back())
        finally:
            await self._gateway.close()
            await self._scheduler.close()

    # Listen

    async def _listen(self) -> None:
        """Keep the desired state fresh. Whatever goes wrong here changes nothing at the scheduler."""
        pause = Backoff()
        while True:
            try:
                if not self._greeted.is_set():
                    await self._ask()
                await self._fetch_unless_fenced()
                pause.reset()
            except GatewayAway as error:
                await self._rest(pause, "the gateway is away; the last verified state stays in force", error, error.retry_after)
            except GatewayRefused as error:
                self._heed(error)
                await self._rest(pause, "the gateway refuses", error, FENCED_PAUSE_SECONDS)
            except verify.Incomplete as error:
                self._fetch_all = True
                self._gateway.forget_version()
                await self._rest(pause, "fetching everything", error)
            except verify.Refused as error:
                self._gateway.forget_version()
                await self._rest(pause, "a desired state was refused; the last verified one stays in force", error, 5)

    def _heed(self, error: GatewayRefused) -> None:
        """Another session holds the cluster, or ours is not known: write nothing before we are let in again."""
        if error.status == CONFLICT:
            self._fenced = True
            self._greeted.clear()
            self._conflict.set()

    async def _fetch_unless_fenced(self) -> None:
        """A long poll that ends early when a report shows that the session is lost."""
        self._conflict.clear()
        fetch = asyncio.ensure_future(self._fetch())
        lost = asyncio.ensure_future(self._conflict.wait())
        try:
            await asyncio.wait({fetch, lost}, return_when=asyncio.FIRST_COMPLETED)
            if fetch.done():
                fetch.result()
        finally:
            fetch.cancel()
            lost.cancel()

    async def _rest(self, pause: Backoff, what: str, error: Exception, at_least: float | None = None) -> None:
        log.warning(what, reason=str(error))
        await asyncio.sleep(pause.next(at_least))

    async def _ask(self) -> None:
        """Say hello. Whatever comes of it, cycles may begin then: let in, told to keep still, or alone with the scheduler."""
        try:
            await self._greet()
        finally:
            self._asked.set()

    async def _greet(self) -> None:
        """Say hello; with the scheduler's readiness as soon as the cluster's settings are known."""
        readiness = await self._readiness()
        hello = Hello(
            session=self.session,
            agent_version=_version(),
            scheduler=readiness.scheduler,
            scheduler_version=readiness.version,
            capabilities=readiness.capabilities,
            misses=readiness.misses,
            clock=int(self._clocks.wall()),
        )
        reply = await self._gateway.hello(self._settings.cluster, hello)
        if not reply.accepted:
            self._fenced = True
            raise GatewayRefused(f"{reply.reason}. Nothing is written until this session is let in", CONFLICT)
        self._fenced = False
        self.cycles.book.is_agreed = False  # another session may have told something meanwhile
        self.outbox.tell_all()
        self.cycles.book.refusals.offer_again()
        self._greeted.set()
        self._wake.set()
        self._report.set()

    async def _readiness(self) -> Readiness:
        if self.state is None:
            return Readiness(self._settings.scheduler, "", (), ())
        self._readiness_at = self._clocks.monotonic()
        try:
            found = await self._scheduler.capabilities(self.state.settings)
        except SchedulerError as error:
            miss = Miss(reason=Reason.SCHEDULER_UNAVAILABLE, message=str(error)[:1000], remedy="look at the scheduler")
            return Readiness(self._settings.scheduler, "", (), (miss,))
        self.cycles.misses = found.misses
        if found.largest_factor_thousandths > self._largest_factor_thousandths:
            # What costs more than the machine has may have been refused while nobody had said why.
            self.cycles.book.refusals.offer_again()
            self._report.set()
        self._largest_factor_thousandths = found.largest_factor_thousandths
        return found

    async def _fetch(self) -> None:
        after = 0 if self.state is None or self._fetch_all else self.state.generation
        before = self.state
        delta = await self._gateway.desired(self._settings.cluster, after, LONG_POLL_SECONDS)
        if delta is None:
            return
        state = verify.accept(before, delta, self._settings.cluster, self._identity.fingerprint)
        self._store.save(state)
        self.state, self._fetch_all = state, False
        self.cycles.book.refusals.offer_again()
        log.info("desired state", generation=state.generation, changed=len(delta.entries), accounts=len(state.entries))
        self._wake.set()
        if before is None or before.settings != state.settings:
            self._greeted.clear()

    # Work

    async def _work(self) -> None:
        """Run cycles: at once when something changed, else every interval."""
        pause = Backoff(first=0.5, longest=max(0.5, self._settings.cycle_interval_seconds))
        await self._asked.wait()
        while True:
            urgent = self._wake.is_set()
            self._wake.clear()
            wait = self._settings.cycle_interval_seconds
            if self.state is not None and not self._fenced:
                if await self._cycle(self._promises.kept(self.state), urgent=urgent):
                    pause.reset()
                    wait = self._wait_seconds()
                else:
                    wait = pause.next()
                self._report.set()
                await self._refresh_readiness()
            await _set_within(self._wake, wait)

    def _wait_seconds(self) -> float:
        """Until the next cycle: a window rolls over when it does, not when we happen to look."""
        interval, cut = self._settings.cycle_interval_seconds, self.cycles.seconds_to_cut()
        return interval if cut is None else min(interval, cut + AFTER_CUT_SECONDS)

    async def _cycle(self, state: DesiredState, *, urgent: bool) -> bool:
        began = self._clocks.monotonic()
        self.cycles.is_skewed = self._gateway.is_skewed
        is_read = await self.cycles.run(state, urgent=urgent)
        self.metrics.cycle_seconds.set(self._clocks.monotonic() - began)
        self.metrics.reachable.set(is_read)
        self.metrics.generation.set(state.generation)
        self.metrics.accounts.set(len(state.entries))
        self.metrics.pending.set(sum(item.state in ("Pending", "Failed") for item in self.outbox.states.values()))
        self.metrics.brake.set(self.outbox.cycle is not None and self.outbox.cycle.brake is not None)
        self.metrics.watermark.set(self.cycles.book.watermark or 0)
        self.metrics.unsent.set(len(self.cycles.book.unsent))
        return is_read

    def _not_ready(self) -> str:
        """Why the scheduler is not kept as desired right now, or ""."""
        if self.state is None:
            return "no desired state was fetched yet"
        if self._fenced:
            return "another session with the same key holds the cluster"
        return "" if self.outbox.cycle is not None else "no cycle was finished yet"

    async def _refresh_readiness(self) -> None:
        """Look again now and then whether limits hold at all."""
        at = self._readiness_at
        if at is not None and self._clocks.monotonic() - at > READINESS_SECONDS:
            await self._readiness()

    def _new_epoch(self) -> int:
        return int(self._clocks.wall() * EPOCHS_PER_SECOND)

    async def _look_back(self) -> None:
        """Read old job records again, tell use anew where that has to be, compact the books' file: little by little."""
        book = self.cycles.book
        telling, interval = Recount(book), self._settings.cycle_interval_seconds
        while True:
            await asyncio.sleep(interval if book.recount_to is None else min(interval, RECOUNT_PAUSE_SECONDS))
            if book.is_long:
                await book.compact_aside()
            changed = 0
            if self.state is not None and not self._fenced:
                changed = await self.cycles.sweep(self._promises.kept(self.state))
            if await telling.step() or changed:
                self._report.set()

    # Tell

    async def _tell(self) -> None:
        """Send what is new: states and proven revisions first, then use."""
        pause, last = Backoff(), 0.0
        while True:
            await _set_within(self._report, HEARTBEAT_SECONDS)
            self._report.clear()
            await self._greeted.wait()
            try:
                now = self._clocks.monotonic()
                if self.outbox.is_urgent or now - last >= HEARTBEAT_SECONDS:
                    await self._send_status()
                    last = now
                await self._send_usage()
                pause.reset()
            except GatewayAway as error:
                self._report.set()
                await self._rest(pause, "reports wait on disk", error, error.retry_after)
            except GatewayRefused as error:
                self._heed(error)
                self._report.set()
                await self._rest(pause, "a report was refused", error, FENCED_PAUSE_SECONDS)

    async def _send_status(self) -> None:
        cycle, pages = self.outbox.cycle, self.outbox.pages()
        for page in pages:
            await self._gateway.status(self._settings.cluster, page)
        self.outbox.told(pages, cycle)

    async def _send_usage(self) -> None:
        book = self.cycles.book
        for report, slots in usage_pages(book, self.session, self._largest_factor_thousandths):
            if not book.is_agreed and not await self._send_page(first_page(book, self.session), ()):
                return
            if not await self._send_page(report, slots):
                return

    async def _send_page(self, report: UsageReport, slots: Sequence[SlotReport]) -> bool:
        """Whether the next one may follow."""
        receipt = await self._gateway.usage(self._settings.cluster, report)
        news, why = recount.hear(self.cycles.book, report, slots, receipt, self._new_epoch())
        self._note_refused(news)
        if why:
            log.warning("all use is told anew", reason=why)
            self._report.set()
        return not why

    def _note_refused(self, news: Sequence[Refused]) -> None:
        for item in news[:LOGGED_REFUSALS]:
            log.warning("the gateway refuses a slot", account=item.account, hour=item.hour, reason=item.reason)
        for item in news:
            self.metrics.refused.labels(item.reason).inc()
        if news:
            log.warning("slots were refused; they are kept in refused.jsonl", slots=len(news))


async def _set_within(event: asyncio.Event, seconds: float) -> None:
    """Wait for the event, at most so long. Python 3.11's `wait_for` would swallow a cancellation that meets it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


def _version() -> str:
    try:
        return version("bursar")
    except PackageNotFoundError:
        return "unknown"


def prepare(directory: Path) -> None:
    """Make the state directory, for its owner alone."""
    directory.mkdir(mode=0o700, exist_ok=True)

"""Who leads: one Lease, and an epoch in it that grows with every take-over.

A Lease does not fence: a paused leader wakes up and writes on. Whoever leads stamps `epoch` into what it writes, and whatever
holds a higher one refuses it; and every write of a leader passes `check`, which refuses it from the moment at which the Lease
may have run out. Expiry is judged by this process's own clock from the moment it saw the Lease change last, so that clocks of
several hosts need not agree. It is a clock that goes on while the machine sleeps.
"""

import asyncio
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from bursar_crds import names
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import AlreadyExists, Conflict, KubeError, NotFound, NotLeading
from bursar_kube.resources import LEASES

EPOCH_ANNOTATION: Final = f"{names.GROUP}/epoch"
DURATION_SECONDS: Final = 10
DEADLINE_SECONDS: Final = 7.0
RETRY_SECONDS: Final = 2.0
_LOG = structlog.get_logger("bursar.lease")


def default_identity() -> str:
    """Host and a random part: a restarted process is somebody else."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:12]}"


async def no_floor() -> int:
    """The floor where nothing but the Lease holds epochs."""
    return 0


class Leadership:
    """Call `acquire`, work while `lost` is unset, and `release` at the end; writes in between pass `check`.

    `kube` carries the Lease alone and is not guarded by `check`. `epoch_floor` gives the highest epoch written anywhere;
    `identity` must be this process's alone. `holder` is who leads in term `term`, as far as this process knows.
    """

    def __init__(
        self,
        kube: Kube,
        name: str = "bursar-operator",
        namespace: str = names.SYSTEM_NAMESPACE,
        identity: str | None = None,
        epoch_floor: Callable[[], Awaitable[int]] = no_floor,
        *,
        duration_seconds: int = DURATION_SECONDS,
        deadline_seconds: float = DEADLINE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self.identity = identity or default_identity()
        self.lost = asyncio.Event()
        self.epoch = 0
        self.holder = ""
        self.term = 0
        self._kube = kube
        self._name = name
        self._namespace = namespace
        self._epoch_floor = epoch_floor
        self._duration = duration_seconds
        self._deadline = deadline_seconds
        self._retry = retry_seconds
        self._seen = ""
        self._free_at = 0.0
        self._held: Obj | None = None
        self._sure_until = 0.0
        self._changed = asyncio.Event()
        self._renewal: asyncio.Task[None] | None = None

    @property
    def leading(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._held is not None and not self.lost.is_set()

    def check(self) -> None:
        """Raise NotLeading unless nobody else can lead: the last renewal that succeeded began a short while ago."""
        if not self.leading:
            raise NotLeading("this process does not lead, so it writes nothing; it waits for the Lease or ends")
        if now_seconds() >= self._sure_until:
            raise NotLeading(
                f"the Lease was not renewed within {self._deadline:g} s, another process may lead in its place: nothing is"
                " written until it is renewed, and where it can't be, this process ends"
            )

    async def acquire(self) -> int:
        """Wait until this process leads, begin to renew, and return the new epoch."""
        if self.lost.is_set():
            self.lost.clear()
            self._held = None
        watch = asyncio.create_task(self._watch(), name=f"watch lease {self._name}")
        try:
            while self._held is None:
                await self._attempt()
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        self._renewal = asyncio.create_task(self._renew(), name=f"lease {self._name}")
        _LOG.info("leading", lease=self._name, identity=self.identity, epoch=self.epoch)
        return self.epoch

    async def release(self) -> None:
        """Stop leading, write nothing more, and let the next one in at once."""
        was_leading = self.leading
        self.lost.set()
        if self._renewal is not None:
            self._renewal.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewal
            self._renewal = None
        held, self._held = self._held, None
        if was_leading and held is not None:
            try:
                async with asyncio.timeout(self._retry):
                    await self._give_up(held)
            except Exception as error:  # noqa: BLE001, RUF100 - whoever comes next waits until it has run out
                self._failed("cannot give the lease up", error)

    async def _give_up(self, lease: Obj) -> None:
        """Write that nobody holds it, also where a renewal that was cut off has landed."""
        while self._is_mine(lease):
            lease["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
            try:
                await self._kube.replace(LEASES, lease)
                return
            except Conflict:
                lease = await self._kube.get(LEASES, self._name, self._namespace)

    async def _attempt(self) -> None:
        """Try once, then wait for news of the Lease, its end, or the next try."""
        self._changed.clear()
        began = now_seconds()
        try:
            async with asyncio.timeout(self._deadline):
                self._held = await self._try_to_take()
        except Exception as error:  # noqa: BLE001, RUF100 - a token that can't be read, an answer that is no JSON: it may pass
            self._failed("cannot take the lease yet", error)
        if self._held is not None:
            self._sure_until = began + self._deadline
            self.epoch = self.term = _epoch(self._held)
            self.holder = self.identity
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(self._pause()):
                await self._changed.wait()

    def _pause(self) -> float:
        """Seconds until the next try: at the latest when the Lease runs out."""
        left = self._free_at - now_seconds()
        return min(self._retry, left + 0.01) if left > 0 else self._retry

    async def _watch(self) -> None:
        """Hear of every change of the Lease at once; the regular tries go on without it."""
        selector = f"metadata.name={self._name}"
        while True:
            with suppress(Exception):
                async with aclosing(self._kube.watch(LEASES, self._namespace, field_selector=selector)) as stream:
                    async for batch in stream:
                        if batch:
                            self._changed.set()
            await asyncio.sleep(self._retry)

    async def _try_to_take(self) -> Obj | None:
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        except NotFound:
            return await self._create()
        self.holder, self.term = lease.get("spec", {}).get("holderIdentity") or "", _epoch(lease)
        if not self._is_free(lease):
            return None
        changed = self._claim(lease, await self._next_epoch(lease))
        try:
            return await self._kube.replace(LEASES, changed)
        except Conflict:
            return None

    async def _create(self) -> Obj | None:
        lease: Obj = {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": {},
        }
        try:
            return await self._kube.create(LEASES, self._claim(lease, await self._next_epoch(lease)))
        except AlreadyExists:
            return None

    def _is_free(self, lease: Obj) -> bool:
        version, spec = lease["metadata"]["resourceVersion"], lease.get("spec", {})
        if version != self._seen:
            self._seen = version
            self._free_at = now_seconds() + float(spec.get("leaseDurationSeconds", 0))
        # Ours already: a claim whose answer got lost.
        return spec.get("holderIdentity", "") in ("", self.identity) or now_seconds() > self._free_at

    async def _next_epoch(self, lease: Obj) -> int:
        return 1 + max(_epoch(lease), await self._epoch_floor())

    def _claim(self, lease: Obj, epoch: int) -> Obj:
        metadata, spec = lease["metadata"], lease.setdefault("spec", {})
        metadata["annotations"] = metadata.get("annotations", {}) | {EPOCH_ANNOTATION: str(epoch)}
        spec |= {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self._duration,
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseTransitions": spec.get("leaseTransitions", 0) + 1,
        }
        return lease

    async def _renew(self) -> None:
        """Renew for as long as the term lasts; however this ends, the term is over and `lost` says so."""
        try:
            while await self._leads_on():
                pass
            _LOG.error("leadership lost", lease=self._name, identity=self.identity, epoch=self.epoch)
        except Exception:
            _LOG.exception("leadership lost: the renewal failed", lease=self._name, identity=self.identity, epoch=self.epoch)
        finally:
            self.lost.set()

    async def _leads_on(self) -> bool:
        """Renew after a moment; False where the Lease is lost."""
        await asyncio.sleep(self._retry)
        began = now_seconds()
        # Late: this process, its machine or the API server stood still. One look tells whether the term goes on.
        is_late = began >= self._sure_until
        try:
            async with asyncio.timeout(self._deadline if is_late else self._sure_until - began):
                if not await self._renew_once(is_late=is_late):
                    return False
        except NotFound:
            return False
        except Exception as error:  # noqa: BLE001, RUF100 - a token that can't be read, an answer that is no JSON: it may pass
            self._failed("cannot renew the lease", error)
            return not is_late
        self._sure_until = began + self._deadline
        return True

    async def _renew_once(self, *, is_late: bool) -> bool:
        """Whether the lease is still ours; a write whose answer got lost is found by reading again.

        Who is late reads first, so that nothing at all is sent to write once another one leads. That the write succeeds
        proves that nobody led in between.
        """
        lease = await self._kube.get(LEASES, self._name, self._namespace) if is_late else self._held
        while lease is not None and self._is_mine(lease):
            lease["spec"]["renewTime"] = _now()
            try:
                self._held = await self._kube.replace(LEASES, lease)
                return True
            except Conflict:
                lease = await self._kube.get(LEASES, self._name, self._namespace)
        return False

    def _failed(self, what: str, error: Exception) -> None:
        """Say that a try failed; where it is none of what a call may end with, also where it came from."""
        is_known = isinstance(error, KubeError | TimeoutError)
        _LOG.warning(what, lease=self._name, error=str(error) or "no answer in time", exc_info=None if is_known else error)

    def _is_mine(self, lease: Obj) -> bool:
        holder: object = lease.get("spec", {}).get("holderIdentity")
        return holder == self.identity and _epoch(lease) == self.epoch


def now_seconds() -> float:
    """A clock that nobody sets, and that goes on while the machine sleeps where the system has one."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _epoch(lease: Obj) -> int:
    text = lease["metadata"].get("annotations", {}).get(EPOCH_ANNOTATION, "0")
    return int(text) if text.isdecimal() and len(text) <= 15 else 0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

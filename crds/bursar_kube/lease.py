"""Who leads: one Lease, and an epoch in it that grows with every take-over.

A Lease does not fence: a paused leader wakes up and writes on. Whoever leads stamps `epoch` into what it writes, and whatever
holds a higher one refuses it. Expiry is judged by this process's own clock from the moment it saw the Lease change last, so
that clocks of several hosts need not agree.
"""

import asyncio
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

import structlog

from bursar_crds import names
from bursar_kube.client import Kube, Obj
from bursar_kube.errors import AlreadyExists, Conflict, KubeError, NotFound
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
    """Call `acquire`, work while `lost` is unset, and `release` at the end.

    `epoch_floor` gives the highest epoch written anywhere; `identity` must be this process's alone.
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
        self._kube = kube
        self._name = name
        self._namespace = namespace
        self._epoch_floor = epoch_floor
        self._duration = duration_seconds
        self._deadline = deadline_seconds
        self._retry = retry_seconds
        self._seen: tuple[str, float] = ("", 0.0)
        self._held: Obj | None = None
        self._renewal: asyncio.Task[None] | None = None

    @property
    def leading(self) -> bool:
        """Whether this process leads, as far as it knows."""
        return self._held is not None and not self.lost.is_set()

    async def acquire(self) -> int:
        """Wait until this process leads, begin to renew, and return the new epoch."""
        if self.lost.is_set():
            self.lost.clear()
            self._held = None
        while self._held is None:
            try:
                async with asyncio.timeout(self._deadline):
                    self._held = await self._try_to_take()
            except (KubeError, TimeoutError) as error:
                _LOG.warning("cannot take the lease yet", lease=self._name, error=str(error) or "no answer in time")
            if self._held is None:
                await asyncio.sleep(self._retry)
        self.epoch = _epoch(self._held)
        self._renewal = asyncio.create_task(self._renew(), name=f"lease {self._name}")
        _LOG.info("leading", lease=self._name, identity=self.identity, epoch=self.epoch)
        return self.epoch

    async def release(self) -> None:
        """Stop leading and let the next one in at once."""
        if self._renewal is not None:
            self._renewal.cancel()
            with suppress(asyncio.CancelledError):
                await self._renewal
            self._renewal = None
        held, self._held = self._held, None
        if held is None or self.lost.is_set():
            return
        self.lost.set()
        held["spec"] |= {"holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": _now()}
        with suppress(KubeError, TimeoutError):
            async with asyncio.timeout(self._retry):
                await self._kube.replace(LEASES, held)

    async def _try_to_take(self) -> Obj | None:
        try:
            lease = await self._kube.get(LEASES, self._name, self._namespace)
        except NotFound:
            return await self._create()
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
        version = lease["metadata"]["resourceVersion"]
        if version != self._seen[0]:
            self._seen = (version, time.monotonic())
        spec = lease.get("spec", {})
        # Ours already: a claim whose answer got lost.
        if spec.get("holderIdentity", "") in ("", self.identity):
            return True
        return time.monotonic() - self._seen[1] > float(spec.get("leaseDurationSeconds", 0))

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
        renewed = time.monotonic()
        while time.monotonic() - renewed < self._deadline:
            await asyncio.sleep(self._retry)
            began = time.monotonic()
            try:
                async with asyncio.timeout(max(0.1, renewed + self._deadline - began)):
                    if not await self._renew_once():
                        break
                renewed = began
            except NotFound:
                break
            except (KubeError, TimeoutError) as error:
                _LOG.warning("cannot renew the lease", lease=self._name, error=str(error) or "no answer in time")
        _LOG.error("leadership lost", lease=self._name, identity=self.identity, epoch=self.epoch)
        self.lost.set()

    async def _renew_once(self) -> bool:
        """Whether the lease is still ours; a write whose answer got lost is found by reading again."""
        lease = self._held
        while lease is not None and self._is_mine(lease):
            lease["spec"]["renewTime"] = _now()
            try:
                self._held = await self._kube.replace(LEASES, lease)
                return True
            except Conflict:
                lease = await self._kube.get(LEASES, self._name, self._namespace)
        return False

    def _is_mine(self, lease: Obj) -> bool:
        holder: object = lease.get("spec", {}).get("holderIdentity")
        return holder == self.identity and _epoch(lease) == self.epoch


def _epoch(lease: Obj) -> int:
    text = lease["metadata"].get("annotations", {}).get(EPOCH_ANNOTATION, "0")
    return int(text) if text.isdecimal() and len(text) <= 15 else 0


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

"""Small wire objects and throw-away ledgers for tests."""

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bursar_domain.buckets import Amounts, RowKey, SlotKey
from bursar_domain.keys import Signer
from bursar_domain.units import UNSCALED
from bursar_domain.wire import (
    AccountEntry,
    AllocationEntry,
    ClusterSettings,
    Hello,
    RebuiltRange,
    SlotReport,
    StatusReport,
    StepEntry,
    TrackedResource,
    UsageReport,
    UsageRow,
    WindowEntry,
)
from bursar_ledger import Ledger

END = 4_000_000_000


@asynccontextmanager
async def new_ledger(folder: Path | None = None) -> AsyncIterator[Ledger]:
    """A ledger in a file of its own."""
    with TemporaryDirectory() as own:
        ledger = await Ledger.connect(f"sqlite:///{folder or own}/ledger.db")
        try:
            yield ledger
        finally:
            await ledger.close()


async def publish_accounts(
    ledger: Ledger, cluster: str, *accounts: str, capacity: int = 10**7, scheduler: str = "slurm"
) -> None:
    """Accounts that usage may be reported for: members, no allocations."""
    await ledger.publish(
        settings(cluster, capacity).model_copy(update={"scheduler_type": scheduler}),
        [entry(account) for account in accounts],
        epoch=1,
        acknowledged=0,
        now=0,
        valid_seconds=86_400,
        sign=Signer.generate().sign,
    )


def settings(cluster: str = "alpha", capacity: int = 64) -> ClusterSettings:
    """A cluster that counts CPUs."""
    return ClusterSettings(
        cluster=cluster,
        scheduler_name=cluster,
        root_account="bursar",
        resources=(TrackedResource(name="cpu", trackable="cpu", capacity=capacity),),
    )


def allocation(uid: str, revision: int = 1, hours: int | Mapping[str, int] = 100) -> AllocationEntry:
    """An allocation that never ends, with all its hours in one window."""
    granted = {"cpu": hours} if isinstance(hours, int) else dict(hours)
    seconds = {name: UNSCALED.seconds_from_hours(name, amount) for name, amount in granted.items()}
    return AllocationEntry(
        uid=uid,
        namespace="project-p",
        name=uid,
        grant_revision=revision,
        granted=granted,
        start=0,
        end=END,
        windows=(WindowEntry(start=0, end=END, steps=(StepEntry(at=0, granted=seconds),)),),
        open_until=END,
    )


def entry(
    account: str, *allocations: AllocationEntry, members: Iterable[str] = ("alice",), closed: bool = False
) -> AccountEntry:
    """An account."""
    return AccountEntry(account=account, project=account, members=tuple(members), allocations=allocations, closed=closed)


def hello(session: str = "s1", clock: int = 1_000) -> Hello:
    """An agent's first call."""
    return Hello(session=session, agent_version="0.1.0", scheduler="simulator", scheduler_version="1", clock=clock)


def status(report_id: str = "r1", session: str = "s1", **fields: object) -> StatusReport:
    """A status report; other fields by their Python names."""
    base = {"generation": 1, "digest": "d", "scheduler_time": 500, "enforced_at": 900}
    return StatusReport.model_validate(base | fields | {"report_id": report_id, "session": session})


def slot(account: str, hour: int, version: tuple[int, int], rows: Mapping[RowKey, Amounts]) -> SlotReport:
    """One whole slot."""
    return SlotReport(
        account=account,
        hour=hour,
        epoch=version[0],
        seq=version[1],
        rows=tuple(
            UsageRow(user=key.user, resource=key.resource, allocated=amounts.allocated, refunded=amounts.refunded)
            for key, amounts in rows.items()
        ),
    )


def slots_at(version: tuple[int, int], slots: Mapping[SlotKey, Mapping[RowKey, Amounts]]) -> list[SlotReport]:
    """Every slot, at one version."""
    return [slot(key.account, key.hour, version, rows) for key, rows in slots.items()]


def usage(
    report_id: str,
    *slots: SlotReport,
    session: str = "s1",
    watermark: int | None = None,
    rebuilt: tuple[int, int, int] | None = None,
) -> UsageReport:
    """A page of slots; ``rebuilt`` is (epoch, start, end)."""
    whole = None if rebuilt is None else RebuiltRange(epoch=rebuilt[0], start=rebuilt[1], end=rebuilt[2])
    return UsageReport(report_id=report_id, session=session, slots=slots, watermark=watermark, rebuilt=whole)

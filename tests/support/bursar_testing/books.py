"""Accounts with terms as the operator publishes them, and use as an agent reports it, by whole hours."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.keys import Signer
from bursar_domain.published import signed
from bursar_domain.terms import Terms
from bursar_domain.units import HOUR, QUARTER, UNSCALED
from bursar_domain.wire import AccountEntry, AllocationEntry, ClusterSettings, CorrectionEntry, SlotReport
from bursar_ledger import Ledger
from bursar_testing.wires import hello, slot, status, usage


def at(text: str) -> int:
    """`2026-10-01` or `2026-10-01T06:15` in UTC, in epoch seconds."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def published(terms: Terms, project: str, name: str, revision: int = 1) -> AllocationEntry:
    """An allocation whose hours are those of its windows."""
    granted = {
        resource: sum(UNSCALED.hours_left(resource, window.last.granted.get(resource, 0)) for window in terms.windows)
        for resource in sorted(terms.resources)
    }
    return AllocationEntry(
        namespace=f"project-{project}",
        name=name,
        grant_revision=revision,
        granted=granted,
        start=terms.start,
        end=terms.end,
        **signed(terms),
    )


def account(
    project: str,
    *allocations: AllocationEntry,
    members: Sequence[str] = ("alice",),
    corrections: Sequence[CorrectionEntry] = (),
) -> AccountEntry:
    """The account of a project, named as the project is."""
    return AccountEntry(
        account=project, project=project, members=tuple(members), allocations=allocations, corrections=tuple(corrections)
    )


def used(
    account: str, begin: int, hours: Mapping[str, int], resource: str = "cpu", version: tuple[int, int] = (1, 1)
) -> SlotReport:
    """One hour in which each user used as many hours of the resource."""
    rows = {RowKey(user, resource): Amounts((amount * QUARTER,) * 4) for user, amount in hours.items()}
    return slot(account, begin // HOUR * HOUR, version, rows)


async def publish(ledger: Ledger, settings: ClusterSettings, entries: Sequence[AccountEntry]) -> None:
    """Publish under a key of the moment."""
    sign = Signer.generate().sign
    await ledger.publish(settings, entries, epoch=1, acknowledged=0, now=0, valid_seconds=86_400, sign=sign)


async def report(ledger: Ledger, cluster: str, slots: Sequence[SlotReport], watermark: int, **state: object) -> None:
    """An agent's session: hello, a status at the watermark, the slots."""
    now = watermark
    session = f"s-{cluster}"
    await ledger.record_hello(cluster, hello(session, now), now)
    await ledger.record_status(cluster, status(f"st-{watermark}", session, scheduler_time=watermark, **state), now)
    await ledger.put_usage(cluster, usage(f"us-{watermark}", *slots, session=session, watermark=watermark), now)

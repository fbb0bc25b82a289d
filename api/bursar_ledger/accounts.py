"""One account in one snapshot: what was published of it, what it used, how far that is known, what its agent saw."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain import projection
from bursar_domain.fold import Correction, cuts
from bursar_domain.published import account_terms, corrections_of
from bursar_domain.terms import Terms
from bursar_domain.wire import AccountEntry, AccountState
from bursar_ledger import spans
from bursar_ledger.database import Database
from bursar_ledger.tables import Entry, State, Status, Watermark

Use = Mapping[str, list[tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class AccountReading:
    """Everything a balance is worked out from.

    ``use`` is summed between the boundaries of the terms; ``scheduler_time`` is the cluster's clock as its agent told it
    last, and ``watermark`` how far use is complete on that clock; both None before the first report. ``names`` of living
    allocations by uid.
    """

    names: Mapping[str, str]
    terms: tuple[Terms, ...]
    corrections: tuple[Correction, ...]
    use: Use
    watermark: int | None
    scheduler_time: int | None
    state: AccountState | None

    @property
    def clock(self) -> int | None:
        """The cluster's time, as far as anybody told it."""
        return self.scheduler_time or self.watermark


class Accounts:
    """Reading one account."""

    _database: Database

    async def account_entry(self, cluster: str, account: str) -> AccountEntry | None:
        """The account as it was published last; None where it never was."""
        async with self._database.read() as tx:
            text = (await tx.execute(_published(cluster, account))).scalar_one_or_none()
        return None if text is None else AccountEntry.model_validate_json(text)

    async def account_reading(self, cluster: str, account: str, boundaries: Collection[int] = ()) -> AccountReading:
        """One account in one snapshot; use is cut at ``boundaries`` (quarter hours) as well."""
        async with self._database.read() as tx:
            return await reading_of(tx, cluster, account, boundaries)


async def reading_of(
    tx: AsyncConnection,
    cluster: str,
    account: str,
    boundaries: Collection[int] = (),
    corrections: tuple[Correction, ...] | None = None,
) -> AccountReading:
    """`Accounts.account_reading` inside the caller's transaction; ``corrections`` in the place of those that were published."""
    entry, watermark, scheduler_time, state = await _known(tx, cluster, account)
    terms = account_terms(entry) if entry else []
    if corrections is None:
        corrections = corrections_of(entry) if entry else ()
    borders = {*cuts(terms, corrections), *_rated_since(terms, scheduler_time or watermark), *boundaries}
    return AccountReading(
        names={item.uid: item.name for item in entry.allocations} if entry else {},
        terms=tuple(terms),
        corrections=corrections,
        use=await spans.between(tx, cluster, account, sorted(borders)),
        watermark=watermark,
        scheduler_time=scheduler_time,
        state=state,
    )


def _rated_since(terms: list[Terms], now: int | None) -> set[int]:
    """The quarters from which the rates of use are taken, so that the sums say what was used since."""
    if now is None:
        return set()
    found = {projection.since(terms, name, now) for item in terms for name in item.resources}
    return {at for at in found if at is not None}


def _published(cluster: str, account: str) -> Select[str]:
    return select(Entry.entry).where(Entry.cluster == cluster, Entry.account == account)


async def _known(
    tx: AsyncConnection, cluster: str, account: str
) -> tuple[AccountEntry | None, int | None, int | None, AccountState | None]:
    """What was published, watermark, the cluster's clock, what the agent saw of the account: one question instead of four."""
    query = select(
        _published(cluster, account).scalar_subquery(),
        select(Watermark.watermark).where(Watermark.cluster == cluster).scalar_subquery(),
        select(Status.scheduler_time).where(Status.cluster == cluster).scalar_subquery(),
        select(State.state).where(State.cluster == cluster, State.account == account).scalar_subquery(),
    )
    entry, watermark, clock, state = (await tx.execute(query)).one()
    return (
        None if entry is None else AccountEntry.model_validate_json(entry),
        watermark,
        clock,
        None if state is None else AccountState.model_validate_json(state),
    )

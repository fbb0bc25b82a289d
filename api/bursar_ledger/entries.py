"""Entries: append-only rows in a hash chain. A key is booked once, so whoever does not know the outcome books again."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any, Final

import orjson
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.entries import Entry, EntryKind, canonical, dump, load
from bursar_ledger import chain, changes
from bursar_ledger.chain import ChainReport
from bursar_ledger.database import Database, add, chunks, upsert
from bursar_ledger.errors import EntryConflict, Moved
from bursar_ledger.tables import BookEntry, ChainHead

CHAIN: Final = "entries"
PAGE: Final = 1_000
JSON_COLUMNS: Final = ("amounts", "rows")
OFTEN: Final = ("cluster", "account", "author", "reason", "uid", "namespace", "reference")  # the same in many entries


@dataclass(frozen=True, slots=True)
class Booked:
    """An entry as it stands in the chain; ``recorded_at`` is the wall clock."""

    entry: Entry
    number: int
    recorded_at: int
    request: str
    hash: str


async def book(tx: AsyncConnection, entries: Sequence[Entry], now: int, *, request: str = "") -> list[int]:
    """Append entries inside the caller's write; their numbers, those of known keys included.

    EntryConflict where a known key comes with other content: nothing is booked then.
    """
    known = await _known(tx, [entry.key for entry in entries])
    head = (await tx.execute(select(ChainHead.number, ChainHead.hash).where(ChainHead.name == CHAIN))).first()
    number, previous = (head.number, head.hash) if head else (0, chain.BEGINNING)
    rows: list[dict[str, object]] = []
    numbers: list[int] = []
    for entry in entries:
        if entry.key in known:
            numbers.append(_same(entry, *known[entry.key]))
            continue
        number += 1
        row = chain.sealed({**_columns(entry), "number": number, "request": request, "recorded_at": now}, previous)
        previous = str(row["hash"])
        rows.append(row)
        numbers.append(number)
        known[entry.key] = number, entry
    if rows:
        await add(tx, BookEntry, rows)
        await upsert(tx, ChainHead, [{"name": CHAIN, "number": number, "hash": previous}])
        for cluster in {str(row["cluster"]) for row in rows}:
            await changes.record(tx, cluster, "entry", {str(row["account"]) for row in rows if row["cluster"] == cluster})
    return numbers


def _same(entry: Entry, number: int, stored: Entry) -> int:
    if dump(stored) != dump(entry):
        raise EntryConflict(entry.key, number)
    return number


async def _known(tx: AsyncConnection, keys: Sequence[str]) -> dict[str, tuple[int, Entry]]:
    found: dict[str, tuple[int, Entry]] = {}
    for some in chunks(keys):
        rows = (await tx.execute(select(BookEntry.__table__).where(BookEntry.key.in_(some)))).mappings()
        found |= {row["key"]: (row["number"], _entry(dict(row))) for row in rows}
    return found


def _columns(entry: Entry) -> dict[str, object]:
    fields = dump(entry)
    return {**fields, **{name: canonical(fields[name]) for name in JSON_COLUMNS}}


def _entry(row: Mapping[str, Any]) -> Entry:
    fields = {name: row[name] for name in Entry.__dataclass_fields__}
    fields |= {name: intern(fields[name]) for name in OFTEN}
    return load({**fields, **{name: orjson.loads(fields[name]) for name in JSON_COLUMNS}})


def _booked(row: Mapping[str, Any]) -> Booked:
    return Booked(_entry(row), row["number"], row["recorded_at"], row["request"], row["hash"])


class Entries:
    """Booking and reading entries."""

    _database: Database

    async def append(
        self, entries: Sequence[Entry], now: int, *, request: str = "", expect: tuple[str, str, int] | None = None
    ) -> list[Booked]:
        """Book entries, all or none. ``expect`` (cluster, account, number): Moved where the account has a newer entry."""
        async with self._database.write() as tx:
            if expect is not None and not await self._all_known(tx, entries):
                newest = await _last(tx, expect[0], expect[1])
                if newest > expect[2]:
                    raise Moved(*expect, newest)
            numbers = await book(tx, entries, now, request=request)
            rows = (await tx.execute(_query().where(BookEntry.number.in_(numbers)))).mappings().all()
        return [_booked(dict(row)) for row in rows]

    @staticmethod
    async def _all_known(tx: AsyncConnection, entries: Sequence[Entry]) -> bool:
        return len(await _known(tx, [entry.key for entry in entries])) == len(entries)

    async def entries(
        self,
        cluster: str | None = None,
        account: str | None = None,
        uid: str | None = None,
        kinds: Collection[EntryKind] | None = None,
        after: int = 0,
        limit: int | None = None,
        name: str | None = None,
        reference: str | None = None,
    ) -> list[Booked]:
        """Entries in order of number, those after ``after``; ``name`` is the allocation's."""
        async with self._database.read() as tx:
            return await entries_of(tx, cluster, account, uid, kinds, after, limit, name, reference)

    async def each_entry(self) -> AsyncIterator[Booked]:
        """Every entry in order of number: there may be many, and they are read by the page."""
        async with self._database.read() as tx:
            rows = (await tx.stream(_query().execution_options(yield_per=PAGE))).mappings()
            async for page in rows.partitions():
                for row in page:
                    yield _booked(dict(row))

    async def booked(self, keys: Sequence[str]) -> list[Booked]:
        """The entries with these keys, in order of number; keys that nobody booked are left out."""
        async with self._database.read() as tx:
            rows = (await tx.execute(_query().where(BookEntry.key.in_(keys)))).mappings().all()
        return [_booked(dict(row)) for row in rows]

    async def last_entry(self, cluster: str, account: str) -> int:
        """Number of the account's newest entry; 0 before the first."""
        async with self._database.read() as tx:
            return await _last(tx, cluster, account)

    async def verify(self) -> ChainReport:
        """Recompute the whole chain, page by page in one snapshot."""
        checker = chain.Checker()
        async with self._database.read() as tx:
            after: int | None = None
            while True:
                query = _query().limit(PAGE)
                page = (await tx.execute(query if after is None else query.where(BookEntry.number > after))).mappings().all()
                for row in page:
                    checker.take(dict(row))
                if len(page) < PAGE:
                    break
                after = page[-1]["number"]
            head = (await tx.execute(select(ChainHead.number, ChainHead.hash).where(ChainHead.name == CHAIN))).first()
        return checker.report((head.number, head.hash) if head else None)


async def entries_of(
    tx: AsyncConnection,
    cluster: str | None = None,
    account: str | None = None,
    uid: str | None = None,
    kinds: Collection[EntryKind] | None = None,
    after: int = 0,
    limit: int | None = None,
    name: str | None = None,
    reference: str | None = None,
) -> list[Booked]:
    """`Entries.entries` inside the caller's transaction."""
    query = _query().where(BookEntry.number > after)
    asked = [
        (BookEntry.cluster, cluster),
        (BookEntry.account, account),
        (BookEntry.uid, uid),
        (BookEntry.name, name),
        (BookEntry.reference, reference),
    ]
    for column, value in asked:
        query = query if value is None else query.where(column == value)
    if kinds is not None:
        query = query.where(BookEntry.kind.in_([kind.value for kind in kinds]))
    rows = (await tx.execute(query if limit is None else query.limit(limit))).mappings().all()
    return [_booked(dict(row)) for row in rows]


def _query() -> Select[Any]:
    return select(BookEntry.__table__).order_by(BookEntry.number)


async def _last(tx: AsyncConnection, cluster: str, account: str) -> int:
    newest = select(func.coalesce(func.max(BookEntry.number), 0))
    return (await tx.execute(newest.where(BookEntry.cluster == cluster, BookEntry.account == account))).scalar_one()

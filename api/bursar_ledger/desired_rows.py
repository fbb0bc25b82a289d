"""Rows of the desired state: reading and writing inside the caller's transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Final

import orjson
from sqlalchemy import Result, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.wire import SignedRoot
from bursar_ledger import tables
from bursar_ledger.database import chunks, upsert
from bursar_ledger.errors import StaleEpoch
from bursar_ledger.publication import ChangedEntry, Head, StoredGrant

_PROJECTS: Final = {
    "sqlite": text("SELECT account, json_extract(entry, '$.project') AS project FROM desired_entries WHERE cluster = :cluster"),
    "postgresql": text(
        "SELECT account, CAST(entry AS json) ->> 'project' AS project FROM desired_entries WHERE cluster = :cluster"
    ),
}


async def entries_after(tx: AsyncConnection, cluster: str, generation: int) -> Sequence[str]:
    """Entries that a later generation changed, as canonical JSON."""
    row = tables.Entry
    query = select(row.entry).where(row.cluster == cluster, row.generation > generation).order_by(row.account)
    return (await tx.execute(query)).scalars().all()


async def highest_epoch(tx: AsyncConnection) -> int:
    """The highest leader's term over all clusters."""
    return (await tx.execute(select(func.coalesce(func.max(tables.Head.epoch), 0)))).scalar_one()


async def fence(tx: AsyncConnection, epoch: int) -> None:
    """Raise StaleEpoch where a newer leader has published."""
    stored = await highest_epoch(tx)
    if epoch < stored:
        raise StaleEpoch(epoch, stored)


async def head(tx: AsyncConnection, cluster: str) -> Head | None:
    """The stored root's figures."""
    row = tables.Head
    query = select(row.epoch, row.generation, row.signing, row.acknowledged, row.valid_until, row.settings)
    found = (await tx.execute(query.where(row.cluster == cluster))).first()
    return None if found is None else Head(*found)


async def digests(tx: AsyncConnection, cluster: str) -> dict[str, str]:
    """account -> digest of its entry, all of them."""
    query = select(tables.Entry.account, tables.Entry.digest).where(tables.Entry.cluster == cluster)
    return {row.account: row.digest for row in await tx.execute(query)}


async def projects(tx: AsyncConnection, cluster: str) -> dict[str, str]:
    """account -> project of its entry, all of them; the entries stay where they are."""
    rows = await tx.execute(_PROJECTS[tx.dialect.name], {"cluster": cluster})
    return {row.account: row.project for row in rows}


async def grants(tx: AsyncConnection, uids: Sequence[str] | None) -> dict[str, StoredGrant]:
    """uid -> what was published last; None: all."""
    row = tables.Grant
    query = select(row.uid, row.cluster, row.account, row.revision, row.granted, row.entry)
    if uids is None:
        return _by_uid(await tx.execute(query))
    found: dict[str, StoredGrant] = {}
    for some in chunks(uids):
        found |= _by_uid(await tx.execute(query.where(row.uid.in_(some))))
    return found


def _by_uid(rows: Result[str, str, str, int, str, str]) -> dict[str, StoredGrant]:
    return {row.uid: StoredGrant(row.cluster, row.account, row.revision, row.granted, row.entry) for row in rows}


async def store_head(tx: AsyncConnection, settings: str, signed: SignedRoot, signing: int) -> None:
    """Replace settings and root."""
    root = signed.root
    row = {
        "cluster": root.cluster,
        "epoch": root.epoch,
        "generation": root.generation,
        "signing": signing,
        "acknowledged": root.acknowledged,
        "valid_until": root.valid_until,
        "settings": settings,
        "root": signed.canonical().decode(),
    }
    await upsert(tx, tables.Head, [row])


async def store_entries(tx: AsyncConnection, cluster: str, generation: int, changes: Sequence[ChangedEntry]) -> None:
    """Replace what changed."""
    rows = [
        {"cluster": cluster, "account": c.entry.account, "generation": generation, "digest": c.digest, "entry": c.text}
        for c in changes
    ]
    await upsert(tx, tables.Entry, rows)


async def store_grants(
    tx: AsyncConnection, cluster: str, changes: Sequence[ChangedEntry], stored: Mapping[str, StoredGrant]
) -> None:
    """Replace what was published for each allocation of the changed entries, where that is something else now."""
    grants = {
        allocation.uid: StoredGrant(
            cluster,
            change.entry.account,
            allocation.grant_revision,
            orjson.dumps(allocation.granted).decode(),
            allocation.canonical().decode(),
        )
        for change in changes
        for allocation in change.entry.allocations
    }
    await upsert(tx, tables.Grant, [{"uid": uid, **asdict(new)} for uid, new in grants.items() if stored.get(uid) != new])

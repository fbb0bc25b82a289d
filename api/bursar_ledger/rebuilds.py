"""Rebuilds: slots of a new epoch are kept aside until its last page is in, and count all at once then."""

from collections.abc import AsyncIterator, Iterable
from typing import Final

import orjson
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.wire import RebuiltRange
from bursar_ledger.database import insert_into, upsert
from bursar_ledger.slots import Content
from bursar_ledger.tables import Rebuild, Staged

PAGE: Final = 2_000
KEEP_SECONDS: Final = 7 * 86_400


async def stage(tx: AsyncConnection, cluster: str, slots: Iterable[tuple[SlotKey, Content]], now: int) -> None:
    """Keep these slots aside, the greater version of each."""
    rows = [
        {
            "cluster": cluster,
            "epoch": content.version.epoch,
            "account": key.account,
            "hour": key.hour,
            "seq": content.version.seq,
            "at": now,
            "rows": orjson.dumps(content.rows).decode(),
        }
        for key, content in slots
    ]
    if rows:
        statement = insert_into(tx, Staged)
        new = statement.excluded
        greater = statement.on_conflict_do_update(
            index_elements=["cluster", "epoch", "account", "hour"],
            set_={"seq": new.seq, "at": new.at, "rows": new.rows},
            where=new.seq > Staged.seq,
        )
        await tx.execute(greater, rows)


async def staged(tx: AsyncConnection, cluster: str, epoch: int) -> AsyncIterator[dict[SlotKey, Content]]:
    """What is kept aside of an epoch, in pages."""
    here = select(Staged.account, Staged.hour, Staged.seq, Staged.rows).where(Staged.cluster == cluster, Staged.epoch == epoch)
    account, hour = "", -1
    while True:
        later = (Staged.account > account) | ((Staged.account == account) & (Staged.hour > hour))
        rows = (await tx.execute(here.where(later).order_by(Staged.account, Staged.hour).limit(PAGE))).all()
        if not rows:
            return
        account, hour = rows[-1].account, rows[-1].hour
        yield {
            SlotKey(row.account, row.hour): Content.of(
                SlotVersion(epoch, row.seq), [tuple(item) for item in orjson.loads(row.rows)]
            )
            for row in rows
        }


async def prune(tx: AsyncConnection, cluster: str, epoch: int, now: int) -> None:
    """Forget what other epochs kept aside for longer than a week: whoever began those rebuilds has given them up."""
    is_old = (Staged.epoch != epoch) & (Staged.at < now - KEEP_SECONDS)
    await tx.execute(delete(Staged).where(Staged.cluster == cluster, is_old))


async def complete(tx: AsyncConnection, cluster: str, rebuilt: RebuiltRange) -> None:
    """From now on the epoch counts, and lower ones are void in its range."""
    row = {"cluster": cluster, "epoch": rebuilt.epoch, "since": rebuilt.start, "until": rebuilt.end}
    await upsert(tx, Rebuild, [row])


async def forget(tx: AsyncConnection, cluster: str, epoch: int) -> None:
    """What was kept aside of an epoch is in its place."""
    await tx.execute(delete(Staged).where(Staged.cluster == cluster, Staged.epoch == epoch))

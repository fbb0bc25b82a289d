"""Usage: whole slots that replace by version. Amounts are unit-seconds."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from bursar_domain.buckets import SlotKey, SlotVersion
from bursar_domain.wire import RebuiltRange, Receipt, Refused, UsageReport
from bursar_ledger import changes, entries, rebuilds, reports, sessions, slot_rows, slots
from bursar_ledger.database import Database, chunks, upsert
from bursar_ledger.slots import Content, Standing
from bursar_ledger.tables import Newest, Watermark


class Usage:
    """Taking usage in."""

    _database: Database

    async def put_usage(self, cluster: str, report: UsageReport, now: int) -> Receipt:
        """Replace each slot whose version is greater than the stored one; ``dropped`` counts those that are no news.

        A slot that can't be true is refused by itself, with the reason. A change of a closed slot is an entry too, a
        `Correction`. Slots of a rebuild count once its last page is in. Where the report before this one is not known this
        ledger is an old one that lacks pages: then no rebuild is complete, nor is use up to the watermark.
        """
        async with self._database.write() as tx:
            await sessions.fence(tx, cluster, report.session, now)
            known = await reports.receipt_of(tx, cluster, "usage", report.report_id, now)
            if known is not None:
                return known
            work = _Intake(tx, cluster, now, await slot_rows.standing(tx, cluster, {slot.account for slot in report.slots}))
            is_next = report.previous is None or await reports.is_known(tx, cluster, "usage", report.previous)
            receipt = await work.take(report if is_next else report.model_copy(update={"rebuilt": None, "watermark": None}))
            receipt = receipt.model_copy(update={"forgot": not is_next})
            await reports.remember(tx, cluster, "usage", report.report_id, receipt, report.previous)
        return receipt

    async def watermark(self, cluster: str) -> int | None:
        """Second (scheduler's clock) up to which the cluster's use is complete; None before the first."""
        async with self._database.read() as tx:
            query = select(Watermark.watermark).where(Watermark.cluster == cluster)
            return (await tx.execute(query)).scalar_one_or_none()


@dataclass
class _Intake:
    """One report on its way in: what is known before it, and what it moved."""

    tx: AsyncConnection
    cluster: str
    now: int
    standing: Standing
    touched: set[str] = field(default_factory=set)
    outdated: int = 0
    refused: list[Refused] = field(default_factory=list)

    async def take(self, report: UsageReport) -> Receipt:
        books = slots.mark(self.standing)
        good, self.refused = slots.judge(report.slots, self.standing, self.now, report.largest_factor_thousandths)
        begun = slots.first_rebuild(good, self.standing)
        if begun is not None:
            await self._count(begun)
        rebuilt = slots.news_of_rebuild(report.rebuilt, self.standing)
        if rebuilt is not None:
            await self._rebuild(rebuilt)
        counting, waiting = slots.parted(good, self.standing)
        await rebuilds.stage(self.tx, self.cluster, waiting, self.now)
        accepted = await self._apply(slots.newest(counting))
        if rebuilt is not None:
            await self._void(rebuilt)
        await self._note_newest(report)
        moved = await self._move_watermark(report)
        await changes.record(self.tx, self.cluster, "usage", self.touched | ({None} if moved else set()))
        dropped = max(0, len(report.slots) - accepted - len(waiting) - len(self.refused))
        return Receipt(
            clock=self.now,
            accepted=accepted,
            dropped=dropped,
            staged=len(waiting),
            outdated=self.outdated,
            refused=tuple(self.refused),
            books=books,
        )

    async def _count(self, rebuilt: RebuiltRange) -> None:
        """From now on the epoch counts."""
        await rebuilds.complete(self.tx, self.cluster, rebuilt)
        others = [item for item in self.standing.rebuilds if item.epoch != rebuilt.epoch]
        self.standing = replace(self.standing, rebuilds=(*others, rebuilt))

    async def _rebuild(self, rebuilt: RebuiltRange) -> None:
        """The last page is in: what waited for it counts."""
        await self._count(rebuilt)
        await rebuilds.prune(self.tx, self.cluster, rebuilt.epoch, self.now)
        async for page in rebuilds.staged(self.tx, self.cluster, rebuilt.epoch):
            await self._apply(page)
        await rebuilds.forget(self.tx, self.cluster, rebuilt.epoch)

    async def _void(self, rebuilt: RebuiltRange) -> None:
        """What the rebuild did not find is empty."""
        empty = Content.of(SlotVersion(rebuilt.epoch, slots.VOID_SEQ), ())
        for some in chunks(await slot_rows.below(self.tx, self.cluster, rebuilt), rebuilds.PAGE):
            await self._apply(dict.fromkeys(some, empty))

    async def _apply(self, found: Mapping[SlotKey, Content]) -> int:
        """Replace those that are news; how many they are."""
        if not found:
            return 0
        whole = await slot_rows.rolled(self.tx, self.cluster, found, self.standing.rolled_before)
        self.refused += [Refused(account=key.account, hour=key.hour, reason="TooOld") for key in sorted(whole)]
        stored = await slot_rows.versions(self.tx, self.cluster, found)
        possible = {key: content for key, content in found.items() if key not in whole}
        news = slots.news(possible, stored, self.standing)
        if len(news) < len(possible):
            self.outdated += slots.outdated(possible, stored) + await self._contradicting(possible, stored)
        await self._correct(news, stored)
        await slot_rows.replace(self.tx, self.cluster, news, stored)
        self.touched |= {key.account for key in news}
        return len(news)

    async def _contradicting(self, found: Mapping[SlotKey, Content], stored: Mapping[SlotKey, SlotVersion]) -> int:
        """How many are known in this version with another content: two reads had the same number."""
        same = [key for key, content in found.items() if stored.get(key) == content.version]
        before = await slot_rows.rows_of(self.tx, self.cluster, same)
        return sum(bool(slots.differences(key.hour, before.get(key, ()), found[key].rows)) for key in same)

    async def _correct(self, news: Mapping[SlotKey, Content], stored: Mapping[SlotKey, SlotVersion]) -> None:
        """Book the difference of every closed slot, before it is replaced."""
        late = {key: content for key, content in news.items() if self.standing.closed(key.hour)}
        if late:
            before = await slot_rows.rows_of(self.tx, self.cluster, [key for key in late if key in stored])
            found = slots.corrections(self.cluster, late, before, self.standing.posting_quarter)
            await entries.book(self.tx, found, self.now)

    async def _note_newest(self, report: UsageReport) -> None:
        newest = slots.newer(report.slots, self.standing)
        if newest is not None:
            await upsert(self.tx, Newest, [{"cluster": self.cluster, "epoch": newest.epoch, "seq": newest.seq}])

    async def _move_watermark(self, report: UsageReport) -> bool:
        if report.watermark is None or slots.is_to_come(report.watermark, self.standing, self.now):
            return False
        epoch = max((slot.epoch for slot in report.slots), default=self.standing.epoch)
        epoch = epoch if report.rebuilt is None else report.rebuilt.epoch
        new = slots.watermark(epoch, report.watermark, self.standing.watermark) if self.standing.counts(epoch) else None
        if new is None:
            return False
        row = {
            "cluster": self.cluster,
            "epoch": new[0],
            "watermark": new[1],
            "closed_to": max(new[1], self.standing.closed_to or new[1]),
            "rolled_before": self.standing.rolled_before,
        }
        await upsert(self.tx, Watermark, [row])
        return True

"""Ledger and agent must have the same past. Where one of them was put back to an earlier day, everything is told anew.

A ledger that was restored from a backup, or made anew, lacks what was told since; an agent whose state directory was restored
numbers its slots as the ledger has seen before. The receipts of pages show it. The agent then begins a greater epoch and tells
its books again from its file, some thousand slots at a time, while cycles and ordinary pages go on. The ledger keeps it aside
until the last page is in. How far that is lies in the file, so that a restart goes on from there.
"""

from collections.abc import Sequence
from typing import Final

from bursar_agent.usagebook import NEVER, UsageBook
from bursar_agent.usagefile import Place
from bursar_domain.buckets import SlotKey
from bursar_domain.wire import BooksMark, Receipt, Refused, SlotReport, UsageReport

MOST_SLOTS: Final = 20_000


def is_put_back(book: UsageBook, mark: BooksMark) -> bool:
    """Whether the ledger was told what this book never told. To be asked before the first page with slots since the start."""
    told = NEVER if book.told is None else book.told
    return not book.is_agreed and (mark.newest_epoch, mark.newest_seq) > (book.epoch, told)


def mismatch(book: UsageBook, receipt: Receipt) -> str:
    """What shows that ledger and agent have not the same past, or "". To be asked before the page is marked as sent."""
    mark = receipt.books
    if mark is not None and mark.epoch > book.epoch:
        return "the ledger has newer books than this agent: its state is an old one"
    if mark is not None and is_put_back(book, mark):
        return "the ledger has newer slots than this agent: its state is an old one"
    if receipt.forgot:
        return "the ledger lacks what it was told: it is an old one"
    if book.rebuild_from is not None:
        return ""  # it is being told anew
    if receipt.staged or (mark is not None and mark.epoch < book.epoch and book.sent_watermark is not None):
        return "the ledger does not know these books: it is an old one"
    return "the ledger has newer slots than this agent: its state is an old one" if receipt.outdated else ""


def hear(
    book: UsageBook, report: UsageReport, slots: Sequence[SlotReport], receipt: Receipt, epoch: int
) -> tuple[list[Refused], str]:
    """Act on the receipt of a page: refusals that are news, and why everything is told anew from here on, or "".

    ``epoch``: that of a recount, where nothing asks for a greater one.
    """
    why = mismatch(book, receipt)
    rebuilt = None if receipt.forgot else report.rebuilt
    news = book.sent(slots, report.watermark, rebuilt=rebuilt, refused=receipt.refused, report=report.report_id)
    if why:
        known = receipt.books or BooksMark()
        book.begin_recount(max(epoch, known.epoch + 1, known.newest_epoch + 1))
    if why or receipt.books is not None:
        book.agree()
    return news, why


class Recount:
    """Tells a book again, piece by piece: the next one when the one before was judged by the gateway."""

    def __init__(self, book: UsageBook, most_slots: int = MOST_SLOTS) -> None:
        self._book, self._most = book, most_slots
        self._epoch = book.epoch
        self._told: tuple[list[SlotKey], Place | None] | None = None

    async def step(self) -> bool:
        """Go on if it is time; whether there is something to be sent now."""
        book = self._book
        if book.epoch != self._epoch:
            self._epoch, self._told = book.epoch, None
        if book.recount_to is None:
            return False
        if self._told is not None:
            keys, end = self._told
            if any(book.is_sendable(key) for key in keys):
                return False
            book.recounted(end)
            self._told = None
            if end is None:
                return True  # the last page says so
        piece = await book.next_recount(self._most)
        if book.epoch == self._epoch:
            self._told = book.offer(piece.slots), piece.end
        return True

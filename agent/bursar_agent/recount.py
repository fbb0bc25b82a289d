"""Ledger and agent must have the same past. Where one of them was put back to an earlier day, everything is told anew.

A ledger that was restored from a backup, or made anew, lacks what was told since; an agent whose state directory was restored
numbers its slots as the ledger has seen before. The receipts of pages show it. The agent then begins a greater epoch and tells
its books again from its file, some thousand slots at a time, while cycles and ordinary pages go on. The ledger keeps it aside
until the last page is in. How far that is lies in the file, so that a restart goes on from there.
"""

from typing import Final

from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import SlotKey
from bursar_domain.units import DAY, HOUR
from bursar_domain.wire import BooksMark, Receipt

MOST_SLOTS: Final = 20_000
MOST_AHEAD_SECONDS: Final = 2 * HOUR  # of the ledger's clock; further ahead it may not have taken what it was told
MARGIN_SECONDS: Final = 62 * DAY  # older slots are not expected to have changed in the time that a ledger lost


def mismatch(book: UsageBook, receipt: Receipt) -> str:
    """What shows that ledger and agent have not the same past, or "". To be asked before the page is marked as sent."""
    mark = receipt.books
    if mark is not None and mark.epoch > book.epoch:
        return "the ledger has newer books than this agent: its state is an old one"
    if receipt.forgot:
        return "the ledger lacks pages of what it is told anew: it is an old one"
    if book.rebuild_from is not None:
        return ""  # it is being told anew
    if receipt.staged or (mark is not None and mark.epoch < book.epoch and book.sent_watermark is not None):
        return "the ledger does not know these books: it is an old one"
    if receipt.outdated:
        return "the ledger has newer slots than this agent: its state is an old one"
    sent = book.sent_watermark
    if mark is not None and sent is not None and (mark.watermark or 0) < sent <= receipt.clock + MOST_AHEAD_SECONDS:
        return "the ledger lacks what it was told: it is an old one"
    return ""


def begin(book: UsageBook, mark: BooksMark | None, epoch: int) -> None:
    """Begin to tell everything anew that the ledger may lack; ``epoch``: where nothing else asks for a greater one."""
    known = BooksMark() if mark is None else mark
    is_only_behind = known.epoch == book.epoch and known.watermark is not None
    since = (known.watermark or 0) - MARGIN_SECONDS if is_only_behind else 0
    book.begin_recount(max(epoch, known.epoch + 1), max(0, since))


class Recount:
    """Tells a book again, piece by piece: the next one when the one before was judged by the gateway."""

    def __init__(self, book: UsageBook, most_slots: int = MOST_SLOTS) -> None:
        self._book, self._most = book, most_slots
        self._epoch = book.epoch
        self._since: int | None = None
        self._keys: list[SlotKey] = []

    async def step(self) -> bool:
        """Go on if it is time; whether there is something to be sent now."""
        book = self._book
        if book.epoch != self._epoch:
            self._epoch, self._since, self._keys = book.epoch, None, []
        if book.recount_to is None or any(book.is_sendable(key) for key in self._keys):
            return False
        if self._since is not None:
            book.recounted(self._since)
            self._since, self._keys = None, []
            if book.recount_to is None:
                return True  # the last page says so
        since, until = book.next_recount(self._most)
        found = await book.find(since, until)
        if book.epoch == self._epoch:
            book.offer(found)
            self._since, self._keys = since, [key for key in book.unsent if since <= key.hour < until]
        return True

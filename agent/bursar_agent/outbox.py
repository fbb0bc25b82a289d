"""What the gateway is to be told: the newest state of each account, revisions read back, and the books' unsent slots."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import WHOLE, SlotKey
from bursar_domain.wire import MOST_FACTOR, AccountState, Brake, Miss, SlotReport, StatusReport, UsageReport

ACCOUNTS_PER_PAGE = 1000
SLOT_BYTES = 120
ROW_BYTES = 220
PAGE_BYTES = 900_000


@dataclass(frozen=True, slots=True)
class Revision:
    """A grant revision that was read back from the scheduler, and when (wall clock)."""

    number: int
    at: float


@dataclass(frozen=True, slots=True)
class Cycle:
    """Figures of the last cycle."""

    generation: int
    digest: str
    scheduler_time: int
    enforced_at: int
    brake: Brake | None = None
    misses: tuple[Miss, ...] = ()


@dataclass(slots=True)
class Outbox:
    """Collects until it is sent; what is newer replaces what is older."""

    session: str
    cycle: Cycle | None = None
    states: dict[str, AccountState] = field(default_factory=dict)
    revisions: dict[str, Revision] = field(default_factory=dict)
    _told: Cycle | None = None
    _new_states: set[str] = field(default_factory=set)
    _new_revisions: set[str] = field(default_factory=set)
    _full: bool = True

    def put(self, cycle: Cycle, states: Mapping[str, AccountState], revisions: Mapping[str, int], at: float) -> None:
        """Take a cycle's results in."""
        self.cycle = cycle
        self._new_states |= {name for name, state in states.items() if self.states.get(name) != state}
        self.states = dict(states)
        for uid, number in revisions.items():
            known = self.revisions.get(uid)
            if known is None or known.number < number:
                self.revisions[uid] = Revision(number, at)
                self._new_revisions.add(uid)

    def tell_all(self) -> None:
        """A new session knows nothing."""
        self._full, self._told = True, None
        self._new_states, self._new_revisions = set(self.states), set(self.revisions)

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for what is in here, rather than a clock that moved on."""
        told, cycle = self._told, self.cycle
        if cycle is None:
            return False
        moved = told is None or (told.generation, told.brake, told.misses) != (cycle.generation, cycle.brake, cycle.misses)
        return moved or bool(self._new_states or self._new_revisions)

    def pages(self) -> list[StatusReport]:
        """Reports that tell everything that is new, each below the size limit. Call `told` once all were taken."""
        cycle = self.cycle
        if cycle is None:
            return []
        names = [name for name in sorted(self._new_states) if name in self.states]
        uids = sorted(self._new_revisions)
        cuts = max(1, -(-len(names) // ACCOUNTS_PER_PAGE), -(-len(uids) // ACCOUNTS_PER_PAGE))
        pages = range(cuts)
        return [self._page(cycle, names[page::cuts], uids[page::cuts], full=self._full and cuts == 1) for page in pages]

    def _page(self, cycle: Cycle, names: Sequence[str], uids: Sequence[str], *, full: bool) -> StatusReport:
        return StatusReport(
            report_id=uuid.uuid4().hex,
            session=self.session,
            generation=cycle.generation,
            digest=cycle.digest,
            scheduler_time=cycle.scheduler_time,
            enforced_at=cycle.enforced_at,
            full=full,
            accounts=tuple(self.states[name] for name in names),
            acknowledgements={uid: self.revisions[uid].number for uid in uids},
            revision_times={uid: self.revisions[uid].at for uid in uids},
            brake=cycle.brake,
            misses=cycle.misses,
        )

    def told(self, pages: Sequence[StatusReport], cycle: Cycle | None) -> None:
        """The gateway has these pages; what changed meanwhile stays."""
        for page in pages:
            self._new_states -= {state.account for state in page.accounts if self.states.get(state.account) == state}
            same = {uid for uid, number in page.acknowledgements.items() if self.revisions[uid].number == number}
            self._new_revisions -= same
        self._full, self._told = False, cycle


def first_page(book: UsageBook, session: str) -> UsageReport:
    """Nothing: a question how far the ledger is, before it is told anything since the start."""
    return UsageReport(report_id=uuid.uuid4().hex, session=session, slots=(), previous=book.last_report)


def usage_pages(
    book: UsageBook, session: str, largest_factor_thousandths: int = WHOLE
) -> Iterator[tuple[UsageReport, Sequence[SlotReport]]]:
    """Slots to send, oldest version first, in pages; the watermark, and the end of a rebuild, go with the last one.

    `largest_factor_thousandths` is told with each, so that use that costs more than the machine has is known to be true.
    """
    keys, rebuilt = book.sendable, book.rebuilt
    # While older use of a rebuild is still to come, nothing is complete.
    complete = book.watermark if rebuilt is not None or book.rebuild_from is None else None
    if not keys and complete in (None, book.sent_watermark) and rebuilt is None:
        return
    pages = list(_cut(book, keys)) or [[]]
    for number, page in enumerate(pages, 1):
        is_last = number == len(pages)
        slots = tuple(book.report(key) for key in page if key in book.unsent)
        yield (
            UsageReport(
                report_id=uuid.uuid4().hex,
                session=session,
                slots=slots,
                watermark=complete if is_last else None,
                rebuilt=rebuilt if is_last else None,
                previous=book.last_report,
                largest_factor_thousandths=min(largest_factor_thousandths, MOST_FACTOR),
            ),
            slots,
        )


def _cut(book: UsageBook, keys: Sequence[SlotKey]) -> Iterator[list[SlotKey]]:
    page: list[SlotKey] = []
    size = 0
    for key in keys:
        cost = SLOT_BYTES + sum(ROW_BYTES + len(row.user) + len(row.resource) for row in book.unsent[key].rows)
        if page and size + cost > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(key)
        size += cost
    if page:
        yield page

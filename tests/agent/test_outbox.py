"""What is told to the gateway: only what is new, in pages, and the watermark never before its slots."""

from pathlib import Path

from bursar_agent.outbox import Cycle, Outbox, usage_pages
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import Amounts, RowKey, SlotKey
from bursar_domain.wire import AccountState, RebuiltRange

MIB = 1024 * 1024


def cycle(time: int = 1) -> Cycle:
    return Cycle(generation=1, digest="d", scheduler_time=time, enforced_at=1)


def states(*names: str, error: str = "") -> dict[str, AccountState]:
    return {name: AccountState(account=name, state="Enforced", error=error) for name in names}


def test_only_what_is_new_is_told_and_what_changed_meanwhile_is_told_later() -> None:
    outbox = Outbox("s")
    assert outbox.pages() == []
    outbox.put(cycle(), states("a", "b"), {"x": 1}, 5.0)
    pages = outbox.pages()
    assert [page.full for page in pages] == [True]
    outbox.put(cycle(), states("a") | states("b", error="oh"), {"x": 2}, 6.0)
    outbox.told(pages, cycle())
    (page,) = outbox.pages()
    assert (page.full, [state.account for state in page.accounts], page.acknowledgements) == (False, ["b"], {"x": 2})
    assert page.revision_times == {"x": 6.0}
    outbox.told([page], cycle())
    assert not outbox.is_urgent
    outbox.put(cycle(9), states("a") | states("b", error="oh"), {"x": 2}, 7.0)
    assert not outbox.is_urgent
    outbox.tell_all()
    assert outbox.is_urgent
    assert outbox.pages()[0].acknowledgements == {"x": 2}
    assert outbox.pages()[0].revision_times == {"x": 6.0}


def test_ten_thousand_accounts_go_in_pages_below_the_limit() -> None:
    outbox = Outbox("s")
    names = [f"account-{number}" for number in range(10_000)]
    outbox.put(cycle(), states(*names), {f"uid-{name}": 3 for name in names}, 5.0)
    pages = outbox.pages()
    assert all(len(page.canonical()) < MIB for page in pages)
    assert {state.account for page in pages for state in page.accounts} == set(names)
    assert sum(len(page.acknowledgements) for page in pages) == 10_000
    assert not any(page.full for page in pages)


def test_use_goes_in_pages_and_the_watermark_with_the_last(tmp_path: Path) -> None:
    book = UsageBook(tmp_path, epoch=1)
    most = (2**43, 2**43, 2**43, 2**43)
    rows = {RowKey(f"a-rather-long-user-name-{n:06}", "billing"): Amounts(most, most) for n in range(50)}
    slots = {SlotKey(f"account-{n}", hour * 3600): rows for n in range(10) for hour in range(20)}
    book.record(slots, 0, 99 * 3600)
    sending = usage_pages(book, "s")
    seen = set()
    watermarks = []
    for report, page in sending:
        assert len(report.canonical()) < MIB
        seen |= {SlotKey(slot.account, slot.hour) for slot in report.slots}
        watermarks.append(report.watermark)
        book.sent(page, report.watermark, rebuilt=report.rebuilt)
        book.record({SlotKey("later", 50 * 3600): rows}, 50 * 3600, 120 * 3600)  # a read comes in between
    assert seen == set(slots)
    assert watermarks == [None] * (len(watermarks) - 1) + [99 * 3600]
    assert set(book.unsent) == {SlotKey("later", 50 * 3600)}
    ((report, page),) = list(usage_pages(book, "s"))
    assert report.watermark == 120 * 3600
    book.sent(page, report.watermark, rebuilt=report.rebuilt)
    assert list(usage_pages(book, "s")) == []


def test_after_a_loss_of_state_the_last_page_says_what_was_rebuilt(tmp_path: Path) -> None:
    rows = {RowKey("ann", "cpu"): Amounts((900, 0, 0, 0))}
    book = UsageBook(tmp_path, epoch=7)
    book.record({SlotKey("aa", 5 * 3600): rows}, 4 * 3600, None)
    ((report, page),) = usage_pages(book, "s")
    assert report.rebuilt is None  # nobody knows yet whether that is all
    book.sent(page, report.watermark, rebuilt=report.rebuilt)
    book.record({SlotKey("aa", 5 * 3600): rows}, 4 * 3600, 6 * 3600 + 10)
    again = UsageBook(tmp_path, epoch=99)  # a restart before it was told changes nothing
    ((report, page),) = usage_pages(again, "s")
    assert (report.rebuilt, report.slots) == (RebuiltRange(epoch=7, start=4 * 3600, end=30 * 3600), ())
    again.sent(page, report.watermark, rebuilt=report.rebuilt)
    for told in (again, UsageBook(tmp_path, epoch=99)):
        assert list(usage_pages(told, "s")) == []
        assert (told.epoch, told.rebuild_from) == (7, None)


def test_hours_that_are_read_later_and_lie_earlier_are_rebuilt_too(tmp_path: Path) -> None:
    """A grant that begins before the first read: an older epoch may have something in those hours."""
    book = UsageBook(tmp_path, epoch=7)
    book.record({}, 9 * 3600, 10 * 3600)
    (first,) = usage_pages(book, "s")
    book.record({SlotKey("aa", 2 * 3600): {RowKey("ann", "cpu"): Amounts((1, 0, 0, 0))}}, 2 * 3600, 11 * 3600)
    book.sent(first[1], first[0].watermark, rebuilt=first[0].rebuilt)  # that page was on its way meanwhile
    ((report, _),) = usage_pages(book, "s")
    assert report.rebuilt == RebuiltRange(epoch=7, start=2 * 3600, end=35 * 3600)


def test_a_cluster_without_an_account_of_ours_voids_nothing(tmp_path: Path) -> None:
    book = UsageBook(tmp_path, epoch=7)
    book.begin(10 * 3600 + 5)
    ((report, _),) = usage_pages(book, "s")
    assert (report.slots, report.watermark) == ((), 10 * 3600 + 5)
    assert report.rebuilt == RebuiltRange(epoch=7, start=11 * 3600, end=35 * 3600)

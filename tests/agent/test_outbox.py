"""What is told to the gateway: only what is new, in pages, and the watermark never before its slots."""

from pathlib import Path

from bursar_agent.outbox import Cycle, Outbox, usage_pages
from bursar_agent.usagebook import UsageBook
from bursar_domain.buckets import Amounts, RowKey, SlotKey
from bursar_domain.wire import AccountState

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
        book.sent(page, report.watermark)
        book.record({SlotKey("later", 50 * 3600): rows}, 50 * 3600, 120 * 3600)  # a read comes in between
    assert seen == set(slots)
    assert watermarks == [None] * (len(watermarks) - 1) + [99 * 3600]
    assert set(book.unsent) == {SlotKey("later", 50 * 3600)}
    ((report, page),) = list(usage_pages(book, "s"))
    assert report.watermark == 120 * 3600
    book.sent(page, report.watermark)
    assert list(usage_pages(book, "s")) == []

"""Change feed: a reader that was away finds everything that moved since, once, and the feed stays small."""

import pytest

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.enrolment import EnrolRequest
from bursar_domain.keys import Signer
from bursar_domain.wire import AccountState
from bursar_ledger import Change, Ledger
from bursar_testing.wires import allocation, entry, hello, publish_accounts, settings, slot, status, usage

USE = {RowKey("alice", "cpu"): Amounts((1, 0, 0, 0))}


@pytest.fixture
async def own(own: Ledger) -> Ledger:
    """One that takes usage of account `a`; publishing moves nothing in the feed."""
    await publish_accounts(own, "c", "a")
    return own


async def test_each_kind_says_what_moved(own: Ledger, signer: Signer) -> None:
    published = [entry("b", allocation("u"))]
    await own.publish(settings("c"), published, epoch=1, acknowledged=0, now=0, valid_seconds=9, sign=signer.sign)
    assert await own.change_number() == 0
    await own.request_enrolment(EnrolRequest(cluster="c", public_key="k", mac="m"), 1)
    await own.record_hello("c", hello(), 2)
    await own.record_status("c", status(accounts=[AccountState(account="a", state="Pending")], acknowledgements={"u": 1}), 3)
    await own.put_usage("c", usage("1", slot("a", 0, (0, 1), USE), watermark=4), 4)
    assert await own.changes(0) == [
        Change(1, "c", None, "enrolment"),
        Change(2, "c", None, "hello"),
        Change(3, "c", None, "status"),
        Change(3, "c", "a", "status"),
        Change(3, "c", "b", "status"),
        Change(4, "c", None, "usage"),
        Change(4, "c", "a", "usage"),
    ]
    assert [change.number for change in await own.changes(3)] == [4, 4]
    assert await own.change_number() == 4


async def test_what_was_dropped_is_no_change(own: Ledger) -> None:
    await own.put_usage("c", usage("1", slot("a", 0, (0, 2), USE), watermark=4), 1)
    await own.put_usage("c", usage("2", slot("a", 0, (0, 1), USE), watermark=3), 1)
    assert await own.change_number() == 1


async def test_the_feed_holds_one_row_for_each_thing_that_moves(own: Ledger) -> None:
    for seq in range(1, 30):
        await own.put_usage("c", usage(f"{seq}", slot("a", 0, (0, seq), USE)), 1)
    assert await own.changes(0) == [Change(29, "c", "a", "usage")]
    assert await own.changes(28) == await own.changes(0)
    assert await own.changes(29) == []


async def test_a_look_at_a_still_file_costs_nothing_and_misses_nothing(own: Ledger, url: str) -> None:
    """Where it cannot be told, a server's ledger, it may have changed each time."""
    other = await Ledger.connect(url)
    try:
        own.may_have_changed()
        assert own.may_have_changed() is not url.startswith("sqlite")
        for writer, number in ((other, 2), (own, 3)):
            await writer.record_hello("c", hello(), number)
            assert own.may_have_changed()
        assert other.may_have_changed()
    finally:
        await other.close()


async def test_a_closed_ledger_is_looked_at(own: Ledger) -> None:
    await own.close()
    assert own.may_have_changed()

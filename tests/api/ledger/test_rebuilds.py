"""Rebuilds: a new epoch counts once it is wholly in, and voids the lower ones in its range; epochs are never summed."""

from collections.abc import Mapping, Sequence
from random import Random
from uuid import uuid4

from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR
from bursar_domain.wire import BooksMark, SlotReport, UsageReport
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, usage

NOW = 2_000_000_000
CPU = RowKey("alice", "cpu")
Key = tuple[str, int]


def one(hour: int, version: tuple[int, int], amount: int) -> SlotReport:
    """A slot of account `a` with one number in it; empty for 0."""
    return slot("a", hour * HOUR, version, {CPU: Amounts((amount, 0, 0, 0))} if amount else {})


async def hours(ledger: Ledger, cluster: str) -> dict[int, int]:
    """Hour -> what account `a` used in it."""
    return {at // HOUR: amount for at, amount in (await ledger.quarters(cluster, "a")).get("cpu", ())}


async def test_a_rebuild_counts_when_its_last_page_is_in(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", one(0, (1, 7), 9), one(1, (1, 7), 9), one(2, (1, 7), 9), watermark=500), NOW)
    first = await ledger.put_usage(site, usage("2", one(0, (2, 1), 5), watermark=900), NOW)
    assert (first.accepted, first.staged, first.dropped) == (0, 1, 0)
    assert (await hours(ledger, site), await ledger.watermark(site)) == ({0: 9, 1: 9, 2: 9}, 500)
    await ledger.put_usage(site, usage("3", one(3, (2, 2), 4), watermark=300, rebuilt=(2, 0, 2 * HOUR)), NOW)
    assert (await hours(ledger, site), await ledger.watermark(site)) == ({0: 5, 2: 9, 3: 4}, 300)


async def test_what_is_void_stays_void(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", one(0, (1, 7), 9)), NOW)
    await ledger.put_usage(site, usage("2", rebuilt=(2, 0, 2 * HOUR)), NOW)
    late = await ledger.put_usage(site, usage("3", one(0, (1, 8), 9), one(1, (1, 8), 9), one(2, (1, 8), 9)), NOW)
    assert (late.accepted, late.dropped) == (1, 2)
    assert await hours(ledger, site) == {2: 9}
    await ledger.put_usage(site, usage("4", one(0, (2, 0), 3)), NOW)
    assert await hours(ledger, site) == {0: 3, 2: 9}


async def test_a_range_is_widened_to_whole_hours(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", *(one(hour, (1, 1), 9) for hour in range(4))), NOW)
    await ledger.put_usage(site, usage("2", rebuilt=(2, HOUR + 1, 2 * HOUR + 1)), NOW)
    assert await hours(ledger, site) == {0: 9, 3: 9}


async def test_the_first_epoch_ever_seen_counts_at_once(ledger: Ledger, site: str) -> None:
    """A cluster of which nothing is stored has nothing that could be counted twice."""
    receipt = await ledger.put_usage(site, usage("1", one(0, (1_700_000_000, 1), 9)), NOW)
    assert (receipt.accepted, receipt.staged) == (1, 0)


async def test_a_rebuild_that_was_given_up_is_forgotten_after_a_week(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", one(0, (1, 1), 9)), NOW)
    await ledger.put_usage(site, usage("2", one(0, (2, 1), 5)), NOW)
    await ledger.put_usage(site, usage("3", one(9, (3, 1), 5)), NOW + 7 * 86_400 + 1)
    await ledger.put_usage(site, usage("4", rebuilt=(3, 0, 0)), NOW + 7 * 86_400 + 1)
    await ledger.put_usage(site, usage("5", rebuilt=(2, 0, 0)), NOW + 7 * 86_400 + 1)
    assert await hours(ledger, site) == {0: 9, 9: 5}


async def test_a_rebuild_may_take_longer_than_a_week(ledger: Ledger, site: str) -> None:
    """Its agent was away in between; what it told before is not told again."""
    await ledger.put_usage(site, usage("1", one(0, (1, 1), 9), one(1, (1, 1), 9)), NOW)
    await ledger.put_usage(site, usage("2", one(0, (2, 1), 5)), NOW)
    await ledger.put_usage(site, usage("3", one(1, (2, 1), 6), rebuilt=(2, 0, 2 * HOUR)), NOW + 9 * 86_400)
    assert await hours(ledger, site) == {0: 5, 1: 6}


async def test_a_rebuild_of_more_slots_than_a_page(ledger: Ledger, site: str) -> None:
    many = 5_000
    await ledger.put_usage(site, usage("0", *(one(hour, (1, 1), 2) for hour in range(many))), NOW)
    for page in range(5):
        await ledger.put_usage(site, usage(f"{page + 1}", *(one(page + hour * 5, (2, 1), 1) for hour in range(500))), NOW)
    await ledger.put_usage(site, usage("last", rebuilt=(2, 0, (many - 1) * HOUR)), NOW)
    assert await ledger.totals(site) == {"a": {"cpu": 2_500 + 2}}


SLOTS = st.tuples(st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 9))
READS = st.lists(st.lists(SLOTS, min_size=1, max_size=6), min_size=1, max_size=3)
LIVES = st.lists(st.tuples(READS, st.integers(0, 4), st.integers(0, 6)), min_size=1, max_size=3)


def reports(lives: Sequence[tuple[list[list[tuple[str, int, int]]], int, int]], random: Random) -> list[UsageReport]:
    """Each life of an agent is an epoch: reads in growing order, chunked; but for the first, it rebuilt a range."""
    pages: list[UsageReport] = []
    for epoch, (reads, start, length) in enumerate(lives):
        sent = [
            slot(account, hour * HOUR, (epoch, seq), {CPU: Amounts((amount, 0, 0, 0))} if amount else {})
            for seq, read in enumerate(reads)
            for account, hour, amount in {(account, hour): (account, hour, amount) for account, hour, amount in read}.values()
        ]
        random.shuffle(sent)
        size = random.randint(1, 4)
        chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
        mark = (epoch, start * HOUR, (start + length) * HOUR) if epoch else None
        last = len(chunks) - 1
        pages += [usage(f"{epoch}-{n}", *chunk, rebuilt=mark if n == last else None) for n, chunk in enumerate(chunks)]
    return pages


def expected(pages: Sequence[UsageReport]) -> dict[Key, int]:
    """By brute force: of every slot that was ever sent, the greatest version that no later rebuild has voided."""
    ranges = [page.rebuilt for page in pages if page.rebuilt is not None]
    best: dict[Key, tuple[tuple[int, int], int]] = {}
    for found in (item for page in pages for item in page.slots):
        if any(other.epoch > found.epoch and other.start <= found.hour < other.end for other in ranges):
            continue
        amount = found.rows[0].allocated[0] if found.rows else 0
        version = (found.epoch, found.seq)
        key = (found.account, found.hour)
        best[key] = max(best.get(key, (version, amount)), (version, amount))
    return {key: amount for key, (_, amount) in best.items() if amount}


async def stored(ledger: Ledger, cluster: str) -> dict[Key, int]:
    """(account, hour) -> what is in the books, from the buckets and from their sums over users alike."""
    found = {
        (account, at): amount for account in "ab" for at, amount in (await ledger.quarters(cluster, account)).get("cpu", ())
    }
    rows: Sequence[Mapping[str, str | int]] = await ledger.usage(cluster, by="hour")
    assert sorted(found.values()) == sorted(int(row["allocated"]) for row in rows)
    return found


@given(lives=LIVES, seed=st.integers(0, 2**32))
@profile(max_examples=60, deadline=None)
async def test_any_order_duplication_and_chunking_gives_the_same_books(
    ledger: Ledger, lives: list[tuple[list[list[tuple[str, int, int]]], int, int]], seed: int
) -> None:
    cluster, random = f"c{uuid4().hex[:12]}", Random(seed)
    await publish_accounts(ledger, cluster, "a", "b")
    pages = reports(lives, random)
    sent = pages + [
        page.model_copy(update={"report_id": f"{page.report_id}-again"}) for page in random.sample(pages, len(pages) // 2)
    ]
    random.shuffle(sent)
    for page in sent:
        await ledger.put_usage(cluster, page, NOW)
    assert await stored(ledger, cluster) == expected(pages)


async def test_a_receipt_says_how_far_the_books_were_and_what_is_older_than_they_are(ledger: Ledger, site: str) -> None:
    """So that an agent notices when one of the two was put back to an earlier day."""
    first = await ledger.put_usage(site, usage("1", one(0, (1, 5), 9), watermark=500), NOW)
    assert (first.books, first.outdated) == (BooksMark(), 0)
    same = await ledger.put_usage(site, usage("2", one(0, (1, 5), 9)), NOW)
    assert (same.books, same.dropped, same.outdated) == (BooksMark(epoch=1, watermark=500, newest_epoch=1, newest_seq=5), 1, 0)
    older = await ledger.put_usage(site, usage("3", one(0, (1, 4), 3)), NOW)
    assert (older.dropped, older.outdated) == (1, 1)
    again = await ledger.put_usage(site, usage("3", one(0, (1, 4), 3)), NOW)
    assert (again.dropped, again.books) == (1, None)


async def test_a_receipt_says_the_greatest_version_ever_told(ledger: Ledger, site: str) -> None:
    """Of slots that count, that wait and that were refused."""

    async def newest() -> tuple[int, int]:
        mark = (await ledger.put_usage(site, usage(uuid4().hex), NOW)).books
        assert mark is not None
        return mark.newest_epoch, mark.newest_seq

    assert await newest() == (0, 0)
    await ledger.put_usage(site, usage("1", one(0, (1, 5), 9), one(1, (1, 7), 9)), NOW)
    assert await newest() == (1, 7)
    await ledger.put_usage(site, usage("2", one(0, (1, 6), 9)), NOW)
    assert await newest() == (1, 7)
    await ledger.put_usage(site, usage("3", one(0, (2, 3), 9)), NOW)
    assert await newest() == (2, 3)
    await ledger.put_usage(site, usage("4", slot("nobody", HOUR, (2, 4), {})), NOW)
    assert await newest() == (2, 4)


async def test_another_content_of_a_version_that_is_known_shows_an_agent_that_was_put_back(ledger: Ledger, site: str) -> None:
    """It lost no more than its last read, so its next one has the same number."""
    await ledger.put_usage(site, usage("1", one(0, (1, 5), 9), one(1, (1, 5), 4)), NOW)
    other = await ledger.put_usage(site, usage("2", one(0, (1, 5), 12), one(1, (1, 5), 4)), NOW)
    assert (other.accepted, other.dropped, other.outdated) == (0, 2, 1)
    emptied = await ledger.put_usage(site, usage("3", one(1, (1, 5), 0)), NOW)
    assert emptied.outdated == 1
    assert await hours(ledger, site) == {0: 9, 1: 4}


async def test_the_report_before_is_known_however_long_ago_it_was(ledger: Ledger, site: str) -> None:
    """Though states were told meanwhile, and though the answer to the one after it got lost."""
    days = [NOW + day * 3 * 86_400 for day in range(4)]
    await ledger.put_usage(site, usage("1", one(0, (1, 5), 9)), days[0])
    for name, previous, now in (("2", "1", days[1]), ("3", "1", days[2]), ("4", "3", days[3])):
        page = usage(name).model_copy(update={"previous": previous})
        assert not (await ledger.put_usage(site, page, now)).forgot
    lost = usage("5").model_copy(update={"previous": "1"})
    assert (await ledger.put_usage(site, lost, days[3])).forgot

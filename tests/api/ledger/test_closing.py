"""Closed slots: what changes afterwards is in the totals at once, and in the books as a Correction."""

from collections import Counter
from collections.abc import Sequence
from random import Random
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st

from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.entries import CorrectionRow, EntryKind
from bursar_domain.units import HOUR, QUARTER
from bursar_ledger import Ledger
from bursar_testing.wires import publish_accounts, slot, usage

NOW = 2_000_000_000
CPU, BOB = RowKey("alice", "cpu"), RowKey("bob", "cpu")
CLOSED = 49 * HOUR  # a watermark that closes hour 0 and no other
LATER = CLOSED + 3 * QUARTER + 17
HOURS = {f"1970-01-01T0{hour}:00:00Z": hour * HOUR for hour in range(4)}


async def corrections(ledger: Ledger, cluster: str) -> list[tuple[int, tuple[CorrectionRow, ...]]]:
    """(quarter from which it acts, rows) of each."""
    found = [booked.entry for booked in await ledger.entries(cluster=cluster)]
    assert all(entry.kind == EntryKind.CORRECTION and entry.author == "agent" for entry in found)
    return [(entry.at, entry.rows) for entry in found]


@pytest.mark.parametrize(("mark", "entries"), [(CLOSED - 1, 0), (CLOSED, 1)])
async def test_a_slot_closes_when_the_watermark_is_48_hours_past_its_end(
    ledger: Ledger, site: str, mark: int, entries: int
) -> None:
    await ledger.put_usage(site, usage("1", slot("a", 0, (0, 1), {CPU: Amounts((5, 0, 0, 0))}), watermark=mark), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (0, 2), {CPU: Amounts((7, 0, 0, 0))})), NOW)
    assert await ledger.totals(site) == {"a": {"cpu": 7}}
    assert len(await corrections(ledger, site)) == entries


async def test_the_watermark_before_the_report_decides(ledger: Ledger, site: str) -> None:
    """So the report that brings the last slots and closes them corrects nothing."""
    await ledger.put_usage(site, usage("1", slot("a", 0, (0, 1), {CPU: Amounts((5, 0, 0, 0))}), watermark=CLOSED), NOW)
    assert await corrections(ledger, site) == []


async def test_a_correction_holds_the_differences_row_by_row(ledger: Ledger, site: str) -> None:
    """Alice used more, of which a node failure pays some; Bob's use was none; Carol is new."""
    gone, new = RowKey("bob", "cpu"), RowKey("carol", "gpu")
    before = {CPU: Amounts((5, 0, 0, 2)), gone: Amounts((0, 3, 0, 0)), RowKey("dave", "cpu"): Amounts((1, 1, 1, 1))}
    after = {CPU: Amounts((6, 0, 0, 2), (4, 0, 0, 0)), new: Amounts((0, 0, 8, 0)), RowKey("dave", "cpu"): Amounts((1, 1, 1, 1))}
    await ledger.put_usage(site, usage("1", slot("a", 0, (3, 1), before), watermark=LATER), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (3, 2), after)), NOW)
    expected = (
        CorrectionRow(0, "alice", "cpu", (1, 0, 0, 0), (4, 0, 0, 0)),
        CorrectionRow(0, "bob", "cpu", (0, -3, 0, 0), (0, 0, 0, 0)),
        CorrectionRow(0, "carol", "gpu", (0, 0, 8, 0), (0, 0, 0, 0)),
    )
    assert await corrections(ledger, site) == [(LATER // QUARTER * QUARTER, expected)]
    assert (await ledger.entries(cluster=site))[0].entry.key == f"correction/{site}/a/0/3.2"


async def test_a_closed_slot_that_was_never_sent_is_corrected_from_nothing(ledger: Ledger, site: str) -> None:
    await ledger.put_usage(site, usage("1", watermark=CLOSED), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (0, 1), {CPU: Amounts((5, 0, 0, 0))})), NOW)
    assert await corrections(ledger, site) == [(CLOSED, (CorrectionRow(0, "alice", "cpu", (5, 0, 0, 0), (0, 0, 0, 0)),))]


async def test_a_version_without_a_difference_is_no_correction(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((5, 0, 0, 0))}
    await ledger.put_usage(site, usage("1", slot("a", 0, (0, 1), rows), watermark=CLOSED), NOW)
    await ledger.put_usage(site, usage("2", slot("a", 0, (0, 2), rows)), NOW)
    assert await corrections(ledger, site) == []


async def test_what_a_rebuild_voids_after_closing_is_taken_back(ledger: Ledger, site: str) -> None:
    rows = {CPU: Amounts((5, 0, 0, 0))}
    pages = [slot("a", hour * HOUR, (0, 1), rows) for hour in range(3)]
    await ledger.put_usage(site, usage("1", *pages, watermark=CLOSED + HOUR), NOW)
    rebuilt = usage("2", slot("a", 0, (1, 1), rows), watermark=HOUR, rebuilt=(1, 0, 3 * HOUR))
    await ledger.put_usage(site, rebuilt, NOW)
    assert await ledger.totals(site) == {"a": {"cpu": 5}}
    at = CLOSED + HOUR
    assert await corrections(ledger, site) == [(at, (CorrectionRow(HOUR, "alice", "cpu", (-5, 0, 0, 0), (0, 0, 0, 0)),))]


async def test_a_rebuild_that_begins_anew_opens_nothing(ledger: Ledger, site: str) -> None:
    """The watermark falls back with it; what was closed stays closed, or its charges would move."""
    await ledger.put_usage(site, usage("1", slot("a", 0, (0, 1), {}), watermark=CLOSED), NOW)
    await ledger.put_usage(site, usage("2", watermark=HOUR, rebuilt=(1, HOUR, 2 * HOUR)), NOW)
    assert await ledger.watermark(site) == HOUR
    await ledger.put_usage(site, usage("3", slot("a", 0, (1, 1), {CPU: Amounts((5, 0, 0, 0))})), NOW)
    assert await corrections(ledger, site) == [(CLOSED, (CorrectionRow(0, "alice", "cpu", (5, 0, 0, 0), (0, 0, 0, 0)),))]


PAGES = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 3)), max_size=4),
        st.none() | st.integers(CLOSED, CLOSED + 4 * HOUR),
    ),
    min_size=1,
    max_size=8,
)


async def content(ledger: Ledger, cluster: str) -> Counter[int]:
    """Hour -> what the buckets hold."""
    rows = await ledger.usage(cluster, by="hour")
    return Counter({HOURS[str(row["hour"])]: int(row["allocated"]) for row in rows})


@given(pages=PAGES, seed=st.integers(0, 2**32))
@profile(max_examples=40, deadline=None)
async def test_what_is_stored_less_its_corrections_is_what_it_was_when_it_closed(
    ledger: Ledger, pages: Sequence[tuple[list[tuple[int, int, int]], int | None]], seed: int
) -> None:
    """So that a reader who takes the corrections out again has the charges of closed slots, which never move."""
    cluster, random = f"c{uuid4().hex[:12]}", Random(seed)
    await publish_accounts(ledger, cluster, "a")
    at_closing: Counter[int] = Counter()
    mark = 0
    for number, (found, watermark) in enumerate(pages):
        rows = [
            slot("a", hour * HOUR, (0, random.randint(0, 9)), {CPU: Amounts((alice, 0, 0, 0)), BOB: Amounts((0, bob, 0, 0))})
            for hour, alice, bob in found
        ]
        await ledger.put_usage(cluster, usage(f"{number}", *rows, watermark=watermark), NOW)
        now = await content(ledger, cluster)
        at_closing = Counter({hour: (at_closing if hour + CLOSED <= mark else now)[hour] for hour in now | at_closing})
        mark = max(mark, watermark or 0)
    stored = await content(ledger, cluster)
    for _, corrected in await corrections(ledger, cluster):
        for row in corrected:
            stored[row.hour] -= sum(row.allocated)
    assert +stored == +at_closing
    assert not -stored

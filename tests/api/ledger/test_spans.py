"""Use between boundaries: what the quarters give, added up where the rows are, and found by the whole of the key."""

from bisect import bisect_right
from collections.abc import Sequence
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import settings as profile
from hypothesis import strategies as st
from sqlalchemy import event, text
from sqlalchemy.engine.interfaces import DBAPIConnection

from bursar_domain.buckets import Amounts, RowKey, SlotKey
from bursar_domain.units import HOUR, QUARTER
from bursar_ledger import Ledger, bulk, partitions, spans
from bursar_ledger.tables import Slot
from bursar_testing.wires import publish_accounts, slot, usage

NOW = 2_000_000_000
Use = dict[str, list[tuple[int, int]]]


def summed(quarters: Use, boundaries: Sequence[int]) -> Use:
    """By brute force, quarter by quarter."""
    found: Use = {}
    edges = sorted(set(boundaries))
    for resource, items in quarters.items():
        sums: dict[int, int] = {}
        for at, amount in items:
            index = bisect_right(edges, at)
            start = edges[index - 1] if index else items[0][0]
            sums[start] = sums.get(start, 0) + amount
        found[resource] = sorted(sums.items())
    return found


ROWS = st.dictionaries(
    st.tuples(st.sampled_from(["alice", "bob"]), st.sampled_from(["cpu", "gpu", "memory"])),
    st.tuples(*[st.integers(0, 3)] * 4, st.booleans()),
    min_size=1,
    max_size=3,
)


@given(hours=st.dictionaries(st.integers(0, 9), ROWS, max_size=6), boundaries=st.lists(st.integers(0, 40), max_size=6))
@profile(max_examples=80, deadline=None)
async def test_spans_are_the_quarters_added_up(
    ledger: Ledger, hours: dict[int, dict[tuple[str, str], tuple[int, int, int, int, bool]]], boundaries: list[int]
) -> None:
    """Months apart, so that partitions are crossed; some of it is refunded; `gpu` and `memory` are not of the cluster."""
    cluster, far = f"c{uuid4().hex[:12]}", 20 * 86_400
    await publish_accounts(ledger, cluster, "a", "b")
    slots = []
    for hour, rows in hours.items():
        amounts = {
            RowKey(*key): Amounts((a, b, c, d), (a, 0, c, 0) if refunded else (0, 0, 0, 0))
            for key, (a, b, c, d, refunded) in rows.items()
        }
        slots += [slot("a", hour // 4 * far + hour * HOUR, (0, 1), amounts), slot("b", hour * HOUR, (0, 1), amounts)]
    await ledger.put_usage(cluster, usage("1", *slots), NOW)
    edges = [at // 16 * far + at * QUARTER for at in boundaries]
    quarters = await ledger.quarters(cluster, "a")
    assert await ledger.spans(cluster, "a", edges) == summed(quarters, edges)


async def test_an_account_without_use_has_no_spans(ledger: Ledger, site: str) -> None:
    assert await ledger.spans(site, "a", [0, HOUR]) == {}
    assert await ledger.spans(site, "a", []) == {}


async def test_slots_are_found_by_the_whole_key(ledger: Ledger, site: str, backend: str) -> None:
    """Neither reads the whole account: SQLite did where it did not know that the key's hour is a whole number."""
    if backend != "sqlite":
        pytest.skip("PostgreSQL is told in the statement itself")
    plans: list[str] = []

    def explain(connection: DBAPIConnection, _: object, statement: str, parameters: object, *__: object) -> None:
        if "json_each(?)" in statement and " usage_" in statement:
            cursor = connection.connection.cursor()
            cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
            plans.append(str(cursor.fetchall()))

    writer = ledger._database._writer.sync_engine
    event.listen(writer, "before_cursor_execute", explain)
    for seq in (1, 2):
        await ledger.put_usage(
            site, usage(f"{seq}", slot("a", 0, (0, seq), {RowKey("alice", "cpu"): Amounts((1, 0, 0, 0))})), NOW
        )
    event.remove(writer, "before_cursor_execute", explain)
    assert len(plans) == 2 + 3
    for plan in plans:
        assert "(cluster=? AND account=? AND hour=?)" in plan


async def test_a_table_that_has_just_grown_is_not_read_whole(own: Ledger, backend: str) -> None:
    """PostgreSQL's figures are those of the empty table still: a join would be planned by them."""
    if backend != "postgresql":
        pytest.skip("SQLite plans without figures")
    await publish_accounts(own, "c", "a")
    await own.put_usage("c", usage("1", slot("a", 0, (0, 1), {RowKey("alice", "cpu"): Amounts((1, 0, 0, 0))})), NOW)
    fill = "INSERT INTO usage_slots SELECT 'c', 'b' || n, n * 3600, 0, 1, 0 FROM generate_series(1, 50000) AS n"
    read = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'usage_slots'"
    async with own._database.write() as tx:
        await tx.execute(text(fill))
        keys = [SlotKey(f"b{n}", n * 3600) for n in range(1, 500)]
        assert len(await bulk.select(tx, Slot, "account, hour", "c", keys)) == len(keys)
        await bulk.delete(tx, Slot, "c", keys)
        assert (await tx.execute(text(read))).scalar_one() == 0


async def test_a_month_is_made_when_it_is_first_written(ledger: Ledger, site: str, backend: str) -> None:
    if backend != "postgresql":
        pytest.skip("SQLite has no partitions")
    hour = partitions.month_of(1_709_251_199).start
    names = "SELECT count(*) FROM pg_inherits JOIN pg_class ON oid = inhrelid WHERE relname LIKE 'usage_%_2024_02'"
    for expected in (0, 2):
        async with ledger._database.read() as tx:
            assert (await tx.execute(text(names))).scalar_one() == expected
        await ledger.put_usage(site, usage("1", slot("a", hour, (0, 1), {RowKey("alice", "cpu"): Amounts((1, 0, 0, 0))})), NOW)


MONTHS = [
    (0, "1970_01", 0, 2_678_400),
    (951_782_400, "2000_02", 949_363_200, 951_868_800),
    (1_735_689_599, "2024_12", 1_733_011_200, 1_735_689_600),
    (1_735_689_600, "2025_01", 1_735_689_600, 1_738_368_000),
]


@pytest.mark.parametrize(("second", "name", "start", "end"), MONTHS)
def test_months_are_those_of_the_calendar(second: int, name: str, start: int, end: int) -> None:
    assert partitions.month_of(second) == partitions.Month(name, start, end)


@given(boundaries=st.lists(st.integers(-100, 100), max_size=8))
@profile(max_examples=500)
def test_segments_and_cut_hours_cover_every_quarter_once(boundaries: list[int]) -> None:
    whole, cut = spans.segments([at * QUARTER for at in boundaries])
    for quarter in range(-120, 120):
        hour = quarter * QUARTER // HOUR * HOUR
        inside = [segment for segment in whole if segment.since <= quarter * QUARTER < segment.until]
        assert len(inside) + (hour in cut) == 1
        for segment in inside:
            assert segment.at == max((at * QUARTER for at in boundaries if at <= quarter), default=spans.FIRST)

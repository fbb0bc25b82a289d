"""Entries: append-only, once for each key, in a chain that shows whatever was done to it by hand."""

import asyncio

import pytest

from bursar_domain.entries import CorrectionRow, Entry, EntryKind
from bursar_ledger import Ledger
from bursar_ledger.errors import EntryConflict, Moved
from bursar_ledger.firings import InForce

COLUMNS = {
    "key": "'x'",
    "kind": "'Refund'",
    "cluster": "'x'",
    "account": "'x'",
    "at": "1",
    "author": "'x'",
    "reason": "'x'",
    "uid": "'x'",
    "namespace": "'x'",
    "name": "'x'",
    "amounts": "'{\"cpu\":1}'",
    "window": "7",
    "reference": "'x'",
    "rows": "'[]'",
    "request": "'x'",
    "recorded_at": "1",
    "previous": "'x'",
    "hash": "'x'",
}


def entry(key: str, hours: int = 1, *, account: str = "a", uid: str = "u", kind: EntryKind = EntryKind.ADJUSTMENT) -> Entry:
    """An entry of cluster c."""
    row = CorrectionRow(0, "bob", "cpu", (1, -2, 0, 0), (0, 0, 0, 0))
    return Entry(
        key, kind, "c", account, 900, "dana", "a reason", uid=uid, namespace="n", name="m", amounts={"cpu": hours}, rows=(row,)
    )


async def filled(ledger: Ledger, count: int = 5) -> None:
    await ledger.append([entry(str(number), number + 1) for number in range(count)], 100, request="r")


async def test_what_was_booked_is_read_again_in_order(own: Ledger) -> None:
    made = await own.append([entry("1"), entry("2", account="b", uid="v", kind=EntryKind.REFUND)], 100, request="r")
    assert [(item.number, item.entry.key, item.recorded_at, item.request) for item in made] == [
        (1, "1", 100, "r"),
        (2, "2", 100, "r"),
    ]
    assert await own.entries() == [booked async for booked in own.each_entry()] == made
    assert [item.entry.key for item in await own.entries(account="b")] == ["2"]
    assert [item.entry.key for item in await own.entries(uid="u")] == ["1"]
    assert [item.entry.key for item in await own.entries(kinds=[EntryKind.REFUND])] == ["2"]
    assert [item.entry.key for item in await own.entries(after=1)] == ["2"]
    assert [item.entry.key for item in await own.entries(limit=1)] == ["1"]
    assert (await own.last_entry("c", "a"), await own.last_entry("c", "nobody")) == (1, 0)


async def test_a_key_is_booked_once_and_never_with_other_content(own: Ledger) -> None:
    first = await own.append([entry("1")], 100)
    assert await own.append([entry("1")], 200) == first
    with pytest.raises(EntryConflict, match="entry 1 is booked as number 1 with other content"):
        await own.append([entry("2"), entry("1", 5)], 200)
    assert await own.entries() == first


async def test_a_decision_on_old_entries_is_refused_and_a_repetition_is_not(own: Ledger) -> None:
    await own.append([entry("1")], 100)
    with pytest.raises(Moved, match="entry 1, newer than 0"):
        await own.append([entry("2")], 100, expect=("c", "a", 0))
    await own.append([entry("2")], 100, expect=("c", "a", 1))
    assert len(await own.append([entry("2")], 100, expect=("c", "a", 1))) == 1
    await own.append([entry("3", account="b")], 100, expect=("c", "b", 0))


async def test_the_feed_hears_of_it(own: Ledger) -> None:
    before = await own.change_number()
    await own.append([entry("1")], 100)
    assert [(change.cluster, change.account, change.kind) for change in await own.changes(before)] == [("c", "a", "entry")]
    newest = await own.change_number()
    await own.append([entry("1")], 100)
    assert await own.change_number() == newest


async def test_writers_at_once_make_one_chain(own: Ledger) -> None:
    await asyncio.gather(*(own.append([entry(f"{number}")], 100) for number in range(20)))
    report = await own.verify()
    assert (report.rows, report.problems) == (20, ())


async def test_an_untouched_chain_has_no_problems(own: Ledger) -> None:
    assert (await own.verify()).problems == ()
    await filled(own)
    report = await own.verify()
    assert (report.rows, report.problems, report.hash) == (5, (), (await own.entries())[-1].hash)


@pytest.mark.parametrize("column", sorted(COLUMNS))
async def test_an_edited_field_is_found(own: Ledger, column: str) -> None:
    await filled(own)
    await _sql(own, f'UPDATE entries SET "{column}" = {COLUMNS[column]} WHERE number = 3')
    assert 3 in {problem.number for problem in (await own.verify()).problems}


async def test_bytes_in_a_text_column_are_found(own: Ledger) -> None:
    await filled(own)
    async with own._database.read() as tx:
        is_sqlite = tx.dialect.name == "sqlite"
    await _sql(
        own, "UPDATE entries SET reason = x'00ff' WHERE number = 3" if is_sqlite else "DELETE FROM entries WHERE number = 3"
    )
    assert (await own.verify()).problems


@pytest.mark.parametrize("number", [1, 3, 5])
async def test_a_removed_row_is_found(own: Ledger, number: int) -> None:
    await filled(own)
    await _sql(own, f"DELETE FROM entries WHERE number = {number}")
    problems = (await own.verify()).problems
    assert "missing" in problems[0].what


async def test_swapped_rows_are_found(own: Ledger) -> None:
    await filled(own)
    for statement in (
        "UPDATE entries SET number = 99 WHERE number = 2",
        "UPDATE entries SET number = 2 WHERE number = 4",
        "UPDATE entries SET number = 4 WHERE number = 99",
    ):
        await _sql(own, statement)
    assert {problem.number for problem in (await own.verify()).problems} >= {2, 4}


async def test_an_inserted_row_and_an_edited_head_are_found(own: Ledger) -> None:
    await filled(own)
    columns = ", ".join(f'"{name}"' for name in COLUMNS if name not in ("key",))
    await _sql(own, f"INSERT INTO entries (number, key, {columns}) SELECT 6, 'z', {columns} FROM entries WHERE number = 5")
    assert [problem.number for problem in (await own.verify()).problems][-1] == 6
    await _sql(own, "DELETE FROM entries WHERE number = 6")
    assert (await own.verify()).problems == ()
    await _sql(own, "UPDATE chain_heads SET hash = 'x'")
    assert "head" in (await own.verify()).problems[0].what


async def test_rules_fire_once_in_a_window_and_direction(own: Ledger) -> None:
    assert await own.fired(["u"]) == set()
    assert await own.fire("u", 0, "Hold@Used100", "up", 5, 100)
    assert not await own.fire("u", 0, "Hold@Used100", "up", 9, 120)
    assert await own.fire("u", 0, "Hold@Used100", "down", 9, 90)
    assert await own.fire("u", 900, "Hold@Used100", "up", 9, 100)
    assert await own.fire("v", 0, "Exhausted", "up", 9, 100)
    assert await own.fired({"u", "w"}) == {("u", at, "Hold@Used100", way) for at, way in ((0, "up"), (0, "down"), (900, "up"))}
    assert await own.fired(set()) == set()


async def test_rules_in_force_outlive_their_process(own: Ledger) -> None:
    await own.set_rules([InForce("u", 0, {"b", "a"}, 5)])
    await own.set_rules([InForce("u", 900, {"a"}, 6), InForce("v", 0, (), 6)])
    await own.set_rules([])
    assert await own.rules() == {"u": (900, frozenset({"a"})), "v": (0, frozenset())}


async def test_nothing_is_kept_of_what_an_allocation_was_told_once_it_is_gone(own: Ledger) -> None:
    for uid in ("gone", "there"):
        await own.set_rules([InForce(uid, 0, {"a"}, 5)])
        await own.fire(uid, 0, "a", "up", 5, 100)
    await own.tombstone("gone")
    assert await own.rules() == {"there": (0, frozenset({"a"}))}
    assert {uid for uid, *_ in await own.fired(["gone", "there"])} == {"there"}


async def _sql(ledger: Ledger, statement: str) -> None:
    async with ledger._database.write() as tx:
        await tx.exec_driver_sql(statement)

"""Use as statements print it: what was booked at closing never moves, corrections stand where they were posted."""

from collections import Counter
from datetime import UTC, datetime
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bursar_api.periods import Span
from bursar_api.printed import By, Used, is_final, totals, used
from bursar_domain.entries import CorrectionRow, Entry, EntryKind
from bursar_domain.units import HOUR, QUARTER
from bursar_ledger.accounts import AccountReading
from bursar_ledger.statements import StatementReading
from bursar_ledger.sums import UsageTotal
from bursar_testing.books import at

DAYS = 24 * HOUR
SLOTS = [at("2026-01-31T23:00"), at("2026-02-01"), at("2026-02-28T23:00"), at("2026-03-01"), at("2026-03-20")]
EDGES = [at("2026-01-01"), at("2026-02-01"), at("2026-03-01"), at("2026-04-01")]
Amount = tuple[int, int, int]
"""Number of the slot, allocated in its last quarter, refunded of it."""


def reading(now: Counter[tuple[int, str]], corrections: list[Entry], span: Span, by: By) -> StatementReading:
    """What the ledger would tell: use as it is known now."""
    rows: Counter[str] = Counter()
    for (hour, user), amount in now.items():
        quarter = hour + 3 * QUARTER
        if (span.start is None or quarter >= span.start) and (span.end is None or quarter < span.end):
            rows[user if by == "user" else f"{datetime.fromtimestamp(hour, UTC):%Y-%m}"] += amount
    label = "user" if by == "user" else "month"
    use: list[UsageTotal] = [
        {"account": "p", "resource": "cpu", label: name, "allocated": amount, "refunded": 0, "charged": amount}
        for name, amount in rows.items()
    ]
    account = AccountReading({}, (), (), {}, None, None, None)
    return StatementReading("c", account, (), tuple(corrections), use, None)


def correction(hour: int, user: str, amount: int, posted: int) -> Entry:
    """One row, in the last quarter of its hour."""
    row = CorrectionRow(hour, user, "cpu", (0, 0, 0, amount), (0, 0, 0, 0))
    return Entry(f"{hour}{user}{posted}", EntryKind.CORRECTION, "c", "p", posted, "agent", "late", rows=(row,))


CHANGES = st.lists(
    st.tuples(st.sampled_from(SLOTS), st.sampled_from(["alice", "bob"]), st.integers(-9, 9), st.integers(0, 40)), max_size=6
)


@given(
    booked=st.dictionaries(st.tuples(st.sampled_from(SLOTS), st.sampled_from(["alice", "bob"])), st.integers(9, 99)),
    changes=CHANGES,
    by=st.sampled_from(["user", "month"]),
)
def test_a_month_is_what_was_booked_at_its_closing_and_all_months_are_what_is_known(
    booked: dict[tuple[int, str], int], changes: list[tuple[int, str, int, int]], by: By
) -> None:
    late = [correction(hour, user, amount, hour + 2 * DAYS + days * DAYS // 2) for hour, user, amount, days in changes]
    now = Counter(booked)
    for hour, user, amount, _ in changes:
        now[hour, user] += amount
    sums = Used()
    for first, last in [*pairwise(EDGES), (EDGES[-1], None)]:
        span = Span(first, last)
        month = totals(used(reading(now, late, span, by), span, by)).get("cpu", Used())
        if last is not None:
            assert month.charged == sum(amount for (hour, _), amount in booked.items() if first <= hour < last)
        assert month.corrections == sum(
            entry.rows[0].allocated[3] for entry in late if first <= entry.at and (last is None or entry.at < last)
        )
        sums.add(month)
    assert sums.charged + sums.corrections == now.total()


def test_a_refund_that_came_late_is_no_part_of_the_month() -> None:
    """A node failure that was known after closing: the month says what it said, the correction is below zero."""
    row = CorrectionRow(SLOTS[1], "alice", "cpu", (0, 0, 0, 0), (900, 0, 0, 0))
    late = Entry("k", EntryKind.CORRECTION, "c", "p", SLOTS[4], "agent", "late", rows=(row,))
    use: UsageTotal = {"account": "p", "resource": "cpu", "user": "alice", "allocated": 900, "refunded": 900, "charged": 0}
    found = StatementReading("c", AccountReading({}, (), (), {}, None, None, None), (), (late,), [use], None)
    february = used(found, Span(EDGES[1], EDGES[2]), "user")
    assert february == {("cpu", "alice"): Used(900, 0, 0)}
    nothing = StatementReading("c", found.account, (), (late,), [], None)
    assert used(nothing, Span(EDGES[2], EDGES[3]), "user") == {("cpu", "alice"): Used(0, 0, -900)}


@pytest.mark.parametrize(
    ("end", "closed_to", "final"),
    [
        (EDGES[1], EDGES[1] + 48 * HOUR, True),
        (EDGES[1], EDGES[1] + 48 * HOUR - 1, False),
        (EDGES[1], None, False),
        (None, EDGES[3], False),
    ],
)
def test_final_is_what_is_closed(end: int | None, closed_to: int | None, *, final: bool) -> None:
    account = AccountReading({}, (), (), {}, None, None, None)
    assert is_final(StatementReading("c", account, (), (), [], closed_to), end) is final

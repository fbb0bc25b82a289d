"""What is kept of an account's slots: sums between any boundaries are those of the quarters."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_agent.charges import Charges, Rows
from bursar_domain.buckets import Amounts, RowKey
from bursar_domain.units import HOUR, QUARTER

BASE = 400_000 * HOUR
ROWS = st.dictionaries(
    st.builds(RowKey, st.sampled_from(["ann", "bob"]), st.sampled_from(["cpu", "gpu"])),
    st.builds(
        lambda used, share: Amounts(tuple(used), tuple(amount * share // 3 for amount in used)),
        st.lists(st.integers(0, 10**12), min_size=4, max_size=4),
        st.integers(0, 3),
    ),
    max_size=4,
)
PUTS = st.lists(st.tuples(st.integers(0, 12), ROWS), max_size=20)
CUTS = st.lists(st.integers(-4, 60), max_size=5, unique=True).map(
    lambda found: tuple(BASE + n * QUARTER for n in sorted(found))
)


def summed(slots: dict[int, Rows], boundaries: tuple[int, ...]) -> dict[str, dict[int, int]]:
    """Quarter by quarter: by resource, the number of boundaries at or before it -> unit-seconds."""
    found: dict[str, Counter[int]] = {}
    for hour, rows in slots.items():
        for row, amounts in rows.items():
            for index in range(4):
                segment = sum(at <= hour + index * QUARTER for at in boundaries)
                found.setdefault(row.resource, Counter())[segment] += amounts.allocated[index] - amounts.refunded[index]
    return {name: {segment: n for segment, n in sums.items() if n} for name, sums in found.items() if any(sums.values())}


@given(PUTS, CUTS, CUTS)
@settings(max_examples=2000, deadline=None)
def test_sums_between_boundaries_are_those_of_the_quarters(
    puts: list[tuple[int, Rows]], boundaries: tuple[int, ...], others: tuple[int, ...]
) -> None:
    charges, slots = Charges(), dict[int, Rows]()
    for seq, (number, rows) in enumerate(puts):
        hour = BASE + number * HOUR
        assert charges.differs(hour, rows) == (slots.get(hour, {}) != rows)
        charges.put(hour, seq, rows)
        slots[hour] = rows
        for cuts in (boundaries, others if seq % 3 == 0 else boundaries):
            spans = charges.spans(cuts)
            starts = {name: {sum(at <= begin for at in cuts): n for begin, n in found} for name, found in spans.items()}
            assert starts == summed(slots, cuts)
    for since in (BASE, BASE + 5 * HOUR, BASE + 99 * HOUR):
        assert list(charges.hours(since)) == sorted(hour for hour in slots if hour >= since)
        allocated = (amounts.allocated for hour, rows in slots.items() if hour >= since for amounts in rows.values())
        assert charges.allocated(since) == sum(map(sum, allocated))


def test_use_before_all_boundaries_is_dated_at_its_first_quarter() -> None:
    charges = Charges()
    charges.put(BASE, 1, {RowKey("ann", "cpu"): Amounts((0, 0, 7, 5))})
    charges.put(BASE + HOUR, 2, {RowKey("ann", "cpu"): Amounts((1, 0, 0, 0))})
    assert charges.spans(()) == {"cpu": [(BASE + 2 * QUARTER, 13)]}
    assert charges.spans((BASE + 3 * QUARTER,)) == {"cpu": [(BASE + 2 * QUARTER, 7), (BASE + 3 * QUARTER, 6)]}


def test_what_did_not_change_is_the_same_object() -> None:
    """So that whoever folds it can tell without a look at it."""
    charges = Charges()
    rows: Rows = {RowKey("ann", "cpu"): Amounts((1, 2, 3, 4))}
    charges.put(BASE, 1, rows)
    before = charges.spans((BASE,))
    charges.put(BASE, 2, rows)
    charges.put(BASE + HOUR, 3, {})
    assert charges.spans((BASE,)) is before
    charges.put(BASE, 4, {})
    assert charges.spans((BASE,)) == {}


@pytest.mark.parametrize("seed", range(3))
def test_slots_may_come_in_any_order(seed: int) -> None:
    dice = Random(seed)
    hours = [BASE + number * HOUR for number in range(50)]
    dice.shuffle(hours)
    charges = Charges()
    for seq, hour in enumerate(hours):
        charges.put(hour, seq, {RowKey("ann", "cpu"): Amounts((hour, 0, 0, 0))})
    assert list(charges.hours(0)) == sorted(hours)
    assert [charges.seq(hour) for hour in hours] == list(range(50))
    assert charges.spans(tuple(sorted(hours)))["cpu"] == [(hour, hour) for hour in sorted(hours)]

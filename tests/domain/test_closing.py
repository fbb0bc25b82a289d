"""Closing: 48 hours after the last slot and not before; what is carried, what expires, nothing twice."""

import pytest

from bursar_domain.closing import Carry, Subject, closed_windows, closings, is_closed, keys
from bursar_domain.entries import Entry, EntryKind
from bursar_domain.fold import AccountBooks, fold
from bursar_domain.terms import Rules, Step, Terms, Window, build, simple
from bursar_domain.units import HOUR, QUARTER, UNSCALED, Scales
from bursar_domain.windows import Span

LONG = 100 * HOUR
CLOSED = 48 * HOUR
GRACE = 10 * HOUR


def two(granted: int = 100, carried_in: int = 0, grace: int = GRACE, name: str = "cpu") -> Terms:
    """Three windows of a hundred hours with the same grant; the first one got hours carried in."""
    amounts = {name: UNSCALED.seconds_from_hours(name, granted)}
    carried = {name: UNSCALED.seconds_from_hours(name, carried_in)}
    windows = tuple(
        Window(number * LONG, (number + 1) * LONG, (Step(number * LONG, amounts, {} if number else carried),))
        for number in range(3)
    )
    return Terms("A", frozenset({name}), windows, 3 * LONG + grace)


def subject(percent: int = 0, most: int | None = None) -> Subject:
    """Whose windows they are."""
    return Subject("alpha", "a", "project-p", "A", Carry(percent, most))


def used(terms: Terms, *hours: int, name: str = "cpu") -> AccountBooks:
    """Hours used at the beginning of each window."""
    return fold(
        [terms], {name: [(number * LONG, UNSCALED.seconds_from_hours(name, amount)) for number, amount in enumerate(hours)]}
    )


def told(entries: list[Entry]) -> list[tuple[str, int | None, dict[str, int]]]:
    """Kind, window, whole hours."""
    return [(str(item.kind), item.window, {name: amount // HOUR for name, amount in item.amounts.items()}) for item in entries]


def test_a_slot_is_closed_when_its_end_lies_48_hours_before_the_watermark() -> None:
    assert not is_closed(10 * HOUR, 11 * HOUR + CLOSED - 1)
    assert is_closed(10 * HOUR, 11 * HOUR + CLOSED)


@pytest.mark.parametrize(
    ("watermark", "expect"),
    [
        (LONG + CLOSED - 1, []),
        (LONG + CLOSED, [0]),
        (2 * LONG + CLOSED, [0, 1]),
        (3 * LONG + CLOSED, [0, 1]),
        (3 * LONG + GRACE + CLOSED - 1, [0, 1]),
        (3 * LONG + GRACE + CLOSED, [0, 1, 2]),
    ],
)
def test_a_window_is_closed_with_its_last_slot_the_last_one_with_its_grace(watermark: int, expect: list[int]) -> None:
    assert closed_windows(two(), watermark) == expect


def test_a_window_that_ends_inside_an_hour_is_closed_with_that_hour() -> None:
    terms = Terms("A", frozenset({"cpu"}), (Window(0, HOUR + QUARTER, ()),), HOUR + QUARTER)
    assert closed_windows(terms, 2 * HOUR + CLOSED - 1) == []
    assert closed_windows(terms, 2 * HOUR + CLOSED) == [0]


CARRIES = [
    ("half of what is left", two(), 60, Carry(50), 20, 20),
    ("nothing without a policy", two(), 60, Carry(), 0, 40),
    ("no more than the maximum", two(), 60, Carry(100, 15), 15, 25),
    ("rounded down to hours", two(), 61, Carry(50), 19, 20),
    ("everything used", two(), 100, Carry(50), 0, 0),
    ("over-use carries nothing", two(), 130, Carry(50), 0, 0),
    ("top-up 60, used 100", two(160), 100, Carry(50), 30, 30),
    ("25 carried in, used 110: of what was granted 15 are left", two(100, 25), 110, Carry(25), 3, 12),
    ("carried in and not used lapses", two(100, 25), 10, Carry(100), 100, 15),
]


@pytest.mark.parametrize(
    ("terms", "hours", "carry", "carried", "expired"), [row[1:] for row in CARRIES], ids=[row[0] for row in CARRIES]
)
def test_what_is_carried_and_what_expires(terms: Terms, hours: int, carry: Carry, carried: int, expired: int) -> None:
    who = subject(carry.percent, carry.maximum_hours)
    found = told(closings(who, terms, used(terms, hours), LONG + CLOSED, ()))
    over = [("CarryOver", LONG, {"cpu": carried})] if carried else []
    assert found == [*over, ("Expiry", 0, {"cpu": expired} if expired else {})]


def test_memory_is_carried_in_whole_gib_hours() -> None:
    terms = two(name="memory")
    entries = closings(subject(33), terms, used(terms, 90, name="memory"), LONG + CLOSED, ())
    assert [dict(item.amounts) for item in entries] == [
        {"memory": UNSCALED.seconds_from_hours("memory", 3)},
        {"memory": UNSCALED.seconds_from_hours("memory", 7)},
    ]


def test_billing_is_carried_in_whole_service_units() -> None:
    scales = Scales(1000)
    granted, spent = scales.seconds_from_hours("billing", 100), scales.seconds_from_hours("billing", 90) + HOUR
    terms = simple("A", 0, LONG, {"billing": granted})
    more = simple("A", LONG, 2 * LONG, {"billing": granted})
    terms = Terms("A", terms.resources, (*terms.windows, *more.windows), 2 * LONG)
    who = Subject("alpha", "a", "project-p", "A", Carry(33, 3, scales))
    entries = closings(who, terms, fold([terms], {"billing": [(0, spent)]}), LONG + CLOSED, ())
    assert [dict(item.amounts) for item in entries] == [{"billing": 3_000 * HOUR}, {"billing": 6_999 * HOUR}]


def test_nothing_is_booked_before_48_hours_nor_twice() -> None:
    terms = two()
    books = used(terms, 60)
    assert closings(subject(50), terms, books, LONG + CLOSED - 1, ()) == []
    first = closings(subject(50), terms, books, LONG + CLOSED, ())
    assert [item.key for item in first] == list(keys(terms, 0))
    assert closings(subject(50), terms, books, LONG + CLOSED + HOUR, {item.key for item in first}) == []
    assert [item.key for item in closings(subject(50), terms, books, LONG + CLOSED, {first[0].key})] == [first[1].key]


def test_the_last_window_leaves_its_hours_to_nobody() -> None:
    terms = two()
    known = {key for number in range(2) for key in keys(terms, number)}
    assert told(closings(subject(100), terms, used(terms, 0, 0, 30), 3 * LONG + GRACE + CLOSED, known)) == [
        ("Expiry", 2 * LONG, {"cpu": 70})
    ]


def test_an_agent_that_was_away_for_long_carries_into_no_window_that_is_over() -> None:
    """The watermark comes back in the third window: what the first one left can't be used any more."""
    terms = two()
    found = told(closings(subject(100), terms, used(terms, 40, 70), 2 * LONG + CLOSED, ()))
    assert found == [("Expiry", 0, {"cpu": 60}), ("CarryOver", 2 * LONG, {"cpu": 30}), ("Expiry", LONG, {})]


def test_until_it_is_booked_the_next_window_runs_without_and_then_has_it() -> None:
    rules = Rules("A", ("cpu",), (Span(0, LONG), Span(LONG, 2 * LONG)))
    granted = Entry("g", EntryKind.GRANT, "alpha", "a", 0, "t", "t", uid="A", amounts={"cpu": 200 * HOUR})
    terms = build(rules, [granted])
    carried = closings(subject(50), terms, used(terms, 60), LONG + CLOSED + 5, ())
    books = used(build(rules, [granted, *carried]), 60)
    assert books.current("A", LONG + CLOSED - 1)["cpu"].left == 100 * HOUR
    assert books.current("A", LONG + CLOSED)["cpu"].left == 120 * HOUR
    assert books.window("A", 0)["cpu"].left == 40 * HOUR


def test_another_carry_over_moves_no_window_that_is_closed() -> None:
    """Its entries are stored; the next close goes by what is said then."""
    terms = two()
    first = closings(subject(50), terms, used(terms, 20), LONG + CLOSED, ())
    known = {item.key for item in first}
    assert told(first) == [("CarryOver", LONG, {"cpu": 40}), ("Expiry", 0, {"cpu": 40})]
    assert closings(subject(100, 5), terms, used(terms, 20), LONG + CLOSED, known) == []
    second = closings(subject(100, 5), terms, used(terms, 20, 90), 2 * LONG + CLOSED, known)
    assert told(second) == [("CarryOver", 2 * LONG, {"cpu": 5}), ("Expiry", LONG, {"cpu": 5})]

"""Windows: calendars and clocks of several zones, partial windows, bounds, and shares that add up."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bursar_domain.units import HOUR, QUARTER
from bursar_domain.windows import MOST_WINDOWS, Span, WindowError, cut, shared


def at(text: str) -> int:
    """Epoch second of an instant in UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


CALENDARS = [
    ("Month", "UTC", "2026-01-01", "2027-01-01", [f"2026-{month:02}-01" for month in range(2, 13)]),
    ("Quarter", "UTC", "2026-01-01", "2027-01-01", ["2026-04-01", "2026-07-01", "2026-10-01"]),
    ("HalfYear", "UTC", "2026-01-01", "2027-01-01", ["2026-07-01"]),
    ("Year", "UTC", "2026-01-01", "2029-01-01", ["2027-01-01", "2028-01-01"]),
    ("Month", "Europe/London", "2026-03-01", "2026-05-01", ["2026-03-31T23:00", "2026-04-30T23:00"]),
    ("Month", "Europe/London", "2026-10-01", "2026-12-01", ["2026-11-01"]),
    ("Month", "Europe/London", "2026-10-01", "2026-10-31", []),
    ("Month", "America/New_York", "2026-03-01T05:00", "2026-05-01T04:00", ["2026-04-01T04:00"]),
    ("Month", "America/New_York", "2026-10-01T04:00", "2027-01-01T05:00", ["2026-11-01T04:00", "2026-12-01T05:00"]),
    ("Month", "Asia/Kathmandu", "2025-12-31T18:15", "2026-02-28T18:15", ["2026-01-31T18:15"]),
    ("Quarter", "Asia/Beirut", "2025-12-31T22:00", "2026-06-30T21:00", ["2026-03-31T21:00"]),
    ("Month", "America/Santiago", "2026-08-01T04:00", "2026-10-01T03:00", ["2026-09-01T04:00"]),
    # In Asuncion 0:00 of 1 October 2023 was left out: the clocks went from 23:59 to 1:00 at 4:00 UTC.
    ("Month", "America/Asuncion", "2023-09-01T04:00", "2023-11-01T03:00", ["2023-10-01T04:00"]),
    # In Havana 0:00 of 1 November 2026 comes twice, at 4:00 and at 5:00 UTC.
    ("Month", "America/Havana", "2026-10-01T04:00", "2026-12-01T05:00", ["2026-11-01T04:00"]),
    ("Year", "UTC", "9998-07-01", "9999-12-31T23:45", ["9999-01-01"]),
]


@pytest.mark.parametrize(
    ("every", "zone", "start", "end", "inner"), CALENDARS, ids=[f"{row[0]} {row[1]} {row[2]}" for row in CALENDARS]
)
def test_the_period_is_cut_at_the_calendar_of_the_zone(every: str, zone: str, start: str, end: str, inner: list[str]) -> None:
    edges = [at(start), *(at(text) for text in inner), at(end)]
    assert cut(at(start), at(end), every, zone) == tuple(Span(*pair) for pair in pairwise(edges))


def test_the_change_of_the_clocks_makes_a_window_shorter_or_longer_by_an_hour() -> None:
    for zone in ("Europe/London", "America/New_York"):
        begin = int(datetime(2026, 1, 1, tzinfo=ZoneInfo(zone)).timestamp())
        end = int(datetime(2027, 1, 1, tzinfo=ZoneInfo(zone)).timestamp())
        lengths = [span.seconds // HOUR for span in cut(begin, end, "Month", zone)]
        days = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
        changed = {2: -1, 9: 1} if zone == "Europe/London" else {2: -1, 10: 1}
        assert lengths == [24 * count + changed.get(month, 0) for month, count in enumerate(days)]


def test_the_first_and_the_last_window_are_shorter_where_the_period_is() -> None:
    found = cut(at("2026-01-20T10:15"), at("2026-03-05T06:45"), "Month", None)
    assert [span.seconds for span in found] == [
        at("2026-02-01") - at("2026-01-20T10:15"),
        28 * 24 * HOUR,
        at("2026-03-05T06:45") - at("2026-03-01"),
    ]
    assert cut(5 * QUARTER, 9 * QUARTER, "Year", "UTC") == cut(5 * QUARTER, 9 * QUARTER, None, None) == (Span(4500, 8100),)


def test_six_hundred_windows_and_no_more() -> None:
    assert len(cut(at("2000-01-01"), at("2050-01-01"), "Month", "UTC")) == MOST_WINDOWS == 600
    with pytest.raises(WindowError, match="more than 600 windows"):
        cut(at("2000-01-01"), at("2050-01-01") + QUARTER, "Month", "UTC")


@pytest.mark.parametrize("zone", ["Atlantis/Capital", "../etc/passwd", "Europe", "/etc/localtime", "Zürich"])
def test_a_zone_that_is_none_is_named(zone: str) -> None:
    with pytest.raises(WindowError, match="there is no time zone"):
        cut(0, 100 * 24 * HOUR, "Month", zone)


def test_a_boundary_off_the_quarter_hours_is_refused() -> None:
    """Liberia was 44 min 30 s behind until 1972."""
    with pytest.raises(WindowError, match="off the quarter hours"):
        cut(at("1970-06-01"), at("1971-06-01"), "Month", "Africa/Monrovia")


ZONES = ["UTC", "Europe/London", "America/New_York", "Asia/Kathmandu", "Asia/Beirut", "America/Santiago", "America/Asuncion"]


@given(
    start=st.integers(at("1990-01-01") // QUARTER, at("2080-01-01") // QUARTER).map(lambda number: number * QUARTER),
    days=st.integers(1, 3000),
    every=st.sampled_from([("Month", 1), ("Quarter", 3), ("HalfYear", 6), ("Year", 12)]),
    zone=st.sampled_from(ZONES),
)
@settings(max_examples=500, deadline=None)
def test_windows_cover_the_period_and_each_lies_in_one_month_or_quarter(
    start: int, days: int, every: tuple[str, int], zone: str
) -> None:
    """One label of the calendar each, a different one for each neighbour: no boundary is missing and none is too many."""
    found = cut(start, start + days * 24 * HOUR, every[0], zone)
    assert (found[0].start, found[-1].end) == (start, start + days * 24 * HOUR)
    assert all(first.end == second.start for first, second in pairwise(found))
    assert all(span.seconds > 0 and span.start % QUARTER == 0 for span in found)
    labels = [(_label(span.start, every[1], zone), _label(span.end - 1, every[1], zone)) for span in found]
    assert all(first == last for first, last in labels)
    assert all(second[0] == first[0] + 1 for first, second in pairwise(labels))


def _label(second: int, months: int, zone: str) -> int:
    local = datetime.fromtimestamp(second, ZoneInfo(zone))
    return (local.year * 12 + local.month - 1) // months


@given(st.integers(-(10**12), 10**12), st.lists(st.integers(1, 10**5), min_size=1, max_size=30))
@settings(max_examples=2000, deadline=None)
def test_shares_add_up_and_are_floored_by_seconds(total: int, lengths: list[int]) -> None:
    spans, begin = [], 0
    for length in lengths:
        spans.append(Span(begin, begin + length))
        begin += length
    shares = shared(total, spans)
    assert sum(shares) == total
    for length, share in zip(lengths[:-1], shares[:-1], strict=True):
        assert share * begin <= total * length < (share + 1) * begin


def test_the_remainder_goes_to_the_last() -> None:
    assert shared(10, [Span(0, 1), Span(1, 2), Span(2, 3)]) == [3, 3, 4]
    assert shared(-10, [Span(0, 1), Span(1, 2), Span(2, 3)]) == [-4, -4, -2]

"""The time that a question is about: a month, or start and end; what makes no sense is refused with the remedy."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, NamedTuple

from fastapi import Depends, Query

from bursar_api.errors import Problem
from bursar_crds.instants import is_quarter_hour, parse_instant

LONGEST: Final = timedelta(days=5 * 366)
_MONTH: Final = re.compile(r"(19|20|21)[0-9]{2}-(0[1-9]|1[0-2])")
_DAY: Final = re.compile(r"(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}")
MONTH_HELP: Final = "A month of UTC, such as 2026-10."
EDGE_HELP: Final = "A day, such as 2026-10-01 (0:00 UTC), or a time on a quarter hour, such as 2026-10-01T06:15:00Z."


class Span(NamedTuple):
    """``[start, end)`` in epoch seconds on quarter hours; None: open on that side."""

    start: int | None = None
    end: int | None = None


async def _asked(
    month: Annotated[str | None, Query(max_length=64, description=MONTH_HELP)] = None,
    start: Annotated[str | None, Query(max_length=64, description=f"First moment. {EDGE_HELP}")] = None,
    end: Annotated[str | None, Query(max_length=64, description=f"First moment after it. {EDGE_HELP}")] = None,
) -> Span:
    return span(month, start, end)


AskedSpan = Annotated[Span, Depends(_asked)]


def span(month: str | None = None, start: str | None = None, end: str | None = None) -> Span:
    """What was asked for; `Problem` where it is no time, both at once, the wrong way round or longer than five years."""
    if month is not None:
        if start is not None or end is not None:
            raise refusal("month", "`month` comes with `start` or `end`; give the month alone, or start and end")
        return _month(month)
    first = None if start is None else _edge("start", start)
    last = None if end is None else _edge("end", end)
    if first is not None and last is not None:
        _check_order(first, last)
    return Span(_seconds(first), _seconds(last))


def _month(text: str) -> Span:
    if not _MONTH.fullmatch(text):
        raise refusal("month", f"`{text}` is no month; write it as 2026-10")
    first = datetime(int(text[:4]), int(text[5:]), 1, tzinfo=UTC)
    after = (first + timedelta(days=31)).replace(day=1)
    return Span(int(first.timestamp()), int(after.timestamp()))


def _edge(field: str, text: str) -> datetime:
    try:
        found = parse_instant(f"{text}T00:00:00Z" if _DAY.fullmatch(text) else text)
    except ValueError as error:
        raise refusal(field, f"`{text}` is no time; write it as 2026-10-01 or 2026-10-01T06:15:00Z") from error
    if not is_quarter_hour(found):
        raise refusal(field, f"`{text}` does not lie on a quarter hour, and use is booked by quarter hours; move it to one")
    return found


def _check_order(first: datetime, last: datetime) -> None:
    if first >= last:
        raise refusal("end", "the end does not come after the start; swap them or move the end")
    if last - first > LONGEST:
        raise refusal("start", "this asks for more than five years; ask for shorter times one after the other")


def _seconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp())


def refusal(field: str, message: str) -> Problem:
    """Names the parameter."""
    return Problem(message, violations=[{"field": field, "reason": "Invalid", "message": message}])

"""Times and amounts as people write them in a scenario; epoch seconds and unit-seconds inside."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, ValidationInfo

from bursar_crds.instants import format_instant, parse_instant
from bursar_domain.units import HOUR

DURATION: Final = re.compile(r"(?:(\d+)d)? ?(?:(\d+)h)? ?(?:(\d+)m)? ?(?:(\d+)s)?")
SECONDS: Final = (86_400, HOUR, 60, 1)


def duration(value: object) -> int:
    """`1d 2h30m`, `45s` -> seconds."""
    found = DURATION.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        raise ValueError(f"{value!r} is no length of time; write 2h, 90m, 1d 6h or 45s")
    return sum(int(part) * length for part, length in zip(found.groups(), SECONDS, strict=True) if part)


def instant(value: object, origin: int | None) -> int:
    """`2026-02-28T23:30:00Z`, or `+1d 2h` after the scenario's origin -> epoch seconds."""
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no time; write 2026-02-28T23:30:00Z, or +1d 2h after the origin")
    if value.startswith("+"):
        if origin is None:
            raise ValueError(f"{value!r} is relative; give the scenario an origin")
        return origin + duration(value[1:])
    return int(parse_instant(value).timestamp())


def amount(value: object) -> int:
    """Whole hours, or `-7h30m` where they are not whole -> seconds of one unit."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value * HOUR
    if isinstance(value, str):
        return -duration(value[1:]) if value.startswith("-") else duration(value)
    raise ValueError(f"{value!r} is no amount; write whole hours, or 7h30m")


def shown(seconds: int) -> str:
    """An amount as a scenario would write it."""
    if seconds % HOUR == 0:
        return f"{seconds // HOUR}"
    sign, rest, words = "-" if seconds < 0 else "", abs(seconds), ""
    for length, letter in zip(SECONDS[1:], "hms", strict=True):
        count, rest = divmod(rest, length)
        words += f"{count}{letter}" if count else ""
    return sign + words


def moment(second: int) -> str:
    """A time as a scenario would write it."""
    return format_instant(datetime.fromtimestamp(second, UTC))


def _when(value: object, info: ValidationInfo) -> int:
    return value if isinstance(value, int) else instant(value, (info.context or {}).get("origin"))


When = Annotated[int, BeforeValidator(_when)]
Length = Annotated[int, BeforeValidator(lambda value: value if isinstance(value, int) else duration(value))]
Amount = Annotated[int, BeforeValidator(amount)]

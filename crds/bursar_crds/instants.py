"""Points in time: whole seconds, UTC inside, RFC 3339 with `Z` outside."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from bursar_crds.rules import FieldRule

# Fractions of a second are left out on purpose: the API server cannot see below a millisecond in a rule.
INSTANT_PATTERN: Final = r"^(19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])$"
_INSTANT = re.compile(INSTANT_PATTERN)


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 time with whole seconds and a zone; ValueError says what is wrong with it."""
    if not _INSTANT.fullmatch(text):
        raise ValueError("write a time as 2026-10-01T00:00:00Z: whole seconds, with Z or an offset")
    return datetime.fromisoformat(text).astimezone(UTC)


def format_instant(instant: datetime) -> str:
    """RFC 3339 in UTC, as the API server stores it."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_quarter_hour(instant: datetime) -> bool:
    """Whether the instant lies on a quarter hour of UTC (and so of every time zone in use)."""
    return instant.minute % 15 == 0 and instant.second == 0 and instant.microsecond == 0


def _coerce(value: object) -> datetime:
    try:
        if isinstance(value, str):
            return parse_instant(value)
        if isinstance(value, datetime) and value.tzinfo is not None:
            return value.astimezone(UTC).replace(microsecond=0)
    except ValueError as error:
        raise PydanticCustomError("bursar_instant", "{text}", {"text": str(error)}) from error
    raise PydanticCustomError("bursar_instant", "a time is a text such as 2026-10-01T00:00:00Z", {})


Instant = Annotated[
    datetime,
    BeforeValidator(_coerce),
    PlainSerializer(format_instant, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time", "maxLength": 25, "pattern": INSTANT_PATTERN}),
]

QuarterHour = Annotated[
    Instant,
    FieldRule[datetime](
        "self.getMinutes() % 15 == 0 && self.getSeconds() == 0",
        "must lie on a quarter hour, such as 00:00:00Z or 09:45:00Z",
        is_quarter_hour,
    ),
]

"""Violations: what is wrong with an object, at which field, and what to do about it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bursar_crds import names
from bursar_crds.reasons import Reason
from bursar_crds.rules import DUPLICATE, RULE_BROKEN

_INDEX = re.compile(r"\[[0-9]+\]")


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: the field's path, a reason for machines, a sentence with the remedy for people."""

    field: str
    reason: Reason
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message

    @property
    def identity(self) -> tuple[str, str, str]:
        """What tells it from another one, wherever in its list the entry stands."""
        return _INDEX.sub("[]", self.field), self.reason, self.message


def path_of(parts: Sequence[int | str]) -> str:
    """`("spec", "resources", 0, "hours")` as `spec.resources[0].hours`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def from_error(error: ValidationError) -> list[Violation]:
    """Every violation that a model found, in the order of the document."""
    details = error.errors(include_url=False)
    deeper = [item["loc"] for item in details]
    return [violation for item in details if not _is_echo(item, deeper) for violation in _translate(item)]


def _is_echo(item: ErrorDetails, locations: Sequence[tuple[int | str, ...]]) -> bool:
    """A list counts as too short only because its entries are wrong; saying so would mislead."""
    own = item["loc"]
    return item["type"] == "too_short" and any(len(other) > len(own) and other[: len(own)] == own for other in locations)


def _translate(item: ErrorDetails) -> Iterator[Violation]:
    path, context = path_of(item["loc"]), item.get("ctx", {})
    if item["type"] == RULE_BROKEN:
        for at, message in context["failures"]:
            yield Violation(f"{path}.{at}".strip(".") if at else path, Reason.RULE_BROKEN, message)
        return
    yield Violation(path, _REASONS.get(item["type"], Reason.INVALID), _message(item, context))


_REASONS: Final = {
    "missing": Reason.MISSING_FIELD,
    "extra_forbidden": Reason.UNKNOWN_FIELD,
    DUPLICATE: Reason.DUPLICATE,
}

_MESSAGES: Final = {
    "missing": "the field is required; add it",
    "extra_forbidden": "there is no such field; check the spelling or leave it out",
    "string_type": "must be text; put it in quotes",
    "tuple_type": "must be a list",
    "model_type": "must be an object with fields",
    "model_attributes_type": "must be an object with fields",
    "int_type": "must be a whole number; round it",
    "greater_than_equal": "must be at least {ge}; raise it",
    "less_than_equal": "must be at most {le}; lower it",
    "string_too_long": "may have at most {max_length} characters; shorten it",
    "string_too_short": "must not be empty; fill it in",
    "too_long": "may have at most {max_length} entries; remove some",
    "too_short": "needs at least {min_length} entry; add one",
    "enum": "must be one of {expected}; choose one",
    "literal_error": "must be {expected}",
}


def _message(item: ErrorDetails, context: Mapping[str, Any]) -> str:
    if item["type"] == "string_pattern_mismatch":
        pattern = str(context["pattern"])
        return f"{_shown(item)}{names.HELP.get(pattern, f'must match {pattern}')}; choose another one"
    template = _MESSAGES.get(item["type"])
    if template is None:
        return item["msg"]
    shown = "" if item["type"] in ("missing", "extra_forbidden") else _shown(item)
    return f"{shown}{template.format_map(context)}"


def _shown(item: ErrorDetails) -> str:
    value = item["input"]
    if isinstance(value, str):
        return f"{value[:64]!r}: "
    return f"{value}: " if isinstance(value, int | float) else ""
